# snapshot/clone: makes a machine of a snapshot of another one: with its disk, its memory where it has one, and keys of its own. It
# appears by one rename.
# In: NAME (the snapshot's machine), TAG, NEW_NAME, MEMORY (yes|no: whether its memory can be resumed here), stdin vm.json on one line,
# and the line of its keys.
# Out: LOST (why its memory is not taken, where that is found out here), MEMORY yes|no.
: "${NAME:?}" "${TAG:?}" "${NEW_NAME:?}" "${MEMORY:?}"
mapfile -t given
vm_json=${given[0]} keys=${given[1]}
lock_both "$NAME" "$NEW_NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
machine=$MVM_HOME/machines/$NEW_NAME
[[ ! -e $machine/vm.json ]] || die exists "there is a machine \`$NEW_NAME\` already"
check_snapshot "snapshots/$TAG"
step "Making $NEW_NAME of $NAME@$TAG"
new=$MVM_HOME/machines/.$NEW_NAME.new
trap 'rm -rf "$new"' EXIT
rm -rf "$new"
# Its memory is only ever read: what changes in the new machine is not written onto it.
copy_snapshot "snapshots/$TAG" "$new" yes
checkpoint clone.copied
mkdir "$new/run"
make_keys "$new/keys" "$NEW_NAME" "$keys" || die no-space "cannot write the keys of $NEW_NAME"
printf '%s\n' "$vm_json" >"$new/vm.json"
if [[ $MEMORY == yes ]]; then
  # Whoever goes on from it is told that it is another one (start.sh).
  [[ -d $new/frozen/origin ]] || origin_keys . "$new/frozen/origin"
  rm -f "$new/frozen/vm.json"
else
  forget_machine_id "$new/disk.img" || die damaged "the disk of the snapshot \`$NAME@$TAG\` is damaged"
fi
sync "$new/vm.json" "$new"/keys/*
[[ $MEMORY == no ]] || sync "$new"/frozen/origin/* "$new/frozen"
event "$new" "made of $NAME@$TAG"
checkpoint clone.made
rm -rf "$machine"
mv -T "$new" "$machine"
checkpoint clone.placed
trap - EXIT
answer MEMORY "$MEMORY"
