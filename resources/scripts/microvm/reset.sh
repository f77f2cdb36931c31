# microvm/reset: gives a machine a new, empty disk; one that runs is ended by force. Keys and vm.json stay. Safe to repeat.
# In: NAME, DISK_BYTES. Out: FREED (bytes).
: "${NAME:?}" "${DISK_BYTES:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
step "Emptying the disk of $NAME"
cell_end "$PWD"
finish_restore
checkpoint reset.ended
freed=0
[[ ! -e disk.img ]] || freed=$(($(stat -c '%b * %B' disk.img)))
rm -f disk.img.new
make_disk disk.img.new
# The old disk is there until the new one is whole.
sync disk.img.new
checkpoint reset.made
mv disk.img.new disk.img
checkpoint reset.placed
# The memory of a suspended machine belongs to the old one.
rm -rf disk.grows frozen frozen.new
event . "reset: a new disk"
answer FREED "$freed"
