# microvm/grow: grows the disk of a machine that runs, and the file system on it. Safe to repeat; what is cut off, the next start does.
# In: NAME, VMM (its kind), GROW (what is said to it), DISK_BYTES, "$@" the command that has the guest grow its file system, run in
#     the cell. Out: GROWN yes, or FAULT (why not).
: "${NAME:?}" "${VMM:?}" "${GROW:?}" "${DISK_BYTES:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
if ! cell_alive . || ! cell_vmm .; then
  answer FAULT 'it does not run any more'
  exit 0
fi
step "Growing the disk of $NAME"
: >disk.grows
(($(stat -c %s disk.img) >= DISK_BYTES)) || truncate -s "$DISK_BYTES" disk.img
checkpoint grow.truncated
if ! { vmm_open "$VMM" && vmm_says "$GROW"; }; then
  answer FAULT "${VMM_FAULT:-its VMM does not answer}"
  exit 0
fi
said=$(timeout 300 nsenter -t "$VMM_PID" -U -n --preserve-credentials "$@" 2>&1 </dev/null) || {
  answer FAULT "the guest does not grow its file system: ${said##*$'\n'}"
  exit 0
}
checkpoint grow.grown
# It runs with it.
shopt -s extglob
runs=$(<run/vm.json)
printf '%s\n' "${runs/\"disk_bytes\":+([0-9])/\"disk_bytes\":$DISK_BYTES}" >run/vm.json.new
mv run/vm.json.new run/vm.json
rm -f disk.grows
event . "the disk has grown to $((DISK_BYTES >> 20)) MiB"
answer GROWN yes
