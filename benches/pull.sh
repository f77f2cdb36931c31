#!/usr/bin/env bash
# Prints what `mvm image pull` takes beside what the same takes by hand: benches/pull.sh [RUNS]. On a host that was set up, and a
# quiet one, with docker-registry, skopeo and umoci.
#   1  the pull of an image of four layers, more than 150 MB packed, from a registry on loopback, where the image `debian` is there
#      already: against `skopeo copy` to a folder, then sqfstar of the same tree (zstd; that of 4.5 takes no level); without a bound
#      against the same with mvm's own level of compression, which mksquashfs -tar takes (sqfstar is a name of it)
#   2  the most memory that mvm takes meanwhile
#   3  a second pull; a second machine
# The image, and the machines named bench-*, are removed.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-3}
# shellcheck source=benches/lib.sh
. benches/lib.sh
home=${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}
work=$(mktemp -d)
registry='' image=''
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for tool in docker-registry skopeo umoci unsquashfs sqfstar; do
  command -v "$tool" >/dev/null || { echo "SKIPPED: it needs $tool" && exit 0; }
done

forget() {
  local name
  for name in bench-pull bench-second; do "$mvm" destroy "$name" --yes --quiet 2>/dev/null || true; done
  [[ -z $image ]] || "$mvm" image rm "$image" --quiet >/dev/null 2>&1 || true
}
trap 'forget; kill ${registry:+"$registry"} 2>/dev/null; rm -rf "$work"' EXIT

# make_image: the tree of the image `debian`, and three layers of files that nothing packs.
make_image() {
  local base number file
  "$mvm" setup --image debian --quiet --yes
  base=$(grep -l '"name":"debian"' "$home"/images/*/image.json | head -n 1)
  unsquashfs -q -n -d "$work/tree" "${base%/image.json}/base" >/dev/null
  umoci init --layout "$work/oci"
  umoci new --image "$work/oci:x"
  umoci insert --image "$work/oci:x" "$work/tree" /
  for number in 1 2 3; do
    mkdir -p "$work/more$number/opt/$number"
    for ((file = 0; file < 1000; file++)); do
      head -c 20000 /dev/urandom >"$work/more$number/opt/$number/$file"
    done
    umoci insert --image "$work/oci:x" "$work/more$number" /
  done
  tar -C "$work/tree" -cf "$work/tree.tar" . -C "$work/more1" . -C "$work/more2" . -C "$work/more3" .
  rm -rf "$work"/{tree,more*}
}

serve() {
  local port
  # A port that is free now.
  for ((port = 35000; port < 35100; port++)); do
    ! { : <>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null && break
  done
  printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' \
    "$work/registry" "$port" >"$work/registry.yml"
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registry=$!
  until { : <>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; do sleep 0.05; done
  image=127.0.0.1:$port/bench/image:1
  skopeo copy -q --dest-tls-verify=false "oci:$work/oci:x" "docker://$image"
}

export XDG_CACHE_HOME=$work/cache
peak=0
# pulled: the first pull, with nothing in the cache; the most memory it takes goes to `peak`, in KiB.
pulled() {
  local began pid key value
  "$mvm" image rm "$image" --quiet >/dev/null 2>&1 || true
  rm -rf "$work/cache"
  began=$(now)
  "$mvm" image pull "$image" --quiet >/dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    while read -r key value _; do
      [[ $key != VmHWM: ]] || ((value <= peak)) || peak=$value
    done <"/proc/$pid/status" || true
    sleep 0.02
  done 2>/dev/null
  wait "$pid"
  took=$(($(now) - began))
}

# by_hand COMMAND…: reads the tree's tar and writes the squashfs.
by_hand() {
  local began
  rm -rf "$work/dir" "$work/squashfs"
  began=$(now)
  skopeo copy -q --src-tls-verify=false "docker://$image" "dir:$work/dir"
  "$@" <"$work/tree.tar" >/dev/null 2>&1
  took=$(($(now) - began))
}

cargo build --release --quiet
make_image
serve
printf '1  an image of %d MB in %d layers (bound: 1.20)\n' \
  "$(($(du -sb "$work/oci/blobs" | cut -f 1) / 1000000))" "$(skopeo inspect --tls-verify=false --raw "docker://$image" | grep -o '"mediaType":"[^"]*layer' | wc -l)"
measure 'mvm image pull' pulled
through=$TIME
measure 'skopeo copy; sqfstar -comp zstd' by_hand sqfstar -comp zstd "$work/squashfs"
printf '   ratio %s\n' "$(ratio "$through" "$TIME")"
measure 'skopeo copy; mksquashfs -tar at the level that mvm takes' \
  by_hand mksquashfs - "$work/squashfs" -tar -quiet -no-progress -comp zstd -Xcompression-level 3
printf '   ratio %s (without a bound)\n' "$(ratio "$through" "$TIME")"
printf '2  mvm at most: %d MiB (bound: 64)\n' $((peak / 1024))
echo '3  without a bound'
measure 'the second pull' timed "$mvm" image pull "$image"
echo "   $(du -sk "$home/machines" | cut -f 1) KiB in machines"
"$mvm" start bench-pull --image "$image" -d --quiet
"$mvm" start bench-second --image "$image" -d --quiet
echo "   $(du -sk "$home/machines" | cut -f 1) KiB with two more machines"
