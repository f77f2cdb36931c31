# microvm/start: starts a machine's cell and waits until its guest takes connections. Safe to repeat: a machine that
# runs is only waited for.
# In: NAME, IMAGE (the folder's name), DISK_BYTES, AS (which VMM, how), BOOT_SECONDS, CELL and INSIDE (the supervisor's
#     scripts), FORWARD and PORTS (microvm/lib), RULES and RESOLVER (microvm/lib), RESOLVE and NAMES (what runs it, what notes names), SHUT (what shuts both and the VMM in), IDLE (seconds without use until it is suspended; 0: never) and SUSPEND (what does it),
#     VMM_CONFIG, the cell's settings, "$@" the VMM's command line, stdin vm.json on one line, vm.json as this was decided on (empty
#     where that does not matter), and the seed archive.
#     MASTER (what opens a connection). For a suspended machine also THAW_DISK (the disk that its memory belongs to),
#     THAW_ARGV (the VMM's words, where they were not kept), THAW_LOAD and UNPAUSE (what is said to it); FIRST (yes: who it is the guest hears
#     from whoever enters first, by microvm/first.pl, where it waits for it); ADOPT (that program, for this script to do it) and PORT (what for);
#     FRESH (yes: all that it goes on from was just made).
# Out: STALE yes where vm.json was changed meanwhile, and nothing was done; else PID; STARTED yes|no; RESUMED yes, GREETED no, FIRST yes (it waits for that); LOST (why the memory was not resumed); PORT for each port; or TROUBLE
#     exited|silent with EXIT and CONSOLE lines.
: "${NAME:?}" "${IMAGE:?}" "${DISK_BYTES:?}" "${AS:?}" "${BOOT_SECONDS:?}" "${CELL:?}" "${INSIDE:?}" "${FORWARD:?}"
: "${RULES:?}" "${RESOLVE:?}" "${NAMES:?}" "${SHUT:?}"
# What only this script reads would be copied for each program that it starts, and for the cell's.
export -n CELL INSIDE FORWARD RULES RESOLVE RESOLVER NAMES SHUT SUSPEND PORTS VMM_CONFIG MASTER THAW_DISK THAW_ARGV THAW_LOAD UNPAUSE ADOPT
IFS= read -r vm_json
IFS= read -r before
lock "$NAME"
machine=$MVM_HOME/machines/$NAME
cd "$machine" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"

# grow: the disk grows to what was asked for, never shrinks.
grow() {
  local size
  size=$(stat -c %s disk.img)
  # A growth that was cut off leaves a mark.
  ((size < DISK_BYTES)) || [[ -e disk.grows ]] || return 0
  step "Growing the disk of $NAME"
  : >disk.grows
  checkpoint start.grows
  ((size >= DISK_BYTES)) || truncate -s "$DISK_BYTES" disk.img
  # 1 is a file system that was mended.
  e2fsck -fp disk.img || (($? == 1)) || die disk "the disk $machine/disk.img is damaged: try \`e2fsck -fy\` on it"
  resize2fs disk.img
  rm -f disk.grows
}

# prepare [ahead]: what a cell needs in run/, whichever way its machine begins; with what make_spare or fork.sh made ahead, where they did.
prepare() {
  if [[ ${1-} != ahead || $fresh == no || ! -d run/thawed || ! -d run/out || -e run/vm.json ]]; then
    # What a killed cell left; Firecracker does not start beside an old socket.
    cell_end .
    make_run .
  fi
  # Where nobody would suspend it is none: who uses it would leave notes that nobody removes (use_machine).
  ((${IDLE:-0} == 0)) || mkdir -p run/uses
  [[ $fresh == yes ]] || trim_events
  printf '%s\n' "$vm_json" >run/vm.json
  printf '%s' "$CELL" >run/cell.sh
  printf '%s' "$INSIDE" >run/inside.sh
  printf '%s' "$FORWARD" >run/forward.pl
  printf '%s' "$RESOLVE" >run/resolver.sh
  printf '%s' "$NAMES" >run/names.pl
  printf '%s' "$SHUT" >run/shut.pl
  printf '%s' "${SUSPEND:-}" >run/suspend.sh
  : >run/use
  # Nobody reads them yet.
  [[ -z ${PORTS:-} ]] || printf '%s\n' "$PORTS" >run/ports/wanted
  want_rules
  [[ -z ${RESOLVER:-} ]] || want_resolver
  printf '%s' "${VMM_CONFIG:-}" >run/vmm.json
  printf '%s\n' "$AS" >run/as
  : >vmm.log
  event . "start: $AS"
}

