# What every script begins with: strict mode, the answer channel, and the words a script speaks to mvm with.
set -Eeuo pipefail
umask 077
export LC_ALL=C
# An ordinary user's PATH has no sbin, where mke2fs, nft and others are.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Answers have stdout to themselves; what tools print by the way becomes log.
exec 3>&1 1>&2
# A login shell may have printed before us: answers count from this mark on.
printf '::mvm::\n' >&3
# answer KEY VALUE: one fact for mvm; VALUE is a single line.
answer() { printf '%s=%s\n' "$1" "${2//$'\n'/ }" >&3; }
# step TEXT: what begins now, shown to the user. detail TEXT: how far it is.
step() { printf '::step::%s\n' "$1" >&2; }
detail() { printf '::detail::%s\n' "$1" >&2; }
# die KIND MESSAGE: a known failure; mvm knows KIND and adds what to do next.
die() {
  answer DIED "$1 $2"
  exit 64
}
# checkpoint NAME: between two steps. Nothing happens here, but a test may have the script wait (src/checkpoint.rs).
checkpoint() {
  [[ ${MVM_CHECKPOINT-} == "$1="* ]] || return 0
  local file=${MVM_CHECKPOINT#*=}
  [[ -e $file.passed ]] || { echo "$BASHPID" >"$file.$BASHPID" && mv "$file.$BASHPID" "$file"; }
  # Not `read -t`, which goes by the clock, and a test may set that back just here.
  until [[ -e $file.passed ]]; do sleep 0.01; done
}
trap 'answer FAILED "line $LINENO: $BASH_COMMAND"' ERR
: "${MVM_HOME:=${XDG_DATA_HOME:-$HOME/.local/share}/mvm}"
