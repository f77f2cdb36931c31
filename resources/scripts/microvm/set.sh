# microvm/set: writes down what a machine is to have from its next start on. Safe to repeat.
# In: NAME, CHANGES (what is new, for the events), stdin vm.json on one line.
: "${NAME:?}" "${CHANGES:?}"
read -r vm_json
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
write_spec "$vm_json"
event . "set: $CHANGES"
