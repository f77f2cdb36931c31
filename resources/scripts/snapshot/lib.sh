# What is done with snapshots, in their machine's folder and under its lock.

# check_snapshot DIR: dies where its disk is not what was kept. Where it has a memory that was changed, MEMORY is no from here on.
# In: NAME, TAG, MEMORY. Out: LOST.
check_snapshot() {
  [[ -e $1/meta ]] || die no-snapshot "there is no snapshot \`$NAME@$TAG\`"
  [[ -s $1/disk.img ]] || die damaged "the snapshot \`$NAME@$TAG\` has lost its disk ($PWD/$1/disk.img)"
  grep -q -x -F "DISK=$(disk_identity "$1/disk.img")" "$1/meta" ||
    die damaged "the disk of the snapshot \`$NAME@$TAG\` was changed since it was taken ($PWD/$1/disk.img)"
  if [[ $MEMORY == yes ]] && ! grep -q -x -F "FILES=$(frozen_identity "$1/frozen")" "$1/frozen/meta"; then
    answer LOST 'the files of its memory were changed since it was taken'
    MEMORY=no
  fi
}

# copy_snapshot DIR TO LINK: its disk, and with MEMORY yes its memory, all on the disk; with LINK yes the memory's file is the same one.
copy_snapshot() {
  local file needed
  if ! shares_blocks; then
    needed=$(($(stat -c '%b * %B' "$1/disk.img")))
    [[ $MEMORY == no || $3 == yes ]] || needed=$((needed + $(stat -c '%b * %B' "$1/frozen/memory")))
    room_for "$needed" || die no-space "that takes $((needed >> 20)) MiB, and $((FREE >> 20)) MiB are free; nothing was changed"
  fi
  mkdir "$2"
  copy_disk "$1/disk.img" "$2/disk.img" || die no-space "the disk could not be copied; nothing was changed"
  if [[ $MEMORY == yes ]]; then
    mkdir "$2/frozen"
    for file in "$1"/frozen/*; do
      if [[ $3 == yes && $file == */memory ]]; then
        ln "$file" "$2/frozen/memory"
      else
        copy_sparse "$file" "$2/frozen/${file##*/}" || die no-space "the memory could not be copied; nothing was changed"
      fi
    done
    sync "$2"/frozen/* "$2/frozen"
  fi
  sync "$2/disk.img" "$2"
}
