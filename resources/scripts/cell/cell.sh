# cell: the supervisor of one machine's cell, started in its own session in the machine's folder.
# It starts the VMM in new namespaces (inside.sh), connects those to the network by pasta, and hangs
# all together: whichever ends, and by whatever signal, the cell ends and the kernel removes its network. Only pasta is
# started again when it ends, since a machine can do without network, but not without its memory.
# In: UPSTREAM (the address of the host's resolver), MTU, IDLE (seconds after which run/suspend.sh is run when nobody uses the machine; 0: never), HALT_WATCH (yes: a guest's power-off leaves the VMM running), what inside.sh needs, "$@" the VMM.
# Leaves: run/cell and run/vmm while they live (PID, start time, boot id), run/exit (how the VMM ended), and for each port that is
# published run/ports/ID (the same of its forwarder) and ID.log (what that says).
set -u
umask 077
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# identity PID: what tells a process from a later one of the same PID.
identity() {
  local stat fields boot
  { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -r -a fields <<<"${stat##*) }"
  read -r boot </proc/sys/kernel/random/boot_id
  printf '%s %s %s\n' "$1" "${fields[19]}" "$boot"
}

# child COMMAND… &: a child that is killed when the supervisor dies.
child() { exec setpriv --pdeathsig KILL -- "$@"; }

# pause SECONDS &: without a program: to start one takes longer than most of what else a cell does in the life of a machine that passes.
pause() { read -r -t "$1" -u "$ready" _; }

# note TEXT: for the machine's events.log. Of what may come without end, a run notes so much only.
noted=0
note() {
  local time
  (((noted += 1) <= 200)) || return 0
  TZ=UTC0 printf -v time '%(%FT%TZ)T' -1
  { printf '%s %s\n' "$time" "$1" >>events.log; } 2>/dev/null
}

connect() {
  local root=()
  # As root it would become nobody, who may not enter the namespace.
  [[ $EUID != 0 ]] || root=(--runas 0:0)
  waiting=no began=$SECONDS resolvers=''
  IFS= read -r -d '' resolvers 2>/dev/null </etc/resolv.conf
  child pasta --config-net --foreground --quiet "${root[@]}" -4 --ns-ifname eth0 --mtu "$MTU" --no-map-gw \
    --dns-forward "$UPSTREAM" -t none -u none -T none -U none "$vmm" &
  pasta=$!
}

# limit: a share of the host's memory and processes that the VMM has no way out of, in a scope of systemd's, where that makes one for this
# user: for an ordinary one only where its systemd outlives the last login, since what is in a scope ends with that.
limit() {
  local bus=(--system) login uid
  [[ -d /run/systemd/system ]] && hash busctl 2>/dev/null || return 0
  if ((EUID != 0)); then
    while IFS=: read -r login _ uid _; do [[ $uid != "$EUID" ]] || break; done </etc/passwd
    [[ $uid == "$EUID" ]] || login=$(id -un)
    [[ -e /var/lib/systemd/linger/$login ]] || return 0
    bus=(--user)
  fi
  XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$EUID} child busctl --quiet "${bus[@]}" call org.freedesktop.systemd1 \
    /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' "mvm-$NAME-$vmm.scope" fail \
    5 PIDs au 1 "$vmm" Description s "the machine $NAME of mvm" MemoryMax t $(((MEMORY_MIB + SCOPE_SPARE_MIB) << 20)) \
    TasksMax t 1024 CollectMode s inactive-or-failed 0 </dev/null >/dev/null 2>&1 &
  limiter=$!
}
# What a VMM takes beside the guest's memory: code that it has translated, buffers, and files that the kernel caches for it.
SCOPE_SPARE_MIB=2048 limiter=''

# pasta reads the host's resolver once: another one needs another pasta. One that follows the file, whatever replaces it,
# wakes one that waits for the first byte.
watch_resolver() {
  exec {changes}< <(exec setpriv --pdeathsig KILL -- tail -n 0 -F /etc/resolv.conf 2>/dev/null)
  follower=$!
  child head -c 1 <&"$changes" >/dev/null &
  resolver=$!
  exec {changes}<&-
}

