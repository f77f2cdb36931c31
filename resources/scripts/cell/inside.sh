# inside: root of a cell's namespaces sets up its network, then becomes the VMM, whose process so holds the namespaces.
# In: SUPERVISOR, READY (a file descriptor), TAP, HOST_CIDR, HOST_MAC, GUEST_IP, GUEST_MAC, MTU, HALT_WATCH, "$@" the VMM.
set -eu
echo ready >&"$READY"
exec {READY}>&-
# The supervisor died before this process could be told to die with it.
[[ $PPID == "$SUPERVISOR" ]] || exit 1

# A tap that nobody else has, since the namespace is new. The guest's address is known: no ARP. Its own is always the same,
# since a guest that is resumed remembers it.
ip -batch - <<IP
link set lo up
tuntap add dev $TAP mode tap
addr add $HOST_CIDR dev $TAP
link set $TAP address $HOST_MAC mtu $MTU up
neigh replace $GUEST_IP lladdr $GUEST_MAC dev $TAP nud permanent
IP
echo 1 >/proc/sys/net/ipv4/ip_forward

# The guest reaches what lies outside, under its own address only, and nothing in the cell but a ping. This pasta sends
# segments that conntrack takes for invalid; let through, the cell's own stack would reset the guest's connections.
nft -f - <<NFT
table inet mvm {
  chain input {
    type filter hook input priority filter; policy drop;
    iifname lo accept
    ct state established,related accept
    iifname $TAP icmp type echo-request accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    iifname eth0 oifname $TAP ct state established,related accept
    iifname $TAP oifname eth0 ip saddr $GUEST_IP accept
  }
  chain nat {
    type nat hook postrouting priority srcnat;
    oifname eth0 ip saddr $GUEST_IP masquerade
  }
}
NFT

# The guest's console: what the VMM writes and reads. The pipe is open for both here, so that it has no end when those leave who
# write to it (console.sh).
exec <>run/console >>console.log
exec "$@"
