# microvm/ports: which ports of a machine are published, from now on and at its next start. Safe to repeat.
# In: NAME, CHANGE (what is new, for the events), PORTS (microvm/lib), stdin vm.json on one line; on the next, vm.json as this was
#     decided on, empty where it does not matter.
# Out: STALE yes where vm.json was changed meanwhile, and nothing was done; else RUNS yes|no, PORT for each that is asked for.
: "${NAME:?}" "${CHANGE:?}"
IFS= read -r vm_json
IFS= read -r before || true
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
refuse_stale "$before"
IFS= read -r now <vm.json || true
if [[ $vm_json != "$now" ]]; then
  write_spec "$vm_json"
  event . "$CHANGE"
  checkpoint ports.written
fi
if ! cell_alive . || ! cell_vmm .; then
  answer RUNS no
  exit 0
fi
# A supervisor of an older mvm would end by the signal.
[[ -d run/ports ]] || die old-cell "the machine \`$NAME\` was started by an older mvm, which publishes no ports"
want_ports
kill -USR2 "$CELL_PID"
checkpoint ports.asked
ports_settled
answer RUNS yes
answer_ports PORT
