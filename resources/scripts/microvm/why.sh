# microvm/why: what a machine left behind, and what its processes do, that tells how it fares. Reads only.
# In: NAME. Out: PHASE lines (SECONDS WHAT), INIT, PANIC, OOM, VMM_LOG, EVENT and CONSOLE lines; VMM_STATE and VMM_TICKS (a
#     hundredth of a second of CPU each) of one that runs; LOAD and AVAILABLE_KIB of the host.
: "${NAME:?}"
machine=$MVM_HOME/machines/$NAME
[[ -d $machine ]] || die gone "the machine \`$NAME\` was removed meanwhile"
cd "$machine"
if [[ -e console.log ]]; then
  answer_phases PHASE
  answer INIT "$(console_says '^mvm: failed: .*')"
  answer PANIC "$(console_says 'Kernel panic.*')"
  answer OOM "$(console_says 'Out of memory: .*')"
  console_tail .
fi
while IFS= read -r line; do
  answer VMM_LOG "$line"
done < <(vmm_log . 5)
# Their arrows are no ASCII.
while IFS= read -r line; do
  answer EVENT "$line"
done < <(tail -n 5 events.log 2>/dev/null || true)
if cell_vmm .; then
  { IFS= read -r stat <"/proc/$VMM_PID/stat"; } 2>/dev/null || stat=
  read -r -a fields <<<"${stat##*) }"
  if ((${#fields[@]} > 12)); then
    answer VMM_STATE "${fields[0]}"
    answer VMM_TICKS $((fields[11] + fields[12]))
  fi
fi
read -r load _ </proc/loadavg
answer LOAD "$load"
proc_lines /proc/meminfo
for line in "${LINES[@]}"; do
  [[ ! $line =~ ^MemAvailable:[[:space:]]+([0-9]+) ]] || answer AVAILABLE_KIB "${BASH_REMATCH[1]}"
done
