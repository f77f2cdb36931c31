# microvm/start: starts a machine's cell and waits until its guest takes connections. Safe to repeat: a machine that
# runs is only waited for.
# In: NAME, IMAGE (the folder's name), DISK_BYTES, AS (which VMM, how), BOOT_SECONDS, CELL and INSIDE (the supervisor's
#     scripts), FORWARD and PORTS (microvm/lib), VMM_CONFIG, the cell's settings, "$@" the VMM's command line, stdin vm.json
#     on one line and the seed archive.
# Out: PID; STARTED yes|no; PORT for each port; or TROUBLE exited|silent with EXIT and CONSOLE lines.
: "${NAME:?}" "${IMAGE:?}" "${DISK_BYTES:?}" "${AS:?}" "${BOOT_SECONDS:?}" "${CELL:?}" "${INSIDE:?}" "${FORWARD:?}"
read -r vm_json
lock "$NAME"
machine=$MVM_HOME/machines/$NAME
cd "$machine" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"

# grow: the disk grows to what was asked for, never shrinks.
grow() {
  local size
  size=$(stat -c %s disk.img)
  ((size < DISK_BYTES)) || return 0
  step "Growing the disk of $NAME"
  truncate -s "$DISK_BYTES" disk.img
  # 1 is a file system that was mended.
  e2fsck -fp disk.img || (($? == 1)) || die disk "the disk $machine/disk.img is damaged: try \`e2fsck -fy\` on it"
  resize2fs disk.img
}

launch() {
  # What a killed cell left; Firecracker does not start beside an old socket.
  cell_end "$machine"
  mkdir -p run
  rm -f api.sock run/exit
  [[ -p run/console ]] || mkfifo run/console
  trim_events
  grow
  write_spec "$vm_json"
  cat "../../images/$IMAGE/initrd" - >run/initrd || die no-space "cannot write $machine/run/initrd"
  printf '%s\n' "$vm_json" >run/vm.json
  printf '%s' "$CELL" >run/cell.sh
  printf '%s' "$INSIDE" >run/inside.sh
  printf '%s' "$FORWARD" >run/forward.pl
  want_ports
  printf '%s' "${VMM_CONFIG:-}" >run/vmm.json
  printf '%s\n' "$AS" >run/as
  : >console.log
  : >vmm.log
  # The cell outlives this script: it has its own session, and none of our files.
  event . "start: $AS"
  setsid bash run/cell.sh "$@" </dev/null >>vmm.log 2>&1 3>&- 9>&- &
}

started=no
# A supervisor without a VMM that has not begun is one at its end.
if ! cell_alive "$machine" || { [[ -s run/vmm ]] && ! cell_vmm "$machine"; }; then
  step "Starting $NAME"
  started=yes
  launch "$@"
else
  step "Waiting for $NAME"
  cat >/dev/null
fi

# Without a fork: the console is read as it grows, a read that times out is the clock.
exec {console}<console.log {clock}<> <(:)
text='' ready=no began=$SECONDS deadline=$((SECONDS + BOOT_SECONDS))
while ((SECONDS < deadline)); do
  if IFS= read -r -N 65536 -u "$console" chunk 2>/dev/null || [[ -n $chunk ]]; then
    text+=$chunk
    # A chatty guest must not make this slow; a mark may be cut by the end of a read.
    ((${#text} <= 8192)) || text=${text: -4096}
  fi
  if [[ $text =~ mvm:\ [0-9.]+\ sshd ]] && cell_vmm "$machine" && guest_connects "$VMM_PID"; then
    ready=yes
    break
  fi
  if [[ -e run/exit ]] || { [[ -s run/cell ]] && ! cell_alive "$machine"; }; then
    break
  fi
  read -r -t 0.02 -u "$clock" _ || true
done
if [[ $ready == yes ]]; then
  if [[ $started == yes ]]; then
    event "$machine" "up: its SSH server answers after $((SECONDS - began)) s"
  fi
  # Spares a look the reading of the console.
  : >run/up
  answer PID "$VMM_PID"
  answer STARTED "$started"
  ports_settled
  answer_ports PORT
  exit 0
fi
if [[ ! -e run/exit ]] && cell_alive "$machine"; then
  event "$machine" "no answer within $BOOT_SECONDS s"
  answer TROUBLE silent
else
  answer TROUBLE exited
  answer EXIT "$(cat run/exit 2>/dev/null || echo 'without a word')"
fi
if [[ $text =~ mvm:\ failed:\ ([^$'\r\n']*) ]]; then
  answer INIT "${BASH_REMATCH[1]}"
fi
answer PANIC "$(grep -a -m 1 -o 'Kernel panic.*' console.log | tr -d '\r' || true)"
answer VMM_LOG "$(vmm_log . 3 | tr '\n' ' ')"
console_tail "$machine"
