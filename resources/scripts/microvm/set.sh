# microvm/set: writes down what a machine is to have from its next start on. Safe to repeat.
# In: NAME, CHANGES (what is new, for the events), stdin vm.json on one line; on the next, vm.json as this was decided on, empty where
#     that does not matter.
# Out: STALE yes where vm.json was changed meanwhile, and nothing was done.
: "${NAME:?}" "${CHANGES:?}"
IFS= read -r vm_json
IFS= read -r before || true
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
refuse_stale "$before"
write_spec "$vm_json"
checkpoint set.written
event . "set: $CHANGES"
