# microvm/timeline: when a machine that was just started reached what, by this side's clock. Reads only.
# In: NAME. Out: VMM and UP (when its VMM was started, and when it answered), BOOTED (when its kernel's clock began), all in
#     microseconds since 1970; PHASE lines (SECONDS of the kernel's clock, WHAT).
: "${NAME:?}"
cd "$MVM_HOME/machines/$NAME"
micros() {
  local stamp
  stamp=$(stat -c %.6Y "$1")
  printf '%s' "${stamp/./}"
}
answer VMM "$(micros run/vmm)"
answer UP "$(micros run/up)"
answer_phases PHASE

# The kernel's clock is asked over the open connection, and taken to be that of the middle: the quickest answer counts.
words=("${SHARED_CONNECTION[@]}" -T "mvm-$NAME" cat /proc/uptime)
best='' booted=''
for _ in 1 2 3; do
  before=${EPOCHREALTIME/./}
  read -r uptime _ < <("${words[@]}" </dev/null)
  after=${EPOCHREALTIME/./}
  if [[ $uptime =~ ^([0-9]+)\.([0-9]{2})$ ]] && { [[ -z $best ]] || ((after - before < best)); }; then
    best=$((after - before))
    booted=$(((before + after) / 2 - (10#${BASH_REMATCH[1]} * 100 + 10#${BASH_REMATCH[2]}) * 10000))
  fi
done
answer BOOTED "$booted"
