# microvm/top: what the machines that run take of the host: all of a cell's processes. Reads only; few forks, as it is sent again
# and again.
# Out: NOW (hundredths of a second since the host's start); for each machine MACHINE, SPEC.NAME (what it was started with), CELL.NAME
#     (VMM's PID, hundredths of a second since its start, those of CPU), MEMORY.NAME (KiB resident, proportional, its own alone)
#     and DISK.NAME (bytes).
shopt -s nullglob

# slurp FILE: its text in SLURPED. Read at once: the kernel counts anew for each read.
slurp() {
  SLURPED=
  { IFS= read -r -d '' SLURPED <"$1"; } 2>/dev/null || true
}

# count PID: adds what a process takes.
count() {
  local stat fields
  { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  read -r -a fields <<<"${stat##*) }"
  ((ticks += fields[11] + fields[12])) || true
  slurp "/proc/$1/smaps_rollup"
  if [[ $SLURPED =~ Rss:\ +([0-9]+).*Pss:\ +([0-9]+).*Private_Clean:\ +([0-9]+).*Private_Dirty:\ +([0-9]+) ]]; then
    ((rss += BASH_REMATCH[1], pss += BASH_REMATCH[2], own += BASH_REMATCH[3] + BASH_REMATCH[4])) || true
  else
    # One that hides from whoever may not trace it tells its size alone.
    ((rss += fields[21] * 4, pss += fields[21] * 4)) || true
  fi
}

# count_all PID: with all that it started.
count_all() {
  local pid
  count "$1"
  slurp "/proc/$1/task/$1/children"
  for pid in $SLURPED; do count_all "$pid"; done
}

read -r seconds _ </proc/uptime
now=$((${seconds%.*} * 100 + 10#${seconds#*.}))
answer NOW "$now"
running=()
for dir in "$MVM_HOME"/machines/*/; do
  dir=${dir%/}
  if ! cell_alive "$dir" || ! cell_vmm "$dir"; then continue; fi
  name=${dir##*/} ticks=0 rss=0 pss=0 own=0
  running+=("$dir/disk.img")
  answer MACHINE "$name"
  slurp "$dir/run/vm.json"
  answer "SPEC.$name" "${SLURPED//$'\n'/}"
  count_all "$CELL_PID"
  answer "CELL.$name" "$VMM_PID $((now - VMM_STARTED)) $ticks"
  answer "MEMORY.$name" "$rss $pss $own"
done
while read -r blocks unit file; do
  file=${file%/disk.img}
  answer "DISK.${file##*/}" $((blocks * unit))
done < <(((${#running[@]} == 0)) || stat -c '%b %B %n' "${running[@]}" 2>/dev/null)
