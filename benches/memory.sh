#!/usr/bin/env bash
# Prints what going on from memories takes, beside its bounds: benches/memory.sh [RUNS]. On a host that was set up, and a quiet one.
#   1  a warm `mvm run -- true`, against Firecracker started by hand, which resumes the same golden memory, and one SSH command
#   2  the same against a cold one, which boots
#   3  from `mvm resume` to the end of the first command, against `mvm start`
#   4  a fork of a machine of 512 MiB: memory and disk of its own before it does anything, and FORKS (8) of them against one
#   5  how long a machine stands still for a snapshot, against Firecracker's own call
# 1 and 5 need Firecracker. Everything happens in MVM_HOME, in machines named bench-*, which are removed, as is every golden memory.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
# shellcheck source=benches/lib.sh
. benches/lib.sh
home=${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}
forks=${FORKS:-8}
bare=$home/machines/.bench-bare
work=$(mktemp -d)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

forget() {
  local name
  while read -r name; do
    [[ $name != bench-memory* ]] || "$mvm" destroy "$name" --yes --quiet
  done < <("$mvm" ls --names)
  rm -rf "$bare" "$home/golden"
}
trap 'forget; rm -rf "$work"' EXIT
forget

sizes=(--memory 512M --cpus 1)
"$mvm" start bench-memory -d --quiet "${sizes[@]}"
"$mvm" exec bench-memory -- sh -c 'until [ -S /run/dbus/system_bus_socket ]; do sleep 0.2; done; sleep 2; sync'
read -r vmm _ <"$home/machines/bench-memory/run/vmm"
mac=$(nsenter -t "$vmm" -U -n --preserve-credentials ip -o link show tap0 | sed 's/.*ether \([0-9a-f:]*\).*/\1/')
read -r kind _ <"$home/machines/bench-memory/run/as"
firecracker=$(tr '\0' '\n' <"/proc/$vmm/cmdline" | head -n 1)

once() { timed "$mvm" run "${sizes[@]}" -- true; }
cold() {
  rm -rf "$home/golden"
  once
  # It is put into its place in the background.
  until compgen -G "$home/golden/*/disk.img" >/dev/null; do sleep 0.1; done
}

