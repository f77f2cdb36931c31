#!/usr/bin/env bash
# Prints what a network policy takes of a download, beside bare pasta: benches/net.sh [RUNS] [MIB]. On a host that was set up, and a quiet one.
# The rules and the resolver's configuration are those of a machine (bench-net in MVM_HOME, which is removed). Its guest would be slower than all of
# them, so a network namespace is in its place, at the cell's own tap0, and downloads from a server beyond pasta: nothing leaves this host.
#   bare   pasta, the masquerade, and the one rule without which this pasta does not work
#   open, allow, learn   the policies; that of `allow` goes by a name (bound: each at most 5 % slower than bare)
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
kinds=(bare open allow learn)

# namespace FILE COMMAND…: what COMMAND makes a network namespace for; FILE gets the PID that holds it.
namespace() {
  # shellcheck disable=SC2016 # the other shell's
  "${@:2}" bash -c 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec sleep infinity' "$1" &
  until [[ -s $1 ]]; do sleep 0.05; done
}

# in_cell KIND COMMAND…, in_guest KIND COMMAND…
in_cell() { nsenter -t "$(<"$work/$1.cell")" -U -n --preserve-credentials "${@:2}"; }
in_guest() { in_cell "$1" nsenter -t "$(<"$work/$1.guest")" -n "${@:2}"; }

# cell KIND: a cell with pasta and the rules of the policy, and what stands for its guest.
cell() {
  namespace "$work/$1.cell" unshare --user --map-root-user --net
  namespace "$work/$1.guest" in_cell "$1" unshare --net
  in_cell "$1" ip -batch - <<IP
link set lo up
addr add 169.254.1.1/32 dev lo
link add tap0 type veth peer name eth0 netns $(<"$work/$1.guest")
addr add 172.16.0.1/30 dev tap0
link set tap0 up
IP
  in_guest "$1" ip -batch - <<IP
link set lo up
addr add 172.16.0.2/30 dev eth0
link set eth0 up
route add default via 172.16.0.1
IP
  # shellcheck disable=SC2016 # the other shell's
  in_cell "$1" bash -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; exec nft -f "$0"' "$work/$1.rules"
  pasta --config-net --foreground --quiet --runas 0:0 -4 --ns-ifname eth0 --mtu 1500 --no-map-gw --dns-forward 169.254.1.2 \
    -t none -u none -T none -U none "$(<"$work/$1.cell")" &
  until in_cell "$1" ip link show eth0 >/dev/null 2>&1; do
    kill -0 $!
    sleep 0.05
  done
  if [[ -s $work/$1.resolver ]]; then
    in_cell "$1" dnsmasq --keep-in-foreground --user= --group= --pid-file= --log-facility=- --conf-file=- \
      <"$work/$1.resolver" 2>"$work/$1.names" &
    until grep -q 'using nameserver' "$work/$1.names"; do sleep 0.05; done
    # shellcheck disable=SC2016 # Perl's
    in_guest "$1" perl -MSocket -e '
      socket my $s, AF_INET, SOCK_DGRAM, 0; connect $s, pack_sockaddr_in(53, inet_aton "169.254.1.1"); alarm 10;
      send $s, pack("n6", 1, 0x100, 1, 0, 0, 0) . "\4good\7example\0\0\1\0\1", 0; recv $s, my $d, 512, 0 or die "$!"'
  fi
}

# download KIND: in `took`.
download() {
  local began
  began=$(now)
  # shellcheck disable=SC2016 # Perl's
  in_guest "$1" perl -MSocket -e '
    socket my $s, AF_INET, SOCK_STREAM, 0; connect $s, pack_sockaddr_in(80, inet_aton "203.0.113.1") or die "$!\n";
    sysread $s, my $d, 100; syswrite $s, "give $ARGV[0]\n"; my ($all, $got) = 0;
    $all += $got while $got = sysread $s, $d, 1 << 18; die "$all bytes came\n" if $all != $ARGV[0] << 20' "$mib"
  took=$(($(now) - began))
}

if [[ ${1:-} == inside ]]; then
  work=$2 runs=$3 mib=$4
  now() { printf '%s' "${EPOCHREALTIME/./}"; }
  bash testing/neighbourhood.sh "$work" 80 >"$work/ready" &
  until [[ -s $work/ready ]]; do sleep 0.05; done
  for kind in "${kinds[@]}"; do cell "$kind"; done
  # In turns, so that what disturbs one disturbs the next as well; the first one warms up.
  for ((run = 0; run <= runs; run++)); do
    for kind in "${kinds[@]}"; do
      download "$kind"
      ((run == 0)) || echo "$took" >>"$work/$kind.took"
    done
  done
  exit 0
fi

runs=${1:-5}
mib=${2:-1024}
# shellcheck source=benches/lib.sh
. benches/lib.sh
home=${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}
work=$(mktemp -d)
trap '"$mvm" destroy bench-net --yes --quiet 2>/dev/null || true; rm -rf "$work"' EXIT
"$mvm" destroy bench-net --yes --quiet 2>/dev/null || true
"$mvm" start bench-net -d --image debian --quiet
for policy in open allow=good.example:80,10.0.0.0/8 learn; do
  "$mvm" net set "$policy" bench-net --quiet
  cp "$home/machines/bench-net/run/net/rules" "$work/${policy%%=*}.rules"
  cp "$home/machines/bench-net/run/net/resolver" "$work/${policy%%=*}.resolver"
done
"$mvm" destroy bench-net --yes --quiet
cat >"$work/bare.rules" <<'NFT'
table inet mvm {
  chain forward { type filter hook forward priority filter; policy accept; ct state invalid drop; }
  chain nat { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }
}
NFT
unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc bash "$0" inside "$work" "$runs" "$mib"
echo "a download of $mib MiB (median of $runs)"
for kind in "${kinds[@]}"; do
  mapfile -t all <"$work/$kind.took"
  took=$(median "${all[@]}")
  [[ $kind != bare ]] || bare=$took
  printf '   %-8s %s, %d MiB/s, %s of bare\n' "$kind" "$(ms "$took")" $((mib * 1000000 / took)) "$(ratio "$took" "$bare")"
done
