# microvm/why: what a machine left behind that tells how it fares. Reads only.
# In: NAME. Out: PHASE lines (SECONDS WHAT), INIT, PANIC, OOM, VMM_LOG and CONSOLE lines.
: "${NAME:?}"
machine=$MVM_HOME/machines/$NAME
[[ -d $machine ]] || die gone "the machine \`$NAME\` was removed meanwhile"
cd "$machine"
if [[ -e console.log ]]; then
  while read -r _ seconds phase; do
    answer PHASE "$seconds ${phase%$'\r'}"
  done < <(grep -a '^mvm: [0-9]' console.log || true)
  answer INIT "$(grep -a -m 1 -o '^mvm: failed: .*' console.log | tr -d '\r' || true)"
  answer PANIC "$(grep -a -m 1 -o 'Kernel panic.*' console.log | tr -d '\r' || true)"
  answer OOM "$(grep -a -m 1 -o 'Out of memory: .*' console.log | tr -d '\r' || true)"
  console_tail .
fi
while IFS= read -r line; do
  answer VMM_LOG "${line//[^[:print:]]/}"
done < <(tail -n 5 vmm.log 2>/dev/null)
