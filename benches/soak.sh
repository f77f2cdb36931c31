#!/usr/bin/env bash
# Prints what much use leaves behind, and what it takes: benches/soak.sh [MACHINES] [CYCLES] [EXECS] [STATUSES], 20 200 500 1000 without them.
#   1  MACHINES are started at once, and stopped at once
#   2  one machine is started and stopped CYCLES times
#   3  EXECS commands in it, while it runs
#   4  STATUSES times `mvm status`, beside a machine that starts and stops all the while
# Before and after each stand the processes of cells, their open files and memory, their network namespaces and mounts, and the files and
# the disk of MVM_HOME, side by side. It fails where there are more processes, open files, namespaces, mounts or files afterwards.
# On a host that was set up. It makes the machines soak-* in MVM_HOME, and removes them. MVM names another mvm than the release.
set -euo pipefail
machines=${1:-20} cycles=${2:-200} execs=${3:-500} statuses=${4:-1000}
if [[ -z ${MVM:-} ]]; then
  cargo build --release --quiet
  MVM=$PWD/target/release/mvm
fi
home=${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}
# Small ones: twenty are to fit.
sizes=(--memory 192M --cpus 1)
failed=no

forget() {
  local dir
  for dir in "$home"/machines/soak-*/; do
    [[ ! -d $dir ]] || "$MVM" destroy "$(basename "$dir")" --yes --quiet || true
  done
}
trap forget EXIT

# figures: processes of cells, their open files, KiB of memory and network namespaces, mounts, files and KiB of disk, in FIGURES.
figures() {
  local session pid rss cells fds count=0 files=0 memory=0 namespaces=()
  # Whoever is in a machine's folder, and whoever is in a session with one of those.
  cells=" $(find /proc/[0-9]*/cwd -maxdepth 0 -lname '*/machines/soak-*' -printf '%h ' 2>/dev/null || true) "
  while read -r session pid rss; do
    [[ $cells == *" /proc/$pid "* || $cells == *" /proc/$session "* ]] || continue
    fds=(/proc/"$pid"/fd/*)
    ((count += 1, files += ${#fds[@]}, memory += rss))
    namespaces+=("/proc/$pid/ns/net")
  done < <(ps -e -o sess=,pid=,rss=)
  # The host's own is the first one.
  FIGURES=("$count" "$files" "$memory" "$(find /proc/self/ns/net "${namespaces[@]}" -maxdepth 0 -printf '%l\n' 2>/dev/null | sort -u | tail -n +2 | wc -l || true)"
    "$(grep -c -F "$home" /proc/self/mounts || true)" "$(find "$home" | wc -l)" "$(du -sk "$home" | cut -f 1)")
}

begin() {
  echo "$1"
  figures
  before=("${FIGURES[@]}")
  began=$SECONDS
}

# over: what it took, and what there was before and is now.
over() {
  local names=('processes of cells' 'open files' 'memory, KiB' 'network namespaces' 'mounts' 'files in MVM_HOME' 'disk, KiB') at
  figures
  printf '   %d s\n   %-20s %10s %10s\n' $((SECONDS - began)) '' before after
  for at in "${!names[@]}"; do
    printf '   %-20s %10s %10s\n' "${names[at]}" "${before[at]}" "${FIGURES[at]}"
    [[ ${names[at]} == *KiB ]] || ((FIGURES[at] <= before[at])) || failed=${names[at]}
  done
}

# all COMMAND…: with each of the machines at once; a @ in it is the machine's name.
all() {
  local number jobs=()
  for ((number = 1; number <= machines; number++)); do
    "$MVM" "${@//@/soak-$number}" --quiet &
    jobs+=($!)
  done
  for number in "${jobs[@]}"; do wait "$number"; done
}

forget
"$MVM" start soak-1 -d --quiet "${sizes[@]}"
"$MVM" stop soak-1 --quiet
# The rest of what a machine has on its disk after its first life is made once.
all start @ -d "${sizes[@]}"
all stop @ -t 60

begin "1  $machines machines at once"
all start @ -d
figures
echo "   all run: ${FIGURES[0]} processes, ${FIGURES[1]} open files, ${FIGURES[2]} KiB of memory"
all stop @ -t 60
over

begin "2  $cycles starts and stops"
for ((turn = 0; turn < cycles; turn++)); do
  "$MVM" start soak-1 -d --quiet
  "$MVM" stop soak-1 --quiet -t 60
done
over

"$MVM" start soak-1 -d --quiet
for ((turn = 0; turn < 10; turn++)); do "$MVM" exec soak-1 -- true; done
# What a cell starts a second later is there.
sleep 2
begin "3  $execs commands"
for ((turn = 0; turn < execs; turn++)); do "$MVM" exec soak-1 -- true; done
over
"$MVM" stop soak-1 --quiet -t 60

begin "4  $statuses times status, beside a machine that changes"
: >"$home/soak-goes-on"
(
  while [[ -e $home/soak-goes-on ]]; do
    "$MVM" start soak-1 -d --quiet
    "$MVM" stop soak-1 --quiet -t 60
  done
) &
changing=$!
wrong=0
for ((turn = 0; turn < statuses; turn++)); do "$MVM" status --json >/dev/null || wrong=$((wrong + 1)); done
rm "$home/soak-goes-on"
wait "$changing"
echo "   $wrong of them failed"
((wrong == 0)) || failed=status
over
[[ $failed == no ]] || {
  echo "not flat: $failed" >&2
  exit 1
}
