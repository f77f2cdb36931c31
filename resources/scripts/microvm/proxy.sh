# proxy: connects the standard streams with the guest's SSH port. It has no prelude, since standard output is the guest's.
# Where there is no guest to connect to it ends with 255, and mvm then looks what is the matter.
# In: NAME, RELAY (relay.sh).
set -u
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}/machines/${NAME:?}" 2>/dev/null || exit 255
use_machine
# A suspended machine is resumed by mvm, and then entered.
[[ ! -e frozen/meta ]] || cell_alive . || exit 252
cell_alive . && cell_vmm . && sshd_was_up . || exit 255
exec nsenter -t "$VMM_PID" -U -n --preserve-credentials bash -c "$GUEST_CONNECTS || exit 255; $RELAY" mvm-proxy "$VMM_PID"
