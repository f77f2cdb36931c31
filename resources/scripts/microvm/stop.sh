# microvm/stop: asks the guest to power off, waits, and ends the VMM by force when that takes too long. Safe to repeat.
# In: NAME, SECONDS_TO_WAIT (0: by force at once), "$@" the command that asks the guest, run in the cell.
# Out: HOW none|clean|forced, TOOK (hundredths of a second), CONSOLE lines when forced.
: "${NAME:?}" "${SECONDS_TO_WAIT:?}"
lock "$NAME"
machine=$MVM_HOME/machines/$NAME
how=none began=${EPOCHREALTIME/./}
if cell_alive "$machine"; then
  how=forced
  if ((SECONDS_TO_WAIT > 0)) && cell_vmm "$machine"; then
    step "Stopping $NAME"
    cd "$machine"
    deadline=$((began + SECONDS_TO_WAIT * 1000000))
    # A guest that still boots is asked again until it listens.
    while cell_alive "$machine" && ((${EPOCHREALTIME/./} < deadline)); do
      if timeout "$SECONDS_TO_WAIT" nsenter -t "$VMM_PID" -U -n --preserve-credentials "$@" </dev/null; then
        break
      fi
      sleep 0.2
    done
    exec {clock}<> <(:)
    while cell_alive "$machine" && ((${EPOCHREALTIME/./} < deadline)); do
      read -r -t 0.02 -u "$clock" _ || true
    done
    cell_alive "$machine" || how=clean
  fi
  [[ $how == clean ]] || console_tail "$machine"
fi
cell_end "$machine"
answer HOW "$how"
answer TOOK $(((${EPOCHREALTIME/./} - began) / 10000))
