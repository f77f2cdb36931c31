# microvm/fork: makes machines that go on from the moment at which this one stands; it goes on as well.
# In: NAME, what vmm/freeze needs, PORT (where the guest may wait for whoever goes on from its memory; empty where it may not), ENTERED (yes:
#     the new machines' SSH servers are wanted at once), MADE_BY (what tells them from others of their names), "$@" the command that lets the guest write out its files; stdin two lines for each
#     new machine: its name and its vm.json, and its keys.
# Out: PAUSED (ms), SYNCED yes|no; FROZEN (the memory's meta, tabs for line ends); CLONE (its name) and the keys of each new machine.
: "${NAME:?}" "${VMM:?}" "${MEMORY_BYTES:?}" "${PAUSE:?}" "${UNPAUSE:?}" "${SAVE:?}" "${META:?}"
mapfile -t given
# Of a sender that was cut off.
((${#given[@]} % 2 == 0)) || die cut 'what the new machines are to be did not arrive whole'
clones=() keys=()
for ((at = 0; at < ${#given[@]}; at += 2)); do clones+=("${given[at]}") keys+=("${given[at + 1]}"); done
lock "$NAME"
machines=$MVM_HOME/machines
cd "$machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
{ cell_alive . && cell_vmm .; } || die not-running "the machine \`$NAME\` is not running"
sshd_was_up . || die booting "the machine \`$NAME\` is still booting"
for clone in "${clones[@]}"; do
  [[ ! -e $machines/${clone%% *} ]] || die exists "there is a machine \`${clone%% *}\` already"
done
needed=0
shares_blocks || needed=$(($(stat -c '%b * %B' disk.img) * (${#clones[@]} + 1)))
freeze_room yes "$needed"

# hold_first COMMAND…: has the guest write out its files and then wait for whoever goes on from its memory, until `held` is written to;
# COMMAND as guest_syncs has it. False where it does not; with more than 128 where nothing is heard of it.
hold_first() {
  local said='' server='' status
  [[ ${ENTERED:-} != yes ]] || server=' sshd'
  ask_guest "${@:1:$#-1}" "/run/mvm/thawed held $PORT$server"
  coproc "${ASK[@]}" 2>/dev/null
  exec {held}>&"${COPROC[1]}"-
  IFS= read -r -n 64 -t 30 said <&"${COPROC[0]}"
  status=$?
  [[ $said != listening ]] || return 0
  exec {held}>&-
  ((status <= 128)) || kill "$COPROC_PID" 2>/dev/null || true
  # An older mvm's says something else.
  return $((status > 0 ? status : 1))
}

step "Forking $NAME"
fork=$machines/.$NAME.fork
# Of one that was killed.
rm -rf "$fork"
mkdir "$fork"
# It is of use until all are made of it.
exec 7<"$fork"
flock 7
freeze_undone() { rm -rf "$fork"; }
trap freeze_undone EXIT
first=no sync=("$@")
if [[ -n ${PORT:-} ]]; then
  if hold_first "$@"; then
    first=yes sync=()
  elif (($? > 128)); then
    sync=()
  fi
fi
freeze_live "$fork" "${sync[@]}"
if [[ $first == yes ]]; then
  SYNCED=yes
  echo over >&"$held" || true
  exec {held}>&-
fi
checkpoint fork.frozen
origin_keys . "$fork/frozen/origin"
[[ $first == no ]] || : >"$fork/frozen/origin/first"
rm -f "$fork/frozen/vm.json"
# With what start.sh would make (prepare, thaw), for all at once: to start a program takes longer than what most do here.
folders=("${clones[@]%% *}") folders=("${folders[@]/#/"$fork/new/"}")
{ mkdir -p "$fork/run" "${folders[@]/%//keys}" "${folders[@]/%//run/thawed}" && make_run "${folders[@]}" &&
  cp -r "$fork/frozen/origin" "$fork/run/origin"; } || die no-space "the folders of the new machines could not be made"
read -r boot </proc/sys/kernel/random/boot_id
event . "forked: ${#clones[@]}"

# make NAME JSON KEYS: one machine, as it is to be placed.
make() {
  local new=$fork/new/$1
  make_keys "$new/keys" "$1" "$3" || die no-space "cannot write the keys of \`$1\`"
  go_on_from "$fork" "$new" "$fork/run" || die no-space "the disk of \`$NAME\` could not be copied for \`$1\`"
  printf '%s\n' "$2" >"$new/vm.json"
  # They are started at once. Whoever of them comes to it only after a loss of power has a disk that may have gone on (start.sh).
  printf '%s\n' "$boot" >"$new/frozen/thawing"
  printf '%s\n' "${MADE_BY:-}" >"$new/made-by"
  event "$new" "forked from $NAME"
}
makers=() failed=no
for at in "${!clones[@]}"; do
  make "${clones[at]%% *}" "${clones[at]#* }" "${keys[at]}" &
  makers+=($!)
done
for maker in "${makers[@]}"; do wait "$maker" || failed=yes; done
# Which of them it was, and why, it has said.
[[ $failed == no ]] || exit 1
# For all at once, since it takes as long as for one.
sync "$fork"/new/*/{vm.json,keys/*,frozen/thawing,frozen}
checkpoint fork.made
# The machine's lock stays with this file descriptor: another fork of it would begin with the removal of this one's folder.
exec 6>&9
for clone in "${clones[@]}"; do
  clone=${clone%% *}
  lock "$clone"
  [[ ! -e $machines/$clone ]] || die exists "there is a machine \`$clone\` already"
  mv -T "$fork/new/$clone" "$machines/$clone"
  checkpoint fork.placed
  answer CLONE "$clone"
  answer_keys "$machines/$clone" "$clone"
done
answer FROZEN "$(tr '\n' '\t' <"$fork/frozen/meta")"
answer PAUSED "$FROZEN_FOR"
answer SYNCED "$SYNCED"
