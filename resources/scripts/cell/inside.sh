# inside: root of a cell's namespaces sets up its network, shuts itself in, and becomes the VMM, whose process so holds the namespaces.
# In: SUPERVISOR, READY (a file descriptor), NAME, IMAGE, TAP, HOST_CIDR, HOST_MAC, GUEST_IP, GUEST_MAC, DNS, MTU, run/net/rules (what
#     passes: nft's), "$@" the VMM.
set -eu
# fields FILE: of a process, from its state on. The host's own /proc is still there, and counts as the host does.
fields() { IFS= read -r stat <"$1" && read -r -a FIELDS <<<"${stat##*) }"; }
fields /proc/self/stat
parent=${FIELDS[1]}
echo "${stat%% *}" >&"$READY"
exec {READY}>&-
# The supervisor died before its child could be told to die with it.
fields "/proc/$parent/stat" && [[ ${FIELDS[1]} == "$SUPERVISOR" ]] || exit 1

# A tap that nobody else has, since the namespace is new. The guest's address is known: no ARP. Its own is always the same,
# since a guest that is resumed remembers it.
ip -batch - <<IP
link set lo up
addr add $DNS/32 dev lo
tuntap add dev $TAP mode tap
addr add $HOST_CIDR dev $TAP
link set $TAP address $HOST_MAC mtu $MTU up
neigh replace $GUEST_IP lladdr $GUEST_MAC dev $TAP nud permanent
IP
# What is refused is told each time.
echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
# Until the rules are there nothing passes.
nft -f run/net/rules || {
  echo "mvm: this host does not take the rules of the network policy: nftables 1.0 and Linux 5.10 are needed, here are $(nft --version) and Linux $(</proc/sys/kernel/osrelease)"
  exit 1
}
echo 1 >/proc/sys/net/ipv4/ip_forward

# shut_in VMM: leaves a file system with what the VMM needs: programs and libraries, the image, of the machine's folder what it
# reads, and the few files that it writes. False where the host refuses that; then all is as it was.
shut_in() {
  local here=machines/$NAME path places=''
  # Firecracker describes the caches to the guest there.
  [[ $HOSTTYPE != aarch64 ]] || place ro,nodev,noexec /sys/devices/system/cpu
  [[ $1 == /usr/* || $1 == /bin/* || $1 == /nix/store/* ]] || place ro,nodev "$1"
  for path in kvm net/tun; do place noexec "/dev/$path"; done
  place ro,nodev,noexec "../../images/$IMAGE" "images/$IMAGE"
  for path in run/initrd run/vmm.json run/qmp.in run/qmp.out frozen/memory frozen/state; do
    place ro,nodev,noexec "$path" "$here/$path"
  done
  for path in disk.img vmm.log run/out; do place nodev,noexec "$path" "$here/$path"; done
  HOSTTYPE=$HOSTTYPE perl run/shut.pl run/root <<<"${places%$'\n'}" || {
    (($? == 1)) && return 1
    exit 1
  }
  cd "/$here"
}

# place OPTIONS SOURCE [TARGET]: what is mounted where, below the new root.
place() { printf -v places '%s%s\t%s\t%s\n' "$places" "$1" "$2" "${3:-${2#/}}"; }

# The guest's console: what the VMM writes and reads. The pipe is open for both here, so that it has no end when those leave who
# write to it (console.sh).
exec 8<>run/console 9>>console.log

# Nobody in here makes a user namespace, and with it capabilities, any more.
echo 0 >/proc/sys/user/max_user_namespaces || echo 'mvm: this host lets the VMM make user namespaces'
vmm=("$@")
if [[ ${1##*/} == qemu-system-* && " $* " != *' -sandbox '* ]] && grep -q -a -F libseccomp.so "$1"; then
  # It starts programs where a memory is written and read (`exec:`).
  vmm+=(-sandbox 'on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny')
fi
IFS=. read -r kernel minor _ </proc/sys/kernel/osrelease
kernel=$((kernel * 100 + ${minor%%[!0-9]*}))
shut_in "$1" || {
  TZ=UTC0 printf -v time '%(%FT%TZ)T' -1
  text='not shut in: the host refuses the mounts for it, so the VMM sees the files that its user sees'
  echo "mvm: $text"
  echo "$time $text" >>events.log
}
# Of its processes the kernel counts those in here only, from 5.14 on.
ulimit -c 0
ulimit -n 2048 || true
[[ $kernel -lt 514 ]] || ulimit -u 1024 || true
ulimit -v $((MEMORY_MIB * 1024 + 8 * 1024 * 1024)) || true
exec <&8 >&9 8<&- 9>&-
exec -c setpriv --no-new-privs --bounding-set -all --inh-caps -all -- "${vmm[@]}"
