# microvm/suspend: writes a running machine's memory to its folder and ends its cell. Until the memory is whole and on the
# disk the machine lives; however this ends, it goes on, or it can be resumed.
# In: NAME, VMM (its kind), MEMORY_BYTES, PAUSE, UNPAUSE, SAVE and SAVE_CHANGES (what is said to it; the last may be empty),
#     META (lines of what is known of the machine), "$@" the command that lets the guest write out its files, run in the cell.
# Out: BYTES (what the memory takes), PAUSED (ms), TOOK (ms), SYNCED yes|no.
: "${NAME:?}" "${VMM:?}" "${MEMORY_BYTES:?}" "${PAUSE:?}" "${UNPAUSE:?}" "${SAVE:?}" "${META:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
{ cell_alive . && cell_vmm .; } || die not-running "the machine \`$NAME\` is not running"
# In an early boot a guest cannot always be resumed.
sshd_was_up . || die booting "the machine \`$NAME\` is still booting"

# What changed since it was resumed goes onto the memory that it was resumed from.
base=no changes=no
if [[ $VMM == firecracker && -n ${SAVE_CHANGES:-} ]]; then
  if [[ -e run/thawed/memory ]]; then
    base=yes changes=yes
  elif [[ ! -e run/thawed && $(wc -l </proc/swaps) -le 1 ]]; then
    # Without swap, what was never touched need not be written.
    changes=yes
  fi
fi
if [[ $VMM == qemu ]]; then
  while read -r key value _; do
    [[ $key != VmRSS: ]] || needed=$((value * 1024))
  done <"/proc/$VMM_PID/status"
else
  needed=$MEMORY_BYTES
  [[ $base == no ]] || needed=$((MEMORY_BYTES - $(stat -c '%b * %B' run/thawed/memory)))
fi
: "${needed:?}"
read -r blocks size <<<"$(stat -f -c '%a %S' .)"
((blocks * size >= needed + (64 << 20))) ||
  die no-space "the memory of \`$NAME\` may take $((needed >> 20)) MiB, and $((blocks * size >> 20)) MiB are free; it runs on"

step "Suspending $NAME"
began=${EPOCHREALTIME/./}
# A memory that cannot be resumed one day must not cost files.
synced=no ask=(nsenter -t "$VMM_PID" -U -n --preserve-credentials "$@")
# By the connection that is there, where one is: another one takes longer.
! master_there || ask=(ssh -F none -S run/ssh -o LogLevel=ERROR -o ControlMaster=no -o 'ProxyCommand=exit 255' "mvm-$NAME" sync)
! timeout 30 "${ask[@]}" </dev/null || synced=yes
vmm_open "$VMM" || die vmm "the VMM of \`$NAME\` does not answer"
version=$(vmm_version) || die vmm "the VMM of \`$NAME\` does not say its version"

# go_on: the machine lives on as it was.
go_on() {
  trap - EXIT
  vmm_says "$UNPAUSE" || true
  rm -rf frozen.new frozen
}
trap go_on EXIT
rm -rf frozen.new frozen
mkdir frozen.new
[[ $base == no ]] || mv run/thawed/memory frozen.new/memory
paused=${EPOCHREALTIME/./}
vmm_says "$PAUSE" || die vmm "the VMM of \`$NAME\` does not pause: $VMM_FAULT"
SAVE_ALL=$SAVE
[[ $changes == no ]] || SAVE=$SAVE_CHANGES
vmm_says "$SAVE" || { [[ $changes == yes && $base == no ]] && vmm_says "$SAVE_ALL"; } ||
  die vmm "the memory of \`$NAME\` could not be written, and it runs on: $VMM_FAULT"
if [[ $VMM == qemu ]]; then
  # QEMU is through when the last bytes are in the pipe.
  exec {clock}<> <(:)
  until [[ -e frozen.new/whole ]]; do
    [[ ! -e frozen.new/short ]] || die no-space "the memory of \`$NAME\` could not be written, and it runs on"
    read -r -t 0.01 -u "$clock" _ || true
  done
  rm frozen.new/whole
  ln run/initrd frozen.new/initrd
  tr '\0' '\n' <"/proc/$VMM_PID/cmdline" >frozen.new/argv
else
  size=$(stat -c %s frozen.new/memory)
  [[ $size == "$MEMORY_BYTES" && -s frozen.new/state ]] ||
    die vmm "the memory of \`$NAME\` is not whole ($size bytes), and it runs on"
fi
[[ ! -e run/vm.json ]] || ln run/vm.json frozen.new/vm.json
took=$((${EPOCHREALTIME/./} - paused))
{
  printf '%s\n' "$META"
  printf 'VMM_VERSION=%s\nAS=%s\nAT=%s\nDISK=%s\nFILES=%s\n' "$version" "$(<run/as)" "$EPOCHSECONDS" \
    "$(disk_identity)" "$(frozen_identity frozen.new)"
  printf 'MEMORY=%s\n' "$(stat -c %s frozen.new/memory)"
} >frozen.new/meta
sync disk.img frozen.new/* frozen.new
mv -T frozen.new frozen
sync .
trap - EXIT
# What is on the disk counts from here on.
cell_end .
event . suspended
answer BYTES "$(($(stat -c '%b * %B' frozen/memory)))"
answer PAUSED $((took / 1000))
answer TOOK $(((${EPOCHREALTIME/./} - began) / 1000))
answer SYNCED "$synced"
