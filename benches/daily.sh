#!/usr/bin/env bash
# Prints what mvm's everyday commands take, beside what OpenSSH's own clients take for the same: benches/daily.sh [RUNS] [MIB].
#   1  a second `mvm exec` against `ssh` through a ControlMaster opened by hand (bound: 1.3 times, or 30 ms more)
#   2  `mvm cp` of a file of MIB mebibytes, both ways, against `scp` over that connection (bound: 1.1 times)
# On a host that was set up, and a quiet one. It makes the machine bench-daily in MVM_HOME, and removes it.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
mib=${2:-1024}
# shellcheck source=benches/lib.sh
. benches/lib.sh
work=$(mktemp -d)
machine=bench-daily
ssh=(-F "$work/config" -o "ControlPath=$work/master" -o LogLevel=ERROR)

cleanup() {
  ssh "${ssh[@]}" -O exit "mvm-$machine" 2>/dev/null || true
  "$mvm" destroy "$machine" --yes --quiet 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
"$mvm" destroy "$machine" --yes --quiet 2>/dev/null || true
"$mvm" dev "$machine" --quiet --disk 20G -- 'until systemctl is-system-running --wait 2>/dev/null | grep -q .; do sleep 1; done'
"$mvm" ssh-config "$machine" >"$work/config"
ssh "${ssh[@]}" -M -N -f "mvm-$machine"
"$mvm" exec "$machine" -- true

echo "1  a command that does nothing (median of $runs; bound 1.3, or 30 ms more)"
measure 'ssh, by an open ControlMaster' timed ssh "${ssh[@]}" "mvm-$machine" true
by_hand=$TIME
measure 'mvm exec' timed "$mvm" exec "$machine" -- true
printf '   ratio %s, %s more\n' "$(ratio "$TIME" "$by_hand")" "$(ms $((TIME > by_hand ? TIME - by_hand : 0)))"

head -c "${mib}M" /dev/urandom >"$work/file"
runs=$((runs < 3 ? runs : 3))
echo "2  a file of $mib MiB (median of $runs; bound 1.1)"
for way in in out; do
  here=$work/file there=$machine:/root/file
  if [[ $way == in ]]; then from=$here to=$there; else from=$there to=$here.back; fi
  measure "scp, $way" timed scp -q "${ssh[@]}" "${from/#$machine:/mvm-$machine:}" "${to/#$machine:/mvm-$machine:}"
  by_hand=$TIME
  measure "mvm cp, $way" timed "$mvm" cp --quiet "$from" "$to"
  printf '   ratio %s\n' "$(ratio "$TIME" "$by_hand")"
done
