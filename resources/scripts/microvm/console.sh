# console: connects the standard streams with the machine's serial console. It has no prelude, since standard output is the
# guest's. What the guest writes comes by the log, which so is complete whoever watches; several may. Its end is that of the
# machine, or two seconds after that of the input. Where there is no console to connect to it ends with 255.
# In: NAME.
set -u
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}/machines/${NAME:?}" 2>/dev/null || exit 255
use_machine
cell_alive . && cell_vmm . && [[ -p run/console ]] || exit 255

# child COMMAND… &: a child that is killed when this process dies.
child() { exec setpriv --pdeathsig KILL -- "$@"; }

child tail -n 10 -f --pid="$VMM_PID" console.log </dev/null &
from=$!
# Opened for both, so that it never waits for a VMM that has just gone.
child cat <&0 1<>run/console &
to=$!
exec 0<&- 1>&-
trap exit HUP INT TERM
# shellcheck disable=SC2064 # the PIDs of now
trap "kill $from $to 2>/dev/null" EXIT
wait -n -p ended "$from" "$to"
if [[ ${ended:-} == "$to" ]]; then
  child sleep 2 &
  wait -n "$from" $!
fi
true
