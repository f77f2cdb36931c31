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
[[ -e $from/meta ]] || die no-snapshot "there is no snapshot \`$NAME@$TAG\`"
[[ -s $from/disk.img ]] || die damaged "the snapshot \`$NAME@$TAG\` has lost its disk ($PWD/$from/disk.img)"
grep -q -x -F "DISK=$(disk_identity "$from/disk.img")" "$from/meta" ||
  die damaged "the disk of the snapshot \`$NAME@$TAG\` was changed since it was taken ($PWD/$from/disk.img)"
if [[ $MEMORY == yes ]] && ! grep -q -x -F "FILES=$(frozen_identity "$from/frozen")" "$from/frozen/meta"; then
  answer LOST 'the files of its memory were changed since it was taken'
  MEMORY=no
fi

step "Restoring $NAME@$TAG"
# A memory that QEMU wrote is only ever read; Firecracker's is written on at the next suspension.
links=no
! grep -q '^AS=qemu ' "$from/frozen/meta" 2>/dev/null || links=yes
rm -rf restore.new
if [[ $MOVE == no ]]; then
  if ! shares_blocks; then
    needed=$(($(stat -c '%b * %B' "$from/disk.img")))
    [[ $MEMORY == no || $links == yes ]] || needed=$((needed + $(stat -c '%b * %B' "$from/frozen/memory")))
    room_for "$needed" || die no-space "that takes $((needed >> 20)) MiB, and $((FREE >> 20)) MiB are free; nothing was changed"
  fi
  trap 'rm -rf restore.new' EXIT
  mkdir restore.new
  copy_sparse "$from/disk.img" restore.new/disk.img || die no-space "the disk could not be copied; nothing was changed"
  if [[ $MEMORY == yes ]]; then
    mkdir restore.new/frozen
    for file in "$from"/frozen/*; do
      if [[ $links == yes && $file == */memory ]]; then
        ln "$file" restore.new/frozen/memory
      else
        copy_sparse "$file" "restore.new/frozen/${file##*/}" || die no-space "the memory could not be copied; nothing was changed"
      fi
    done
  fi
  shopt -s nullglob
  sync restore.new/* restore.new/frozen/* restore.new
fi
# Should this be killed in the next moments, the disk is to be whole.
! { cell_alive . && cell_vmm . && sshd_was_up .; } || guest_syncs 10 "$@" || true
cell_end .
if [[ $MOVE == yes ]]; then
  [[ $MEMORY == yes ]] || rm -rf "$from/frozen"
  mv -T "$from" restore
else
  mv -T restore.new restore
  trap - EXIT
fi
sync .
finish_restore
event . "restored: $TAG"
answer MEMORY "$MEMORY"