cat >"$work/cell" <<CELL
ip link set lo up
ip tuntap add dev tap0 mode tap
ip link set tap0 address $mac
ip addr add 172.16.0.1/30 dev tap0
ip link set tap0 up
exec "\$@"
CELL
# by_hand: Firecracker resumes the golden memory, and one command comes by SSH.
by_hand() {
  local golden=("$home"/golden/*/) began pid
  rm -rf "$bare"
  mkdir -p "$bare/run/out" "$bare/frozen"
  ln "${golden[0]}"frozen/{memory,state} "$bare/frozen"
  cp --sparse=always --reflink=auto "${golden[0]}disk.img" "$bare/disk.img"
  cp -r "${golden[0]}frozen/origin" "$bare/keys"
  cd "$bare"
  began=$(now)
  unshare --user --map-root-user --net bash "$work/cell" "$firecracker" --api-sock api.sock --id bench </dev/null >vmm.log 2>&1 &
  pid=$!
  until [[ -S api.sock ]]; do sleep 0.005; done
  curl -s --fail --unix-socket api.sock -X PUT http://localhost/snapshot/load -H 'Content-Type: application/json' \
    -d '{"snapshot_path":"frozen/state","mem_backend":{"backend_type":"File","backend_path":"frozen/memory"},"track_dirty_pages":true,"resume_vm":true}'
  nsenter -t "$pid" -U -n --preserve-credentials ssh -F none -l root -i keys/id_ed25519 -o HostName=172.16.0.2 \
    -o HostKeyAlias=mvm-bench -o UserKnownHostsFile=keys/known_hosts -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes \
    -o IdentitiesOnly=yes -o LogLevel=ERROR -o KexAlgorithms=curve25519-sha256 -T mvm-bench -- true
  took=$(($(now) - began))
  kill "$pid"
  wait "$pid" 2>/dev/null || true
  cd - >/dev/null
}

"$mvm" status | sed -n 's/^VMM */VMM: /p'
echo "1  a warm run (median of $runs; bound 1.25)"
cold
measure 'mvm run -- true, warm' once
warm=$TIME
if [[ $kind == firecracker ]]; then
  measure 'Firecracker by hand, and SSH' by_hand
  printf '   ratio %s\n' "$(ratio "$warm" "$TIME")"
else
  echo '   SKIPPED: the other half needs Firecracker'
fi
echo '2  against a cold one (bound 0.35)'
measure 'mvm run -- true, cold' cold
printf '   ratio %s\n' "$(ratio "$warm" "$TIME")"

resumed() {
  "$mvm" suspend bench-memory --quiet
  local began
  began=$(now)
  "$mvm" resume bench-memory --quiet
  "$mvm" exec bench-memory -- true
  took=$(($(now) - began))
}
started() {
  "$mvm" stop bench-memory --quiet
  local began
  began=$(now)
  "$mvm" start bench-memory -d --quiet
  "$mvm" exec bench-memory -- true
  took=$(($(now) - began))
}
echo '3  resume against start, to the end of the first command (bound 0.5)'
measure 'mvm resume; mvm exec -- true' resumed
warm=$TIME
measure 'mvm start -d; mvm exec -- true' started
printf '   ratio %s\n' "$(ratio "$warm" "$TIME")"

# forked N
forked() {
  local name
  while read -r name; do
    [[ $name != bench-memory-* ]] || "$mvm" destroy "$name" --yes --quiet
  done < <("$mvm" ls --names)
  timed "$mvm" fork bench-memory -n "$1"
}
echo "4  forks (bounds: 40 MiB, 8 MiB, 3 times one)"
"$mvm" exec bench-memory -- sh -c 'until [ -S /run/dbus/system_bus_socket ]; do sleep 0.2; done; sleep 2; sync'
measure 'one' forked 1
one=$TIME
read -r vmm _ <"$home/machines/bench-memory-1/run/vmm"
# What it wrote is anonymous; pages of the memory's file count as private where there is one fork, and are shared by all of several.
awk '/^Private_/ { private += $2 } /^Anonymous/ { written = $2 }
  END { printf "   memory of its own: %d KiB (and %d KiB of the file that it goes on from); ", written, private - written }' "/proc/$vmm/smaps_rollup"
read -r disk _ <<<"$(du -sk --exclude=frozen --exclude=thawed "$home/machines/bench-memory-1")"
read -r source _ <<<"$(du -sk "$home/machines/bench-memory/disk.img")"
printf 'folder: %d KiB (the disk of the source: %d KiB)\n' "$disk" "$source"
measure "$forks at once" forked "$forks"
printf '   ratio %s\n' "$(ratio "$TIME" "$one")"
forked 1 && "$mvm" destroy bench-memory-1 --yes --quiet

# What mvm itself says of the pause.
paused() {
  local seconds
  seconds=$("$mvm" snapshot create bench-memory@bench 2>&1 | sed -n 's/.*stood still for \([0-9.]*\) s.*/\1/p')
  took=$((10#${seconds/./} * 10000))
  "$mvm" snapshot rm bench-memory@bench --yes --quiet
}
api() {
  curl -s --fail --unix-socket "$home/machines/bench-memory/run/out/api.sock" -X "$1" "http://localhost$2" -H 'Content-Type: application/json' -d "$3"
}
paused_by_hand() {
  local began
  began=$(now)
  api PATCH /vm '{"state":"Paused"}'
  api PUT /snapshot/create '{"snapshot_type":"Full","snapshot_path":"run/out/state","mem_file_path":"run/out/memory"}'
  api PATCH /vm '{"state":"Resumed"}'
  took=$(($(now) - began))
  rm -f "$home/machines/bench-memory/run/out/"{state,memory}
}
echo '5  standing still for a snapshot (bound 1.2)'
measure 'mvm snapshot create' paused
warm=$TIME
if [[ $kind == firecracker ]]; then
  measure "Firecracker's own call, by hand" paused_by_hand
  printf '   ratio %s\n' "$(ratio "$warm" "$TIME")"
else
  echo '   SKIPPED: the other half needs Firecracker'
fi
