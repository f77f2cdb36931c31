# microvm/fork: makes machines that go on from the moment at which this one stands; it goes on as well.
# In: NAME, what vmm/freeze needs, "$@" the command that lets the guest write out its files; stdin a line for each new machine: its
#     name, and its vm.json.
# Out: PAUSED (ms), SYNCED yes|no; FROZEN (the memory's meta, tabs for line ends); CLONE (its name) and the keys of each new machine.
: "${NAME:?}" "${VMM:?}" "${MEMORY_BYTES:?}" "${PAUSE:?}" "${UNPAUSE:?}" "${SAVE:?}" "${META:?}"
mapfile -t clones
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

step "Forking $NAME"
fork=$machines/.$NAME.fork
# Of one that was killed.
rm -rf "$fork"
mkdir "$fork"
# It is of use until all are made of it, and this machine's lock goes with the first of theirs.
exec 7<"$fork"
flock 7
freeze_undone() { rm -rf "$fork"; }
trap freeze_undone EXIT
freeze_live "$fork" "$@"
checkpoint fork.frozen
origin_keys . "$fork/frozen/origin"
rm -f "$fork/frozen/vm.json"
event . "forked: ${#clones[@]}"

# make NAME JSON: one machine, by one rename.
make() {
  local new=$machines/.$1.new
  rm -rf "$new"
  mkdir -p "$new/keys" "$new/run"
  printf '%s\n' "$2" >"$new/vm.json"
  make_keys "$new/keys" "$1"
  go_on_from "$fork" "$new" || die no-space "the disk of \`$NAME\` could not be copied for \`$1\`"
  event "$new" "forked from $NAME"
  sync "$new/vm.json" "$new"/keys/*
  checkpoint fork.made
  mv -T "$new" "$machines/$1"
  checkpoint fork.placed
}
# The machine's lock stays with this file descriptor: another fork of it would begin with the removal of this one's folder.
exec 7>&9
for clone in "${clones[@]}"; do
  lock "${clone%% *}"
  make "${clone%% *}" "${clone#* }"
  answer CLONE "${clone%% *}"
  answer_keys "$machines/${clone%% *}" "${clone%% *}"
done
answer FROZEN "$(tr '\n' '\t' <"$fork/frozen/meta")"
answer PAUSED "$FROZEN_FOR"
answer SYNCED "$SYNCED"