# supervise VMM…: the cell outlives this script: it has its own session, and none of our files but the lock, until it is known.
supervise() {
  [[ -z $NAP ]] || exec {NAP}>&-
  NAP=''
  printf '%s\n' "$@" >run/argv
  setsid bash run/cell.sh "$@" </dev/null >>vmm.log 2>&1 3>&- &
  supervisor=$!
}

# launch VMM…: boots. What was frozen would not fit the disk any more.
launch() {
  # What the disk of a golden memory lacks is in that.
  if [[ $golden == yes ]]; then
    rm -f disk.img
    make_disk disk.img
  elif [[ -d frozen/origin || -d run/origin ]]; then
    forget_machine_id disk.img || die disk "the disk $machine/disk.img is damaged: try \`e2fsck -fy\` on it"
  fi
  rm -rf frozen frozen.new initrd.new
  prepare
  grow
  write_spec "$vm_json"
  checkpoint start.prepared
  cat "../../images/$IMAGE/initrd" - >run/initrd || die no-space "cannot write $machine/run/initrd"
  : >console.log
  checkpoint start.written
  supervise "$@"
  checkpoint start.supervised
}

# launch_again VMM…: the same boot once more; the seed came once only.
launch_again() {
  mv run/initrd initrd.new
  prepare
  mv initrd.new run/initrd
  : >console.log
  supervise "$@"
}

# thaw: goes on where the machine was suspended, or where another one stood whose keys are in frozen/origin. False, with LOST as the
# reason, where that fails; then nothing of it runs.
thaw() {
  local words word boot load
  LOST=''
  if [[ $fresh == yes ]]; then
    # create.sh has just looked, or fork.sh made it.
    :
  elif [[ $(disk_identity disk.img) != "$THAW_DISK" ]]; then
    LOST='its disk was changed meanwhile'
  elif ! grep -q -x -F "FILES=$(frozen_identity frozen)" frozen/meta; then
    LOST='the files of its memory were changed meanwhile'
  elif [[ -e frozen/thawing && $(<frozen/thawing) != "$(</proc/sys/kernel/random/boot_id)" ]]; then
    LOST='the host went down just when it was resumed'
  fi
  [[ -z $LOST ]] || return 1
  prepare ahead
  [[ ! -e frozen/vm.json ]] || ln -f frozen/vm.json run/vm.json
  # Until it knows who it is.
  [[ ! -d frozen/origin || -d run/origin ]] || cp -r frozen/origin run/origin
  if [[ -e frozen/argv ]]; then
    mapfile -t words <frozen/argv
    ln frozen/initrd run/initrd
    if [[ ${words[-1]} != defer ]]; then words+=(-incoming defer); fi
    for word in "${!words[@]}"; do
      [[ ${words[word]} != -name ]] || words[word + 1]=$NAME
    done
  else
    mapfile -t words <<<"$THAW_ARGV"
  fi
  supervise "${words[@]}"
  # What comes of a golden memory passes anyway, and for others fork.sh has noted it: both in one go.
  load=$THAW_LOAD
  [[ $fresh == no ]] || load+=$'\n'$UNPAUSE
  if ! { vmm_open "${AS%% *}" && vmm_says "$load"; }; then
    LOST="${VMM_FAULT:-the VMM ended at once}"
  elif [[ $fresh == yes ]]; then
    checkpoint start.loaded
  else
    checkpoint start.loaded
    # From here on the disk changes: after a loss of power nothing else would tell.
    read -r boot </proc/sys/kernel/random/boot_id
    printf '%s\n' "$boot" >frozen/thawing
    sync frozen/thawing frozen
    checkpoint start.thawing
    vmm_says "$UNPAUSE" || LOST=$VMM_FAULT
  fi
  if [[ -n $LOST ]]; then
    cell_end .
    return 1
  fi
  # It says nothing on its console that another start could wait for.
  : >run/up
  # Firecracker has the memory mapped, and the next suspension writes on from it; one of another machine may be others' as well.
  if [[ -d run/thawed ]]; then
    rm -rf frozen
  elif [[ -d run/origin ]]; then
    rm -f frozen/memory
  fi
  checkpoint start.resumed
  if [[ -d frozen ]]; then
    mv frozen run/thawed
    [[ $VMM == firecracker ]] || rm -rf run/thawed
  fi
  if [[ ${FIRST:-} == yes && -e run/origin/first ]]; then
    adopted=later
  elif [[ -d run/origin ]]; then
    adopt || return 1
    adopted=yes
  fi
}

