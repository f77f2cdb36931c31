# microvm/stop: asks the guest to power off, waits, and ends the VMM by force when that takes too long. Safe to repeat.
# In: NAME, SECONDS_TO_WAIT (0: by force at once), "$@" the command that asks the guest, for its cell.
# Out: HOW none|clean|forced|discarded, TOOK (hundredths of a second), CONSOLE lines when forced.
: "${NAME:?}" "${SECONDS_TO_WAIT:?}"
lock "$NAME"
machine=$MVM_HOME/machines/$NAME
! cd "$machine" 2>/dev/null || finish_restore
checkpoint stop.locked
uptime
how=none began=$UPTIME
if cell_alive "$machine"; then
  how=forced
  if ((SECONDS_TO_WAIT > 0)) && cell_vmm "$machine"; then
    step "Stopping $NAME"
    cd "$machine"
    asking='' patience=$SECONDS_TO_WAIT
    ask_guest "$@"
    # The connection that is there may be the one thing that hangs.
    [[ ${ASK[0]} != ssh ]] || patience=5
    while cell_alive "$machine" && uptime && ((UPTIME < began + SECONDS_TO_WAIT * 100)); do
      # In the background, since the answer dies with the guest; and again, since a guest that boots does not listen yet.
      if [[ -z $asking ]]; then
        timeout "$patience" "${ASK[@]}" </dev/null 3>&- 9>&- &
        asking=$!
        ASK=(nsenter -t "$VMM_PID" -U -n --preserve-credentials "$@") patience=$SECONDS_TO_WAIT
      elif [[ $asking != told && ! -e /proc/$asking ]]; then
        if wait "$asking"; then asking=told; else asking=''; fi
      fi
      nap 0.02
    done
    [[ -z $asking || $asking == told ]] || kill "$asking" 2>/dev/null || true
    cell_alive "$machine" || how=clean
  fi
  [[ $how == clean ]] || console_tail "$machine"
fi
checkpoint stop.asked
case $how in
  clean) event "$machine" "stop: it shut down" ;;
  forced) event "$machine" "stop: ended by force after $SECONDS_TO_WAIT s" ;;
esac
cell_end "$machine"
checkpoint stop.ended
# A memory fits no other boot.
[[ $how != none || ! -e $machine/frozen/meta ]] || how=discarded
rm -rf "$machine/frozen" "$machine/frozen.new"
answer HOW "$how"
uptime
answer TOOK $((UPTIME - began))
