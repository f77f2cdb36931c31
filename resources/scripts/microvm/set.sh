# microvm/set: writes down what a machine is to have from its next start on. Safe to repeat.
# In: NAME, VM_JSON, CHANGES (what is new, for the events).
: "${NAME:?}" "${VM_JSON:?}" "${CHANGES:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
write_spec "$VM_JSON"
event . "set: $CHANGES"
