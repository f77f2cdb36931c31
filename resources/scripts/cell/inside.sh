# inside: root of a cell's namespaces sets up its network, shuts itself in, and becomes the VMM, whose process so holds the namespaces.
# In: SUPERVISOR, READY (a file descriptor), NAME, IMAGE, TAP, HOST_CIDR, HOST_MAC, GUEST_IP, GUEST_MAC, MTU, "$@" the VMM.
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
  # Who is in the cell speaks to the guest alone, the VMM too: what goes outside is the guest's, by the next rules.
  chain output {
    type filter hook output priority filter; policy drop;
    oifname { lo, $TAP } accept
    ct state established,related accept
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

# shut_in VMM: leaves a file system with what the VMM needs, under the paths that it has outside: programs and libraries, the image,
# of the machine's folder what it reads, and the few files that it writes. False where the host refuses that; then all is as it was.
shut_in() {
  local root=run/root here=machines/$NAME path
  local -a lines=() folders=("$root/dev/net" "$root/images/$IMAGE" "$root/etc" "$root/old") files=() links=()
  # place SOURCE TARGET OPTIONS: what is mounted where, below the new root.
  place() {
    [[ -e $1 ]] || return 0
    lines+=("${1// /\\040} $root/${2// /\\040} none bind,nosuid,$3")
    [[ -d $1 ]] && folders+=("$root/$2") || files+=("$root/$2")
  }
  for path in usr bin sbin lib lib32 lib64 libx32 nix/store; do
    if [[ -h /$path ]]; then
      links+=("$path")
    elif [[ -d /$path ]]; then
      folders+=("$root/$path")
      # With what may be mounted below.
      lines+=("/$path $root/$path none rbind,ro,nosuid,nodev")
    fi
  done
  place /etc/ld.so.cache etc/ld.so.cache ro,nodev,noexec
  # Firecracker describes the caches to the guest there.
  [[ $HOSTTYPE != aarch64 ]] || place /sys/devices/system/cpu sys/devices/system/cpu ro,nodev,noexec
  [[ $1 == /usr/* || $1 == /bin/* || $1 == /nix/store/* ]] || { place "$1" "${1#/}" ro,nodev && folders+=("$root/${1%/*}"); }
  for path in null zero random urandom kvm net/tun; do place "/dev/$path" "dev/$path" noexec; done
  place "../../images/$IMAGE" "images/$IMAGE" ro,nodev,noexec
  for path in run/initrd run/vmm.json run/qmp.in run/qmp.out frozen/memory frozen/state; do
    place "$path" "$here/$path" ro,nodev,noexec
  done
  for path in disk.img vmm.log run/out; do place "$path" "$here/$path" nodev,noexec; done
  folders+=("$root/$here/run" "$root/$here/frozen")

  mkdir -p "$root" && mount -t tmpfs -o mode=0755,nosuid,nodev,size=1m,nr_inodes=1k mvm "$root" || return 1
  mkdir -p "${folders[@]}" || return 1
  for path in "${files[@]}"; do : >"$root/${path#"$root/"}" || return 1; done
  for path in "${links[@]}"; do ln -s "$(readlink "/$path")" "$root/$path" || return 1; done
  # umount asks it what is mounted.
  ln -s old/proc "$root/proc"
  printf '%s\n' "${lines[@]}" >run/fstab
  mount --all --fstab run/fstab && mount -o remount,bind,ro,nosuid,nodev "$root" && pivot_root "$root" "$root/old" || return 1
  # Whoever runs this is in the new root already.
  umount -l /old && cd "/$here" || exit 1
}

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
exec env -i LC_ALL=C PATH=/usr/bin:/bin setpriv --no-new-privs --bounding-set -all --inh-caps -all -- "${vmm[@]}"
