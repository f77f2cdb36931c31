#!/usr/bin/env bash
# Prints what shutting in the VMM adds to a machine's start: benches/confine.sh [RUNS]. In turns, a cell is made, by mvm's own script, for a VMM that
# ends at once, and the same without what shuts it in (bound: 20 ms). On Linux, where users may make namespaces; on a quiet host.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-21}
# None is needed.
export MVM=none
. benches/lib.sh
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts=$PWD/resources/scripts/cell
mkdir -p "$work/images/image" "$work/machines/bench/run/"{net,out}
cd "$work/machines/bench"
: >disk.img
: >vmm.log
: >run/initrd
: >run/vmm.json
echo 'table inet mvm {}' >run/net/rules
mkfifo run/console run/qmp.in run/qmp.out
cp "$scripts/inside.sh" "$scripts/shut.pl" run/
# The same network, console and limits; no file system of its own, no rights taken, no limit to namespaces.
# shellcheck disable=SC2016 # the script's own
sed -e 's/^shut_in "\$1" || {/true || {/' -e '/max_user_namespaces/d' -e 's/^exec -c setpriv .* -- /exec /' run/inside.sh >run/open.sh
if grep -q -E '^shut_in "|setpriv' run/open.sh; then
  echo 'benches/confine.sh does not know inside.sh any more' >&2
  exit 1
fi
export NAME=bench IMAGE=image TAP=tap0 HOST_CIDR=172.16.0.1/30 HOST_MAC=06:00:ac:10:00:01 GUEST_IP=172.16.0.2 \
  GUEST_MAC=06:00:ac:10:00:02 DNS=169.254.1.1 MTU=1500 MEMORY_MIB=512
exec {READY}<> <(:)
export READY

# cell SCRIPT NAMESPACES…
cell() {
  SUPERVISOR=$BASHPID unshare --user --map-root-user --net "${@:2}" --fork --kill-child -- bash "run/$1" /usr/bin/true
}
shut() { cell inside.sh --ipc --uts --mount --pid; }
open() { cell open.sh; }

shut && open
declare -A all=()
took=0
for ((run = 0; run < runs; run++)); do
  for kind in open shut; do
    timed "$kind"
    all[$kind]+=" $took"
  done
done
# shellcheck disable=SC2086 # a list
open=$(median ${all[open]}) shut=$(median ${all[shut]})
printf '%s runs of each\n   %-58s %s\n   %-58s %s\n   %-58s %s (bound 20 ms)\n' "$runs" 'a cell for a VMM that ends at once' "$(ms "$open")" \
  'the same, with the VMM shut in' "$(ms "$shut")" 'shutting it in takes' "$(ms $((shut - open)))"
