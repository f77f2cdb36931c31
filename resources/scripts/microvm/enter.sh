# enter: runs a line in a machine's guest, over the one connection kept for it, on the standard streams as they are.
# It has no prelude, since standard output is the guest's. Its ways are few: what fails here ends with 255, as ssh's own
# failures do, and mvm then looks what is the matter.
# In: NAME, LINE (for the guest's shell; empty for none), INPUT (yes|no), TERMINAL (yes|no), USE (yes|no: whether somebody uses the machine so), LOG (a title: all output goes to
#     standard error, and under it to the machine's provision.log), "$@" the command line that opens the connection, its paths
#     seen from the machine's folder.
set -u
umask 077
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}/machines/${NAME:?}" 2>/dev/null || exit 255

[[ ${USE:-yes} == no ]] || use_machine
# A suspended machine is resumed by mvm, and then entered.
[[ ! -e frozen/meta ]] || cell_alive . || exit 252
master_connects "$@" || exit 255
words=("${SHARED_CONNECTION[@]}" -o SendEnv=COLORTERM -o SendEnv=NO_COLOR)
if [[ $TERMINAL == yes ]]; then words+=(-tt); else words+=(-T); fi
[[ $INPUT == yes ]] || exec </dev/null
words+=("mvm-$NAME" ${LINE:+-- "$LINE"})
[[ -n ${LOG:-} ]] || exec "${words[@]}"
printf '==> %(%F %T)T %s\n' -1 "$LOG" >>provision.log
# However this shell ends, ssh ends with it.
set -o pipefail
setpriv --pdeathsig TERM "${words[@]}" 2>&1 | tee -a provision.log >&2