# resolve: the cell's own resolver, as run/net/resolver says (dnsmasq's configuration; empty for none), begun anew when that was changed.
resolve() {
  [[ -n $vmm && $names != starting && -e run/net/changed ]] || return 0
  rm -f run/net/changed
  if [[ -n $names ]]; then
    kill -KILL "$names"
    { wait "$names"; } 2>/dev/null
    names=''
  fi
  [[ ! -s run/net/resolver ]] || start_resolver
}

start_resolver() {
  local said
  names=starting asked=$SECONDS
  exec {said}> >(exec setpriv --pdeathsig KILL -- perl run/names.pl)
  child nsenter -t "$vmm" -U -n --preserve-credentials setpriv --pdeathsig KILL -- \
    unshare --mount --pid --fork --kill-child -- bash run/resolver.sh <run/net/resolver >&"$said" 2>&1 &
  names=$!
  exec {said}>&-
  # Asked for in the midst of this.
  resolve
}

# resolver_ended: without names a machine can do for a moment; one that ends at once is not started over and over.
resolver_ended() {
  names=''
  [[ -s run/net/resolver ]] || return 0
  if ((SECONDS - asked < 2)); then
    [[ $nameless == yes ]] || note 'network: no names, the resolver of the network policy does not start (mvm logs --vmm)'
    nameless=yes asked=-9
    child sleep 3 &
    names=$!
  elif [[ -z $names ]]; then
    ((asked < 0)) || nameless=no
    [[ $nameless == yes ]] || note 'network: the resolver of the network policy ended, and is started again'
    start_resolver
  fi
}
names='' asked=0 nameless=no

# settle: what a machine needs that lives longer than a moment, as most of those of `mvm run` do not. One that goes on from another's memory
# is to hear first who it is: of several at once each has the less of the processor.
settle() {
  local now=''
  settling=''
  if [[ -d run/origin ]] && ((settled_in < 8)); then
    settle_in $((settled_in * 2))
    return
  fi
  # Until here nobody looked.
  IFS= read -r -d '' now 2>/dev/null </etc/resolv.conf
  if [[ $now != "$resolvers" ]]; then resolver_changed; else watch_resolver; fi
  limit
  [[ $HALT_WATCH == yes ]] || return 0
  exec {console}< <(exec setpriv --pdeathsig KILL -- tail -n +1 -F console.log 2>/dev/null)
  tail=$!
  child grep -a -q -m 1 -E 'reboot: (System halted|Power down)' <&"$console" &
  halt=$!
}

resolver_changed() {
  echo "mvm: the host's resolver changed"
  note "network: restarted, the host's resolver changed"
  # It ends because it is told to, however soon.
  began=-9
  kill ${follower:+"$follower"} "$pasta" 2>/dev/null
  watch_resolver
}
# settle_in SECONDS: has that happen.
settle_in() {
  settled_in=$1
  pause "$1" &
  settling=$!
}
settling=''

# end: ends the VMM; one that is stopped takes KILL only. So does the first process of a PID namespace that has no handler of its
# own for TERM, as Firecracker.
end() {
  kill -TERM "$vmm" 2>/dev/null
  if [[ $HALT_WATCH == yes ]]; then
    kill -KILL "$vmm" 2>/dev/null
  elif [[ -z $timer ]]; then
    child sleep 2 &
    timer=$!
  fi
}

# open_master: the connection that `mvm exec` and others share, opened when they ask for it (enter.sh).
open_master() {
  local words
  [[ -z $master ]] || return 0
  # Asked again in the midst of this.
  master=opening
  if ! mapfile -d '' -t words <run/master.argv; then
    master=''
    return
  fi
  rm -f run/ssh
  # Entering a user namespace may clear the signal, so it is set inside again.
  child nsenter -t "$vmm" -U -n --preserve-credentials setpriv --pdeathsig KILL -- "${words[@]}" \
    </dev/null >run/master.log 2>&1 &
  master=$!
  identity "$master" >run/master.new && mv run/master.new run/master
}
master=''
trap open_master USR1

