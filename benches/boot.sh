#!/usr/bin/env bash
# Prints mvm's times beside their bounds: benches/boot.sh [RUNS]. On a host that was set up (`mvm setup`), and a quiet one.
#   1  from `mvm start -d` to the end of the first SSH command, against a bare launcher of the same VMM with the same
#      kernel, initrd and disk, which polls for the SSH banner every 10 ms and then runs the same command
#   2  the same against the image's own sshd, started by systemd
#   3  a further machine: time and disk before its first boot
#   4  `mvm status` with three machines, `mvm ls` with twenty, `mvm --version`
# Everything happens in MVM_HOME, in machines named bench-*, which are removed.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
# shellcheck source=benches/lib.sh
. benches/lib.sh
home=${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}
work=$(mktemp -d)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

forget() {
  for name in bench-boot bench-further bench-one bench-two bench-three bench-{1..17}; do
    "$mvm" destroy "$name" --yes --quiet 2>/dev/null || true
  done
}
trap 'forget; rm -rf "$work"' EXIT

# ssh_words NAME: what reaches the guest from inside its cell.
ssh_words() {
  local keys=$home/machines/$1/keys
  words=(ssh -F none -l root -i "$keys/id_ed25519" -o HostName=172.16.0.2 -o "HostKeyAlias=mvm-$1"
    -o "UserKnownHostsFile=$keys/known_hosts" -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes
    -o IdentitiesOnly=yes -o LogLevel=ERROR -o KexAlgorithms=curve25519-sha256 -T "mvm-$1" -- true)
}

# through_mvm: one start, from stopped.
through_mvm() {
  "$mvm" stop bench-boot --quiet
  local began
  began=$(now)
  "$mvm" start bench-boot -d --quiet 2>/dev/null
  "$mvm" ssh bench-boot -- true
  took=$(($(now) - began))
}

# The bare launcher's cell: a tap, and the VMM's own words with nothing around them.
cat >"$work/bare" <<'BARE'
ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add 172.16.0.1/30 dev tap0
ip link set tap0 up
exec "$@"
BARE
cat >"$work/poll" <<'POLL'
while kill -0 "$VMM"; do
  if { exec 3<>/dev/tcp/172.16.0.2/22 && read -r -t 5 banner <&3 && [[ $banner == SSH-* ]]; } 2>/dev/null; then
    exec 3>&-
    exec "$@"
  fi
  sleep 0.01
done
exit 1
POLL

# bare INITRD: one boot of the same machine by hand.
bare() {
  local began vmm
  cd "$home/machines/bench-boot"
  cp "$1" bench-initrd
  sed 's|run/|bench-|g' "$work/vmm.json" >bench-vmm.json
  mkfifo bench-qmp.in bench-qmp.out
  mkdir bench-out
  began=$(now)
  unshare --user --map-root-user --net bash "$work/bare" "${vmm_words[@]//run\//bench-}" </dev/null >/dev/null 2>&1 &
  vmm=$!
  while [[ /proc/$vmm/ns/net -ef /proc/self/ns/net ]]; do sleep 0.005; done
  VMM=$vmm nsenter -t "$vmm" -U -n --preserve-credentials bash "$work/poll" "${words[@]}"
  took=$(($(now) - began))
  kill "$vmm"
  wait "$vmm" 2>/dev/null || true
  rm -rf bench-*
  cd - >/dev/null
}

"$mvm" status | sed -n 's/^VMM */VMM: /p'
forget
"$mvm" dev bench-boot --quiet -- true
read -r vmm _ <"$home/machines/bench-boot/run/vmm"
mapfile -d '' -t vmm_words <"/proc/$vmm/cmdline"
cp "$home/machines/bench-boot/run/initrd" "$home/machines/bench-boot/run/vmm.json" "$work"
ssh_words bench-boot

echo "1  to the end of the first SSH command (median of $runs; bound 1.10)"
measure 'mvm start -d; mvm ssh -- true' through_mvm
through=$TIME
"$mvm" stop bench-boot --quiet
measure 'bare launcher' bare "$work/initrd"
printf '   ratio %s\n' "$(ratio "$through" "$TIME")"

echo "2  against the image's own sshd by systemd (bound: 3 times faster)"
if command -v cpio >/dev/null; then
  # The same init without its SSH server: systemd starts the image's.
  mkdir "$work/root"
  (cd "$work/root" && {
    # shellcheck disable=SC2016 # $ROOT is the init's
    sed -e '/^chroot .*sshd/d' -e '/^exec 9/d' -e 's/ssh.service ssh.socket sshd.service sshd.socket //' \
      -e '/^: > $ROOT\/run\/utmp/,/^exec switch_root/{/^exec switch_root/!d}' "$OLDPWD/resources/guest/init" |
      sed "s|^exec switch_root|mkdir -p \$ROOT/etc/ssh; cp /seed/host_ed25519 \$ROOT/etc/ssh/ssh_host_ed25519_key; chmod 600 \$ROOT/etc/ssh/ssh_host_ed25519_key; mkdir -p \$ROOT/root/.ssh; cp /seed/authorized_keys \$ROOT/root/.ssh/authorized_keys; exec switch_root|" >init
    chmod 755 init
    echo init | cpio -o -H newc --quiet
  }) >"$work/other.cpio"
  cat "$work/initrd" "$work/other.cpio" >"$work/initrd.systemd"
  measure "the image's own sshd" bare "$work/initrd.systemd"
  printf '   ratio %s\n' "$(ratio "$TIME" "$through")"
else
  echo '   SKIPPED: it needs the package cpio'
fi

# further: a machine's creation, between the two steps that mvm tells.
further() {
  local line began=0
  while IFS= read -r line; do
    case $line in
      '==> Creating'*) began=$(now) ;;
      '==> Starting'*)
        took=$(($(now) - began))
        read -r disk _ <<<"$(du -sk "$home/machines/bench-further")"
        ;;
    esac
  done < <("$mvm" start bench-further -d 2>&1)
  "$mvm" destroy bench-further --yes --quiet
}
echo '3  a further machine, before its first boot (bounds: 100 ms, 5 MiB)'
measure 'creation' further
printf '   disk: %d KiB\n' "$disk"

for name in bench-one bench-two bench-three; do "$mvm" start "$name" -d --quiet; done
runs=21
echo '4  (bounds: 60 ms, 100 ms, 10 ms)'
measure 'mvm status with three machines' timed "$mvm" status
"$mvm" stop bench-three --quiet
for number in {1..17}; do cp -a --sparse=always "$home/machines/bench-three" "$home/machines/bench-$number"; done
measure 'mvm ls with twenty machines' timed "$mvm" ls
measure 'mvm --version' timed "$mvm" --version
