# microvm/ports: which ports of a machine are published, from now on and at its next start. Safe to repeat.
# In: NAME, PORTS (microvm/lib), stdin vm.json on one line. Out: RUNS yes|no, PORT for each that is asked for.
: "${NAME:?}"
read -r vm_json
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
write_spec "$vm_json"
if ! cell_alive . || ! cell_vmm .; then
  answer RUNS no
  exit 0
fi
# A supervisor of an older mvm would end by the signal.
[[ -d run/ports ]] || die old-cell "the machine \`$NAME\` was started by an older mvm, which publishes no ports"
want_ports
kill -USR2 "$CELL_PID"
ports_settled
answer RUNS yes
answer_ports PORT