# open_ports: a forwarder for each port that is asked for in run/ports/wanted (its id, the protocol, what it listens on, the
# guest's port), and for no other. It is locked as long as it lives.
open_ports() {
  local id text
  local -A wanted=()
  [[ -n $vmm && -e run/ports/wanted ]] || return 0
  while read -r id text; do [[ -z $id ]] || wanted[$id]=$text; done <run/ports/wanted
  for id in "${!forwarders[@]}"; do
    [[ ${wanted[$id]:-} != "${forwards[$id]}" ]] || continue
    kill -KILL "${forwarders[$id]}"
    { wait "${forwarders[$id]}"; } 2>/dev/null
    port_closed "$id"
    rm -f "run/ports/$id.log"
  done
  for id in "${!wanted[@]}"; do
    [[ -n ${forwarders[$id]:-} ]] || open_port "$id" "${wanted[$id]}"
  done
  rm -f run/ports/wanted
}

open_port() {
  local words lock
  read -r -a words <<<"$2"
  exec {lock}>"run/ports/$1"
  flock "$lock"
  {
    # As many connections at once as the host lets it have.
    ulimit -S -n hard
    child perl run/forward.pl "${words[@]}" nsenter -t "$vmm" -U -n --preserve-credentials setpriv --pdeathsig KILL --
  } </dev/null >"run/ports/$1.log" 2>&1 &
  forwarders[$1]=$! forwards[$1]=$2
  identity $! >&"$lock"
  exec {lock}>&-
}

port_closed() {
  unset "forwarders[$1]" "forwards[$1]"
  rm -f "run/ports/$1" "run/ports/$1.sock"
}

# forwarder_ended PID: what it said stays.
forwarder_ended() {
  local id
  for id in "${!forwarders[@]}"; do
    [[ ${forwarders[$id]} == "$1" ]] || continue
    echo "mvm: the port $id is closed: $(tail -n 1 "run/ports/$id.log")"
    port_closed "$id"
  done
}
declare -A forwarders=() forwards=()
trap 'open_ports; resolve' USR2

# in_use: whether somebody is connected to the machine: a session (use_machine), a connection to one of its ports or its SSH
# server, or a shared folder of which more is read or written than what watches over it does. When it was used last is the time of run/use.
in_use() {
  local started address state count=0 file line lines=() before=$carried
  for file in run/uses/*; do
    { read -r started <"$file"; } 2>/dev/null || continue
    [[ $(identity "${file##*/}") != "${file##*/} $started "* ]] || return 0
    rm -f "$file"
  done
  for file in tcp udp; do
    # In one go: the kernel writes the file anew for each place that is gone back to, and lines shift meanwhile.
    mapfile -t lines <"/proc/$vmm/net/$file"
    for line in "${lines[@]}"; do
      read -r _ _ address state _ <<<"$line"
      [[ $address != "$GUEST_HEX":* || $state != 01 ]] || ((count += 1))
    done
  done 2>/dev/null
  # The connection that sessions share is there without any.
  [[ -z $master ]] || ((count -= 1))
  { read -r _ carried <"/proc/${master:-none}/io"; } 2>/dev/null
  ((count > 0 || (before > 0 && carried - before > QUIET * ticking)))
}

# tick: looks again in a while whether the machine is used.
tick() {
  ((${IDLE:-0} > 0)) || return 0
  ((ticking = IDLE / 10, ticking = ticking < 1 ? 1 : ticking > 30 ? 30 : ticking))
  child sleep $ticking &
  ticker=$!
}

suspend_unused() {
  local since
  ! in_use || touch run/use
  since=$(stat -c %Y run/use) || return 0
  ((EPOCHSECONDS - since >= IDLE && EPOCHSECONDS >= not_before)) || return 0
  # Where it cannot be, it is not tried without end.
  not_before=$((EPOCHSECONDS + IDLE))
  # It ends this very process, and is not to end with it.
  (UNUSED_SINCE=$since setsid bash run/suspend.sh </dev/null >run/suspend.log 2>&1 &)
}
IFS=. read -r -a guest <<<"$GUEST_IP"
printf -v GUEST_HEX '%02X%02X%02X%02X' "${guest[3]}" "${guest[2]}" "${guest[1]}" "${guest[0]}"
# What keeps an unused folder and the connection alive carries less than so many bytes a second.
QUIET=512 carried=0 ticker='' not_before=0

# The VMM's namespaces are there when inside.sh says so.
exec {ready}<> <(:)
export SUPERVISOR=$$ READY=$ready
# Without it nobody would know of the cell.
identity $$ >run/cell || exit 1
# Until here whoever started it has the machine's lock.
exec 9>&-

