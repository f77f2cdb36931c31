# golden/make: keeps the memory and disk of a machine that has just been started and has run nobody's command, for later ones to go on
# from. The machine goes on. Of two makers of the same the second leaves it to the first.
# In: NAME, GOLDEN (its key), FACTS (lines for its meta: IMAGE, the id of what it is made from, and LIKE, what it stands for; another
#     one of the same was for a host that has changed), MASTER (what opens a connection), FIRST_PORT (where the guest waits for its first
#     command), and what vmm/freeze needs; stdin the line of keys for the next run.
# Out: MADE yes|no, PAUSED (ms).
: "${NAME:?}" "${GOLDEN:?}" "${FACTS:?}" "${MASTER:?}" "${FIRST_PORT:?}"
IFS= read -r keys
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
{ cell_alive . && cell_vmm . && sshd_was_up .; } || die not-running "the machine \`$NAME\` is not running"
exec 8>"$MVM_HOME/locks/.golden"
if ! flock --nonblock 8 || golden_whole "$GOLDEN"; then
  answer MADE no
  exit 0
fi
golden=$MVM_HOME/golden new=$MVM_HOME/golden/.new
# Of one that was killed.
rm -rf "$new"
mkdir -p "$new"
freeze_undone() { rm -rf "$new"; }
trap freeze_undone EXIT
freeze_room yes
# The connection that the command will have is opened for this already.
mapfile -t words <<<"$MASTER"
master_connects "${words[@]}" || die not-running "the machine \`$NAME\` lets nobody connect"
# For the first command of a machine that goes on from there. What that takes is in the memory.
first=no
! "${SHARED_CONNECTION[@]}" -T "mvm-$NAME" "/run/mvm/thawed first $FIRST_PORT" </dev/null >/dev/null || first=yes
# What it wrote need not be on its disk: whoever cannot go on from its memory boots from an empty one.
freeze_live "$new"
checkpoint golden.frozen
origin_keys . "$new/frozen/origin"
# Its SSH server may wait: the command has come by then.
: >"$new/frozen/origin/later"
[[ $first == no ]] || : >"$new/frozen/origin/first"
rm -f "$new/frozen/vm.json"
printf '%s\n' "$FACTS" >>"$new/frozen/meta"
trap - EXIT
# Nobody waits until all is on the disk: only then it is put into its place, and counts.
(
  trap '' HUP INT TERM
  shopt -s nullglob
  sync "$new"/frozen/* "$new"/frozen/origin/* "$new"/*
  like=$(sed -n '/^LIKE=/p' "$new/frozen/meta")
  for old in "$golden"/*/; do
    if [[ ${old%/} == "$golden/$GOLDEN" ]] || grep -q -x -F "$like" "$old/frozen/meta"; then rm -rf "$old"; fi
  done
  # Whoever finds none does without.
  make_spare "$new" "$keys" || true
  checkpoint golden.synced
  mv -T "$new" "$golden/$GOLDEN"
  sync "$golden"
) </dev/null >/dev/null 2>&1 3>&- 9>&- &
answer MADE yes
answer PAUSED "$FROZEN_FOR"
