# microvm/destroy: ends machines and removes all that is theirs. Safe to repeat.
# In: ALL (yes|no), "$@" machines' names. Out: FREED (bytes).
: "${ALL:?}"
freed=0
# measure DIR: adds what it takes on disk.
measure() {
  local kib
  read -r kib _ <<<"$(du -sk "$1" 2>/dev/null || true)"
  freed=$((freed + ${kib:-0} * 1024))
}
for name in "$@"; do
  machine=$MVM_HOME/machines/$name
  lock "$name"
  step "Removing the machine $name"
  measure "$machine"
  remove_machine "$name"
  checkpoint remove.removed
  unlock "$name"
done
sweep
if [[ $ALL == yes && -d $MVM_HOME ]]; then
  step "Removing images and all else in $MVM_HOME"
  measure "$MVM_HOME"
  # A killed build of an image leaves files of subordinate users, which only their namespace may remove.
  rm -rf "$MVM_HOME" 2>/dev/null ||
    unshare --map-auto --map-root-user rm -rf "$MVM_HOME/images" "$MVM_HOME/downloads" || true
  rm -rf "$MVM_HOME"
fi
answer FREED "$freed"