holder='' vmm='' pasta='' resolver='' follower='' halt='' tail='' timer='' reason='' trouble=no waiting=no
trap 'reason=${reason:-"ended by mvm"}; end' TERM INT HUP
# The signal would not outlast the first unshare. The second stays, as the parent of the first process of a PID namespace, and
# ends as that ends.
unshare --user --map-root-user --net --ipc --uts setpriv --pdeathsig KILL --no-new-privs -- \
  unshare --mount --pid --fork --kill-child -- bash run/inside.sh "$@" &
holder=$!
read -r -t 10 -u "$ready" vmm || vmm=$holder
if ! identity "$vmm" >run/vmm; then
  reason='it could not be noted which process its VMM is'
  kill -KILL "$holder"
fi
# Told to end before that was known.
[[ -z $reason ]] || end
connect
open_ports
resolve
tick
settle_in 1

while kill -0 "$holder" 2>/dev/null; do
  # This shell is not to comment, in the VMM's log, on who was killed.
  { wait -n -p ended "$holder" "$pasta" ${settling:+"$settling"} ${resolver:+"$resolver"} ${names:+"$names"} ${master:+"$master"} ${halt:+"$halt"} ${timer:+"$timer"} ${ticker:+"$ticker"} ${limiter:+"$limiter"} "${forwarders[@]}"; } 2>/dev/null
  status=$?
  # A signal ends the wait as well.
  [[ -n ${ended:-} ]] || continue
  case $ended in
    "$holder") break ;;
    "$pasta")
      if [[ $waiting == yes ]]; then
        connect
      elif ((SECONDS - began < 2)); then
        # Without a network pasta ends at once: it is tried again, and said once. Without a VMM too: that is no trouble of the network.
        [[ $trouble == yes || ! -e /proc/$vmm ]] || {
          echo 'mvm: pasta does not start; the machine has no network until it does'
          note 'network: down, pasta does not start'
        }
        waiting=yes trouble=yes
        child sleep 3 &
        pasta=$!
      else
        echo "mvm: pasta ended ($status) and is started again"
        note "network: restarted, pasta ended ($status)"
        trouble=no
        connect
      fi
      ;;
    "$settling") settle ;;
    "$resolver") resolver_changed ;;
    "$names") resolver_ended ;;
    "$master")
      mv run/master run/master.ended
      rm -f run/ssh
      # Only now: a signal that asks for another one may come between any two of these.
      master=''
      ;;
    "$timer")
      timer=''
      kill -KILL "$vmm" 2>/dev/null
      ;;
    "$ticker")
      ticker=''
      suspend_unused
      tick
      ;;
    # Its PID may be another's afterwards.
    "$limiter") limiter='' ;;
    "$halt")
      halt=''
      reason=clean
      end
      ;;
    *) forwarder_ended "$ended" ;;
  esac
done
# Told to end once more: it does.
trap '' TERM INT HUP
if [[ ${ended:-} != "$holder" ]]; then
  wait "$holder"
  status=$?
fi
# The log closes with what the VMM said.
exec {told}>&2 2>/dev/null
# None of them has anything left to do, and ssh for one may stay where it is to tell a guest goodbye that is gone.
kill -KILL "$pasta" ${settling:+"$settling"} ${resolver:+"$resolver"} ${follower:+"$follower"} ${limiter:+"$limiter"} ${names:+"$names"} ${master:+"$master"} ${timer:+"$timer"} ${halt:+"$halt"} ${tail:+"$tail"} ${ticker:+"$ticker"} "${forwarders[@]}"
# Nothing of the cell is left when run/cell goes.
wait
exec 2>&"$told" {told}>&-
if [[ -z $reason ]]; then
  if grep -a -q -m 1 'Kernel panic' console.log 2>/dev/null; then
    reason='kernel panic'
  elif ((status == 1)) && grep -q '^unshare: sig' vmm.log; then
    # It ends as its child did, but for the one signal that cannot be unblocked.
    reason='killed by SIGKILL'
  elif ((status > 128)); then
    reason="killed by SIG$(kill -l $((status - 128)))"
  elif ((status > 0)); then
    reason="exit code $status"
  else
    reason=clean
  fi
fi
noted=0
note "end: $reason"
printf '%s\n' "$reason" >run/exit
rm -rf run/cell run/vmm run/out
