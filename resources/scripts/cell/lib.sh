# Cells and locks, for the scripts that look at them or end them.

# The pipe that `nap` waits at.
NAP=''

# uptime: hundredths of a second since the host's boot in UPTIME. What waits goes by it: the host's clock may be set meanwhile.
uptime() {
  read -r UPTIME _ </proc/uptime
  UPTIME=$((10#${UPTIME/./}))
}

# nap SECONDS: without a program, to start one takes longer: it waits to read where nobody writes.
nap() {
  [[ -n $NAP ]] || exec {NAP}<> <(:)
  read -r -t "$1" -u "$NAP" _ || true
}

# lock NAME: one script at a time for a machine. The lock is file descriptor 9, which what lives on must not inherit.
lock() {
  local file=$MVM_HOME/locks/$1
  [[ -d $MVM_HOME/locks ]] || mkdir -p "$MVM_HOME/locks" || die no-space "cannot make $MVM_HOME/locks"
  while :; do
    exec 9>"$file"
    if ! flock --nonblock 9; then
      step "Waiting for another mvm that works on ${1#.}"
      flock 9
    fi
    # Whoever removed the machine removed the lock's file as well: then this is a lock on nothing.
    [[ ! $file -ef /proc/self/fd/9 ]] || break
  done
}

# lock_both NAME NAME: both, always in the same order: two that want them crosswise must not wait for each other.
lock_both() {
  local names=("$1" "$2")
  [[ $1 < $2 ]] || names=("$2" "$1")
  lock "${names[0]}"
  # That lock stays with this file descriptor.
  exec 7>&9
  lock "${names[1]}"
}

# unlock NAME: lets go of the lock, and of its file.
unlock() {
  rm -f "$MVM_HOME/locks/$1"
  exec 9>&-
}

# process_started PID: its start time in STARTED (clock ticks since boot) and its STATE; false when it is gone.
process_started() {
  local stat fields
  { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  # The name stands in brackets and may hold anything.
  read -r -a fields <<<"${stat##*) }"
  STARTED=${fields[19]}
  STATE=${fields[0]}
  [[ $STATE != Z ]]
}

# proc_lines FILE [COUNT]: the (first COUNT) lines of a file of /proc in LINES, read in one go. A loop over `read` goes back in the file after each line, where the
# kernel writes it anew, and a state or a number that became longer meanwhile shifts all that follows.
proc_lines() {
  LINES=()
  { mapfile -t -n "${2:-0}" LINES <"$1"; } 2>/dev/null || return 1
}

# process_memory PID: what a process has resident in RESIDENT (bytes); false when that is not told.
process_memory() {
  local line
  RESIDENT=''
  proc_lines "/proc/$1/status" || return 1
  for line in "${LINES[@]}"; do
    [[ $line != VmRSS:* ]] || RESIDENT=$((${line//[!0-9]/} * 1024))
  done
  [[ -n $RESIDENT ]]
}

# same_process PID STARTED: whether that very process still lives; a recycled PID started at another time.
same_process() {
  process_started "$1" && [[ $STARTED == "$2" ]]
}

# cell_alive DIR: whether the machine's supervisor lives. Sets CELL_PID.
cell_alive() {
  local boot now started
  { read -r CELL_PID started boot <"$1/run/cell"; } 2>/dev/null || return 1
  read -r now </proc/sys/kernel/random/boot_id
  [[ $boot == "$now" ]] && same_process "$CELL_PID" "$started"
}

# cell_vmm DIR: whether the machine's VMM lives. Sets VMM_PID and VMM_STARTED.
cell_vmm() {
  local boot now
  { read -r VMM_PID VMM_STARTED boot <"$1/run/vmm"; } 2>/dev/null || return 1
  read -r now </proc/sys/kernel/random/boot_id
  [[ $boot == "$now" ]] && same_process "$VMM_PID" "$VMM_STARTED"
}

# use_machine: as long as this process lives, and what it becomes, somebody uses the machine whose folder this is (cell's in_use). One that
# is just being suspended is waited for.
use_machine() {
  { exec 8>>run/use; } 2>/dev/null || return 0
  flock --shared 8 || true
  # ssh closes what it inherits, and with it a lock.
  { : >run/use && process_started $$ && echo "$STARTED" >"run/uses/$$"; } 2>/dev/null || true
  exec 8>&-
}

# cell_enter PID COMMAND…: runs a command in the cell that the VMM's process holds.
cell_enter() {
  nsenter -t "$1" -U -n --preserve-credentials "${@:2}"
}

# cell_end DIR: ends the machine's processes, if any are left, and removes what they leave.
cell_end() {
  cell_halt "$1"
  [[ ! -e $1/run && ! -e $1/api.sock ]] || rm -rf "$1/run" "$1/api.sock"
}

# is_of_cell PID: whether its command line, in WORDS, is that of a process of a cell; of what else may have a machine's folder as its own, as a
# user's shell or this script, it is not.
is_of_cell() {
  local program
  mapfile -d '' -t WORDS 2>/dev/null <"/proc/$1/cmdline" || return 1
  program=${WORDS[0]:-}
  case ${program##*/} in bash | perl) program=${WORDS[1]:-} ;; esac
  case $program in
    run/*.sh | run/*.pl | *pasta | *qemu-system-* | *firecracker*) ;;
    *) [[ "${WORDS[*]:0:3}" == 'setpriv --pdeathsig KILL' || "${WORDS[*]:0:3}" == 'ssh -F none' ]] ;;
  esac
}

# cell_strays DIR: ends what a supervisor that was killed had just started, and not told yet to end with it.
cell_strays() {
  local dir
  for dir in /proc/[0-9]*; do
    [[ -O $dir && $dir/cwd -ef $1 ]] || continue
    is_of_cell "${dir#/proc/}" || continue
    kill -KILL "${dir#/proc/}" 2>/dev/null || true
  done
}

# cell_halt DIR: ends them.
cell_halt() {
  local tries
  if cell_alive "$1"; then
    kill -TERM "$CELL_PID" 2>/dev/null || true
    for ((tries = 0; tries < 400; tries++)); do
      cell_alive "$1" || break
      nap 0.01
    done
  fi
  # A stopped or killed supervisor cannot do it; its end is the others' as well.
  ! cell_alive "$1" || kill -KILL "$CELL_PID" 2>/dev/null || true
  for ((tries = 0; tries < 200; tries++)); do
    cell_vmm "$1" || break
    kill -KILL "$VMM_PID" 2>/dev/null || true
    nap 0.01
  done
  # One that ends by itself removes it.
  [[ ! -e $1/run/cell ]] || cell_strays "$1"
  ! cell_vmm "$1" || die stuck "the process $VMM_PID does not end: the kernel holds it"
}

# trim_events: keeps the events of the machine whose folder this is from growing without end.
trim_events() {
  local size
  size=$(stat -c %s events.log 2>/dev/null) || return 0
  ((size < 65536)) || { tail -n 400 events.log >events.log.new && mv events.log.new events.log; }
}

# event DIR TEXT: notes in the machine's events.log what was done to it, and when.
event() {
  local time
  TZ=UTC0 printf -v time '%(%FT%TZ)T' -1
  # A full disk is no reason to leave undone what is noted.
  { printf '%s %s\n' "$time" "$2" >>"$1/events.log"; } 2>/dev/null || true
}

# sweep: removes what killed makings and removals of machines and golden memories left, unless somebody is at work on one.
sweep() {
  local left name
  [[ ! -e $MVM_HOME/golden/.new ]] ||
    (exec 8>>"$MVM_HOME/locks/.golden" && flock --nonblock 8 && rm -rf "$MVM_HOME/golden/.new") || true
  for left in "$MVM_HOME"/machines/.*.{new,gone,fork} "$MVM_HOME"/locks/[!.]*; do
    [[ -e $left ]] || continue
    name=${left##*/} name=${name#.} name=${name%.*}
    [[ $left != */locks/* || ! -e $MVM_HOME/machines/$name ]] || continue
    (
      exec 9>>"$MVM_HOME/locks/$name" && flock --nonblock 9 || exit 0
      [[ $left == */locks/* ]] || rm -rf "$left"
      [[ -e $MVM_HOME/machines/$name ]] || rm -f "$MVM_HOME/locks/$name"
    )
  done
}

# remove_machine NAME: ends a machine and removes all that is its own, under its lock.
remove_machine() {
  local machine=$MVM_HOME/machines/$1 gone=$MVM_HOME/machines/.$1.gone left
  cell_halt "$machine"
  checkpoint remove.ended
  # By a rename first: what is half removed is no machine any more.
  for left in "$gone" "$MVM_HOME/machines/.$1".{new,fork}; do [[ ! -e $left ]] || rm -rf "$left"; done
  [[ ! -e $machine ]] || mv -T "$machine" "$gone"
  checkpoint remove.renamed
  rm -rf "$gone"
}
