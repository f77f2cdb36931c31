# logs: writes one of a machine's logs to standard output as it is, and goes on with it as long as the machine runs where that is
# asked for. It has no prelude, for the same reason.
# In: NAME, FILE, ONLY (a pattern; all lines where it is empty), FOLLOW (yes|no).
set -u
cd "${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}/machines/${NAME:?}" 2>/dev/null || exit 255
[[ -e ${FILE:?} ]] || exit 1

# child COMMAND… &: a child that is killed when this process dies.
child() { exec setpriv --pdeathsig KILL -- "$@"; }

# show: the log, and what comes to it.
show() {
  if [[ $FOLLOW == yes ]] && cell_alive .; then
    child tail -n +1 -F --pid="$CELL_PID" "$FILE" 2>/dev/null
  else
    child cat "$FILE" 2>/dev/null
  fi
}

trap exit HUP INT TERM
if [[ -n $ONLY ]]; then
  show | grep -a --line-buffered -e "$ONLY" &
else
  show &
fi
shown=$!
# shellcheck disable=SC2064 # the PID of now
trap "kill $shown 2>/dev/null" EXIT
wait "$shown"
true
