# relay: carries bytes between the standard streams and the connection on file descriptor 3, and nothing else. Its end is
# whichever comes first: the guest's, the caller's (the guest then has two seconds for its last words), or that of the
# machine, which by itself would leave a connection that nobody answers.
# In: $1, the PID of the machine's VMM.
set -u
exec 2>/dev/null

# child COMMAND… &: a child that is killed when this process dies.
child() { exec setpriv --pdeathsig KILL -- "$@"; }

child cat <&3 3>&- &
from=$!
child cat <&0 >&3 3>&- &
to=$!
child tail --pid="$1" -f /dev/null </dev/null >/dev/null 3>&- &
machine=$!
exec 0<&- 1>&- 3>&-
trap exit HUP INT TERM
# shellcheck disable=SC2064 # the PIDs of now
trap "kill $from $to $machine" EXIT
wait -n -p ended "$from" "$to" "$machine"
if [[ ${ended:-} == "$to" ]]; then
  child sleep 2 &
  wait -n "$from" "$machine" $!
fi
exit 0