# adopt: the guest hears who it is now. False, with LOST as the reason, where it does not; then nothing of it runs.
adopt() {
  if ! { [[ -n ${ADOPT:-} && -e run/origin/first ]] && LINE='' TERMINAL=no PASSES=no PERL5OPT='' PERL_UNICODE='' perl -e "$ADOPT"; } && ! greet; then
    LOST='it did not take on who it is'
    # What tells the next boot that the disk is another machine's still.
    rm -rf frozen
    mkdir frozen
    mv run/origin frozen/origin
    cell_end .
    return 1
  fi
  rm -rf run/origin
}

# After a resume the guest hears what time it is, and gets new randomness, before anybody enters; and who it is from now on, where it
# goes on from another machine's memory, by the connection that sessions then go on using.
greet() {
  local words guest input said=''
  mapfile -t words <<<"$MASTER"
  # The paths of the keys.
  [[ ! -d run/origin ]] || words=("${words[@]/keys\//run/origin/}")
  master_connects "${words[@]}" || return 1
  words=("${SHARED_CONNECTION[@]}" -T "mvm-$NAME")
  coproc timeout 60 "${words[@]}" /run/mvm/thawed
  guest=$! input=${COPROC[1]}
  exec {said_by}<&"${COPROC[0]}"
  # The time is that of the moment at which the guest listens.
  read -r _ <&"$said_by" || return 1
  {
    printf '%s\n' "$EPOCHREALTIME"
    head -c 64 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
    echo
    if [[ -d run/origin ]]; then
      if [[ -e run/origin/later ]]; then echo later; else echo now; fi
      echo "$NAME"
      cat keys/id_ed25519.pub keys/host_ed25519.pub keys/host_ed25519
    fi
  } >&"$input" || return 1
  exec {input}>&-
  # An older mvm's says nothing at its end, and takes on no identity.
  read -r said <&"$said_by" || true
  exec {said_by}<&-
  wait "$guest" && { [[ ! -d run/origin ]] || [[ $said == 'done' ]]; }
}

checkpoint start.locked
finish_restore
check_resolver
started=no resumed=no adopted=no golden=no supervisor=''
[[ ! -e frozen/origin/later && ! -e run/origin/later ]] || golden=yes
fresh=${FRESH:-$golden}
# A supervisor without a VMM that has not begun is one at its end.
if ! cell_alive "$machine" || { [[ -s run/vmm ]] && ! cell_vmm "$machine"; }; then
  started=yes
  if [[ -n ${THAW_DISK:-} && -e frozen/meta ]]; then
    step "Resuming $NAME"
    if thaw; then
      resumed=yes
      # Nobody needs the seed.
      exec </dev/null
    else
      answer LOST "$LOST"
      event . "not resumed: $LOST"
    fi
  fi
  if [[ $resumed == no ]]; then
    refuse_stale "$before"
    step "Starting $NAME"
    launch "$@"
  fi
