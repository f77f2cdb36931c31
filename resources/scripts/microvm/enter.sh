# enter: runs a line in a machine's guest, over the one connection kept for it, on the standard streams as they are.
# It has no prelude, since standard output is the guest's. Its ways are few: what fails here ends with 255, as ssh's own
# failures do, and mvm then looks what is the matter.
# In: NAME, LINE (for the guest's shell; empty for none), INPUT (yes|no), TERMINAL (yes|no), LOG (a title: all output goes to
#     standard error, and under it to the machine's provision.log), "$@" the command line that opens the connection, its paths
#     seen from the machine's folder.
set -u
umask 077
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}/machines/${NAME:?}" 2>/dev/null || exit 255

# connected: whether the connection is there. One that is stopped will never answer, and is ended.
connected() {
  local pid started
  { read -r pid started _ <run/master; } 2>/dev/null && same_process "$pid" "$started" || return 1
  if [[ $STATE == [Tt] ]]; then
    kill -KILL "$pid"
    return 1
  fi
  [[ -S run/ssh ]]
}

# connect: the cell's supervisor opens the connection, so that it ends with the cell.
connect() {
  local clock tries ended known=" "
  cell_alive . && cell_vmm . && sshd_was_up . || exit 255
  printf '%s\0' "$@" >"run/master.$$" && mv "run/master.$$" run/master.argv
  for ended in run/master run/master.ended; do
    ! { read -r ended _ <"$ended"; } 2>/dev/null || known+="$ended "
  done
  exec {clock}<> <(:)
  for ((tries = 0; tries < 3000; tries++)); do
    # Asked again now and then: the connection before may just have been ending.
    ((tries % 50 > 0)) || kill -USR1 "$CELL_PID" 2>/dev/null || exit 255
    read -r -t 0.01 -u "$clock" _
    ! connected || return 0
    # Another one than those that were there before came, and went.
    if { read -r ended _ <run/master.ended; } 2>/dev/null && [[ $known != *" $ended "* ]]; then
      cat run/master.log >&2
      exit 255
    fi
  done
  echo "mvm: the machine \`$NAME\` lets nobody connect" >&2
  exit 255
}

connected || connect "$@"
words=(ssh -F none -S run/ssh -o LogLevel=ERROR -o SendEnv=COLORTERM -o SendEnv=NO_COLOR)
# A connection that breaks at this moment must not be replaced by one outside the cell, to who knows whom.
words+=(-o ControlMaster=no -o 'ProxyCommand=exit 255')
if [[ $TERMINAL == yes ]]; then words+=(-tt); else words+=(-T); fi
[[ $INPUT == yes ]] || exec </dev/null
words+=("mvm-$NAME" ${LINE:+-- "$LINE"})
[[ -n ${LOG:-} ]] || exec "${words[@]}"
printf '==> %(%F %T)T %s\n' -1 "$LOG" >>provision.log
# However this shell ends, ssh ends with it.
set -o pipefail
setpriv --pdeathsig TERM "${words[@]}" 2>&1 | tee -a provision.log >&2
