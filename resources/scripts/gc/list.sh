# gc/list: what nothing refers to any more. Reads only.
# In: KEEP (Firecracker binaries that are of use, a line each).
# Out: LEFT (BYTES BUSY KIND LOCK PATH): what it takes on the disk, whether another mvm is at work on it (yes|no), what it is (half-made,
#      memory, download, firecracker, lock, socket), the lock that it is removed under, and where it is below MVM_HOME.
: "${KEEP?}"
shopt -s nullglob
cd "$MVM_HOME" 2>/dev/null || exit 0
paths=()
declare -A kinds=() locks=()
# found KIND LOCK PATH…: those of them that are there.
found() {
  local path
  for path in "${@:3}"; do
    [[ -e $path || -h $path ]] || continue
    paths+=("$path") kinds[$path]=$1 locks[$path]=$2
  done
}

# What a killed command was making, or removing.
for path in machines/.*.{new,gone,fork}; do
  name=${path#machines/.}
  found half-made "${name%.*}" "$path"
done
for dir in machines/*/; do
  dir=${dir%/} name=${dir#machines/}
  found half-made "$name" "$dir"/{vm.json.new,events.log.new,disk.img.new,restore.new,.probe,.probe.copy,keys/known_hosts.new} \
    "$dir"/snapshots/.{new,gone}
  cell_alive "$dir" && continue
  # Of a machine that runs, the next start brings these to their end. What tells how one ended stays.
  found half-made "$name" "$dir/frozen.new" "$dir/run/out"
  found memory "$name" "$dir/run/thawed"
  found socket "$name" "$dir/run/ssh" "$dir/api.sock" "$dir"/run/ports/*.sock
done
found half-made .images images/.*.partial images/.gone
found half-made .golden golden/.new
found half-made .firecracker bin/.partial
found download .images downloads/*
for file in bin/firecracker-v*; do
  used=no
  while IFS= read -r keep; do [[ ! $file -ef $keep ]] || used=yes; done <<<"$KEEP"
  [[ ! $file -ef bin/firecracker ]] || used=yes
  for dir in machines/*/; do
    if [[ $used == no ]] && cell_vmm "$dir" && { IFS= read -r program <"$dir/run/argv"; } 2>/dev/null; then
      [[ ! $file -ef $program ]] || used=yes
    fi
  done
  [[ $used == yes ]] || found firecracker .firecracker "$file" "bin/.${file#bin/}.sha256"
done
for file in locks/*; do
  [[ -e machines/${file#locks/} ]] || found lock "${file#locks/}" "$file"
done

((${#paths[@]} > 0)) || exit 0
declare -A sizes=()
while IFS=$'\t' read -r size path; do sizes[$path]=$size; done < <(blocks "${paths[@]}")
for path in "${paths[@]}"; do
  busy=no
  ! held "${locks[$path]}" "$path" || busy=yes
  answer LEFT "${sizes[$path]:-0} $busy ${kinds[$path]} ${locks[$path]} $path"
done