else
  step "Waiting for $NAME"
  # Whoever suspended it did not come to an end: it is paused, and lives.
  if [[ -e frozen.new || -e frozen ]]; then
    vmm_open "${AS%% *}" && vmm_says "$UNPAUSE"
    # It may go on from that memory already: what changed since is not all that the next one is made of (freeze_room).
    [[ ! -d frozen ]] || mkdir -p run/thawed
    rm -rf frozen.new frozen
    # One that goes on from another machine's memory says nothing on its console.
    : >run/up
  fi
  if [[ -d run/origin ]] && ! adopt; then
    started=yes
    answer LOST "$LOST"
    step "Starting $NAME"
    launch "$@"
  else
    cat >/dev/null
  fi
fi

# await_guest: waits until the guest takes connections, or ends, and tells by `ready`. Without a program: the console
# is read as it grows. Where there is one processor this is taken from the guest, so it looks seldom until something is about to come.
await_guest() {
  local console chunk heard=no pace=0.05
  [[ ! -e run/up ]] || pace=0.02
  exec {console}<console.log
  uptime
  text='' ready=no began=$UPTIME
  while uptime && ((UPTIME < began + BOOT_SECONDS * 100)); do
    hears
    if [[ $heard == yes || -e run/up ]] && cell_vmm "$machine"; then
      if [[ $adopted != no ]] || guest_connects "$VMM_PID"; then
        ready=yes
        break
      elif (($? > 124)); then
        # Not the guest's doing, and it will not come about by waiting.
        die no-memory "the programs that ask the guest of \`$NAME\` cannot be started on this host"
      fi
    fi
    [[ ! -e run/exit ]] || break
    if [[ -n $supervisor ]]; then
      kill -0 "$supervisor" 2>/dev/null || break
    elif [[ -s run/cell ]] && ! cell_alive "$machine"; then
      break
    fi
    nap "$pace"
  done
  # What it said just before it ended.
  [[ $ready == yes ]] || hears
  exec {console}<&-
}

# hears: what is new on the console; its last part is in `text`, and in `heard` whether its SSH server is up.
hears() {
  local seam=$text
  ((${#seam} <= 64)) || seam=${seam: -64}
  IFS= read -r -N 65536 -u "$console" chunk 2>/dev/null || [[ -n $chunk ]] || return 0
  text+=$chunk
  # A mark may be cut by the end of a read.
  [[ $seam$chunk != *'mvm: '[0-9]*' network'* ]] || pace=0.01
  [[ $seam$chunk != *'mvm: '[0-9]*' sshd'* ]] || heard=yes
  # A chatty guest must not make this slow.
  ((${#text} <= 8192)) || text=${text: -4096}
}

await_guest
# On a busy host an emulated guest may find no timer (guest/init).
for ((attempt = 1; attempt < 5; attempt++)); do
  [[ $ready == no && $started == yes && $text == *'mvm: no timer'* ]] || break
  step "Starting $NAME once more: this host was too busy for the guest to find its timer"
  event . 'start: once more, the guest found no timer'
  launch_again "$@"
  await_guest
done
if [[ $ready == yes ]]; then
  if [[ $started == yes ]]; then
    event "$machine" "up: its SSH server answers after $(((UPTIME - began) / 100)) s"
  fi
  checkpoint start.ready
  # Spares a look the reading of the console.
  : >run/up
  if [[ $resumed == yes ]]; then
    answer RESUMED yes
    event . resumed
    case $adopted in
      later) answer FIRST yes ;;
      no) greet || answer GREETED no ;;
    esac
  fi
  # Whoever had it started is about to use it. (A cell of an older mvm counts nothing.)
  [[ ! -e run/use ]] || : >run/use
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
answer PANIC "$(console_says 'Kernel panic.*')"
answer VMM_LOG "$(vmm_log . 3 | tr '\n' ' ')"
console_tail "$machine"
