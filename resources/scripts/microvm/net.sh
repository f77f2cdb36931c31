# microvm/net: what a machine may reach, from now on. Safe to repeat.
# In: NAME, CHANGE (what is new, for the events), RULES and RESOLVER (microvm/lib), stdin vm.json on one line; on the next, vm.json as
#     this was decided on, empty where it does not matter.
# Out: STALE yes where vm.json was changed meanwhile, and nothing was done; else RUNS yes|no.
: "${NAME:?}" "${CHANGE:?}" "${RULES:?}"
IFS= read -r vm_json
IFS= read -r before || true
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
refuse_stale "$before"
check_resolver
runs=no
if cell_alive . && cell_vmm .; then
  runs=yes
  # A supervisor of an older mvm knows of none.
  [[ -e run/net/rules ]] || die old-cell "the machine \`$NAME\` was started by an older mvm, whose machines have no network policy"
  want_rules
  # In force before it is written down: one transaction, or nothing of it.
  cell_enter "$VMM_PID" nft -f run/net/rules || die rules 'this host does not take the rules of the network policy'
  checkpoint net.ruled
  want_resolver
  kill -USR2 "$CELL_PID"
  checkpoint net.asked
  # The guest's next question should find the resolver, which is not there at once.
  for ((tries = 0; tries < 500; tries++)); do
    if [[ ! -e run/net/changed ]]; then
      [[ -n $RESOLVER ]] || break
      ! cell_enter "$VMM_PID" bash -c "exec 3<>/dev/tcp/$DNS/53" 2>/dev/null || break
    fi
    cell_alive . || break
    nap 0.01
  done
fi
IFS= read -r now <vm.json || true
if [[ $vm_json != "$now" ]]; then
  write_spec "$vm_json"
  event . "$CHANGE"
fi
answer RUNS "$runs"
