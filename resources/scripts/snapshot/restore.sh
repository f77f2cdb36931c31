# snapshot/restore: makes a machine what a snapshot of it is; what it is now is lost. A machine that runs is ended, after everything
# that may fail. Killed at any step, the machine is what it was, on its disk, or what the snapshot is (microvm/lib's finish_restore).
# In: NAME, TAG, MEMORY (yes|no: whether its memory can be resumed here), MOVE (yes|no: whether the snapshot is used up),
#     "$@" the command that lets a guest write out its files.
# Out: LOST (why its memory is not restored, where that is found out here), MEMORY yes|no.
: "${NAME:?}" "${TAG:?}" "${MEMORY:?}" "${MOVE:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
finish_restore
from=snapshots/$TAG
check_snapshot "$from"
step "Restoring $NAME@$TAG"
rm -rf restore.new
if [[ $MOVE == no ]]; then
  trap 'rm -rf restore.new' EXIT
  # A memory that QEMU wrote is only ever read; Firecracker's is written on at the next suspension.
  links=no
  ! grep -q '^AS=qemu ' "$from/frozen/meta" 2>/dev/null || links=yes
  copy_snapshot "$from" restore.new "$links"
fi
checkpoint restore.copied
# Should this be killed in the next moments, the disk is to be whole.
! { cell_alive . && cell_vmm . && sshd_was_up .; } || guest_syncs 10 "$@" || true
cell_end .
checkpoint restore.ended
if [[ $MOVE == yes ]]; then
  [[ $MEMORY == yes ]] || rm -rf "$from/frozen"
  mv -T "$from" restore
else
  mv -T restore.new restore
  trap - EXIT
fi
sync .
checkpoint restore.decided
finish_restore
event . "restored: $TAG"
answer MEMORY "$MEMORY"
