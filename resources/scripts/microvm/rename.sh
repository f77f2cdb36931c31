# microvm/rename: gives a stopped machine another name. Whenever it is cut off, the machine is whole under one of the two.
# In: NAME, NEW_NAME, stdin vm.json on one line (with the new name; nothing where it cannot be read).
: "${NAME:?}" "${NEW_NAME:?}"
read -r vm_json || true
lock_both "$NAME" "$NEW_NAME"
old=$MVM_HOME/machines/$NAME new=$MVM_HOME/machines/$NEW_NAME
cd "$old" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
[[ ! -e $new ]] || die exists "there is a machine \`$NEW_NAME\` already"
! cell_alive . || die runs "the machine \`$NAME\` was started meanwhile"
# What a killed cell left would be found by nobody under the new name.
! cell_vmm . || cell_end "$old"
# Its host key is known by both names until all is done.
read -r _ kind key <keys/known_hosts || die keys "the machine \`$NAME\` has lost its keys ($old/keys)"
known() {
  printf '%s %s %s\n' "$1" "$kind" "$key" >keys/known_hosts.new || die no-space "cannot write $PWD/keys/known_hosts"
  sync keys/known_hosts.new
  mv keys/known_hosts.new keys/known_hosts
}
known "mvm-$NAME,mvm-$NEW_NAME"
checkpoint rename.known
mv -T "$old" "$new"
checkpoint rename.moved
# What follows is for people: a machine's folder is its name.
known "mvm-$NEW_NAME"
[[ -z $vm_json ]] || write_spec "$vm_json"
event . "renamed: $NAME → $NEW_NAME"
checkpoint rename.written
rm -f "$MVM_HOME/locks/$NAME"
