# snapshot/create: keeps a machine's disk as it is at one moment, and with it the memory of one that runs or is suspended. A machine
# that runs stands still meanwhile, and goes on. The snapshot appears by one rename.
# In: NAME, FORMAT (of the snapshot's meta), TAG (empty: the next number; with a hyphen at its end: that and the next number), KEEP (how many of such a TAG stay, the
#     newest; 0: all), and for a machine that runs what vmm/freeze needs, with "$@", the command that lets the guest write out its files.
# Out: TAG, DISK and MEMORY (bytes on this file system), PAUSED and TOOK (ms), SYNCED yes|no, OF running|suspended|stopped.
: "${NAME:?}" "${KEEP:?}" "${FORMAT:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
finish_restore
mkdir -p snapshots
# What was killed.
rm -rf snapshots/.new

# last PREFIX: the highest number after it in LAST.
last() {
  local file number
  LAST=0
  for file in snapshots/"$1"*; do
    number=${file#"snapshots/$1"}
    [[ ! $number =~ ^[1-9][0-9]{0,8}$ ]] || ((number <= LAST)) || LAST=$number
  done
}
series=''
if [[ -z ${TAG:-} || $TAG == *- ]]; then
  series=${TAG:-}
  last "$series"
  TAG=$series$((LAST + 1))
fi
[[ ! -e snapshots/$TAG ]] || die taken "there is a snapshot \`$NAME@$TAG\` already"

of=stopped
if cell_alive . && cell_vmm .; then
  of=running
  [[ -n ${VMM:-} ]] || die changed "the machine \`$NAME\` was started meanwhile"
  # In an early boot a guest cannot always be resumed.
  sshd_was_up . || die booting "the machine \`$NAME\` is still booting"
elif [[ -e frozen/meta ]]; then
  of=suspended
fi
needed=0
if ! shares_blocks; then
  needed=$(($(stat -c '%b * %B' disk.img)))
  [[ $of != suspended ]] || needed=$((needed + $(stat -c '%b * %B' frozen/memory)))
fi
[[ $of != running ]] || freeze_room yes "$needed"
room_for "$needed" || die no-space "that may take $((needed >> 20)) MiB, and $((FREE >> 20)) MiB are free"

step "Taking the snapshot $NAME@$TAG"
uptime
began=$UPTIME FROZEN_FOR=0 SYNCED=yes
new=snapshots/.new
mkdir $new
freeze_undone() { rm -rf $new; }
checkpoint snapshot.begun
trap freeze_undone EXIT
if [[ $of == running ]]; then
  freeze_live $new "$@"
else
  copy_disk disk.img $new/disk.img || die no-space "the disk of \`$NAME\` could not be copied"
  if [[ $of == suspended ]]; then
    mkdir $new/frozen
    for file in frozen/*; do copy_sparse "$file" "$new/$file" || die no-space "the memory of \`$NAME\` could not be copied"; done
  fi
fi
cp vm.json $new/vm.json
checkpoint snapshot.copied
printf 'FORMAT=%s\nAT=%s\nOF=%s\nDISK=%s\n' "$FORMAT" "$EPOCHSECONDS" "$of" "$(disk_identity $new/disk.img)" >$new/meta
shopt -s nullglob
sync $new/* $new/frozen/* $new
checkpoint snapshot.synced
mv -T $new "snapshots/$TAG"
trap - EXIT
sync snapshots
checkpoint snapshot.placed
event . "snapshot: $TAG"
# Of a series the newest stay.
if [[ -n $series ]] && ((KEEP > 0)); then
  number=${TAG#"$series"}
  for old in snapshots/"$series"*; do
    [[ ${old#"snapshots/$series"} =~ ^[1-9][0-9]{0,8}$ ]] && ((BASH_REMATCH[0] <= number - KEEP)) && rm -rf "$old"
  done
fi
answer TAG "$TAG"
answer OF "$of"
answer DISK "$(($(stat -c '%b * %B' "snapshots/$TAG/disk.img")))"
[[ $of == stopped ]] || answer MEMORY "$(($(stat -c '%b * %B' "snapshots/$TAG/frozen/memory")))"
answer PAUSED "$FROZEN_FOR"
uptime
answer TOOK $(((UPTIME - began) * 10))
answer SYNCED "$SYNCED"
