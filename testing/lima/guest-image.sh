#!/usr/bin/env bash
# Makes what Lima boots in the tests: OUT/disk.qcow2, OUT/kernel, OUT/initrd. A Debian guest that has all that mvm installs
# on a Linux side, so that no apt run happens under emulation. Needs root and a Debian mirror. Safe to repeat.
# In: OUT; GUEST_USER, GUEST_UID: who Lima will make in the guest; MICROVM_IMAGES: the folder of mvm's own images, which that
# user finds there; DISK: the disk's size, so that nothing has to be grown at the first boot. SUITE, MIRROR: Debian's.
set -Eeuo pipefail
: "${OUT:?}" "${GUEST_USER:?}" "${GUEST_UID:?}" "${MICROVM_IMAGES:?}" "${DISK:?}" "${SUITE:=bookworm}" "${MIRROR=}"

# What Lima needs of a guest (without its guest agent), then what mvm needs of a Linux side.
packages=systemd,systemd-sysv,udev,dbus,dbus-user-session,libpam-systemd,linux-image-cloud-amd64,openssh-server
packages+=,sudo,kmod,e2fsprogs,procps,ca-certificates,netbase,busybox-static
packages+=,iproute2,nftables,passt,openssh-client,mmdebstrap,squashfs-tools,uidmap,xz-utils,lz4,zstd
packages+=,qemu-system-x86,debian-archive-keyring

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$OUT"
work=$(mktemp -d "$OUT/.partial.XXXXXX")
root=$work/root
trap 'rm -rf "$work"' EXIT

# Beside the kernel's package, no initramfs: the one below is a tenth of its size.
hook_setup() {
  mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
  printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' \
    'path-exclude=/usr/share/doc/*' >"$root/etc/dpkg/dpkg.cfg.d/guest"
}

# A boot takes a quarter of its time without cloud-init, which Lima does not need either (as in its images of Alpine).
configure() {
  local unit
  printf '/dev/vda / ext4 noatime 0 0\n' >"$root/etc/fstab"
  # QEMU's resolver, as Lima has it.
  rm -f "$root/etc/resolv.conf"
  printf 'nameserver 192.168.5.3\n' >"$root/etc/resolv.conf"
  printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
  printf 'UseDNS no\n' >"$root/etc/ssh/sshd_config.d/guest.conf"
  printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n[DHCPv4]\nUseDNS=no\n' \
    >"$root/etc/systemd/network/eth0.network"
  : >"$root/etc/machine-id"
  rm -f "$root"/etc/ssh/ssh_host_*
  install -m 0755 "$here/guest-init" "$root/usr/local/sbin/lima-init"
  install -m 0644 "$here"/lima-{init,boot}.service "$root/etc/systemd/system/"
  chroot "$root" systemctl -q enable systemd-networkd lima-init lima-boot
  for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-networkd-wait-online.service systemd-pstore.service systemd-binfmt.service getty@tty1.service \
    serial-getty@ttyS0.service dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
  # systemd has nothing to bring up to date at the first boot.
  touch "$root/etc/.updated" "$root/var/.updated"
}

# The images that this host made, where the guest's user will look for its own.
seed() {
  local home=$root/home/$GUEST_USER.guest
  local images=$home/.local/share/mvm/images
  install -d -m 0700 "$home/.local/share/mvm" "$images"
  cp -a "$MICROVM_IMAGES"/. "$images/"
  chown -R "$GUEST_UID:$GUEST_UID" "$home"
}

# The modules to reach the disk, and an init that mounts it.
make_initrd() {
  local dir=$work/initrd.d version count=10 kind path
  version=$(ls "$root/lib/modules")
  mkdir -p "$dir"/{bin,m,proc,sys,dev,newroot}
  cp "$root/bin/busybox" "$dir/bin/"
  ln -s busybox "$dir/bin/sh"
  while read -r kind path _; do
    [[ $kind == insmod ]] || continue
    cp "$root$path" "$dir/m/$count-${path##*/}"
    count=$((count + 1))
  done < <(chroot "$root" modprobe -S "$version" -a --show-depends virtio_pci virtio_blk ext4 | awk '!seen[$0]++')
  cat >"$dir/init" <<'INIT'
#!/bin/sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
for module in /m/*; do busybox insmod "$module"; done
until [ -b /dev/vda ]; do busybox usleep 20000; done
busybox mount -t ext4 -o noatime /dev/vda /newroot || exec sh
busybox mount --move /dev /newroot/dev
exec busybox switch_root /newroot /sbin/init
INIT
  chmod 0755 "$dir/init"
  (cd "$dir" && find . | sort | ./bin/busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$work/initrd"
  cp "$root/boot/vmlinuz-$version" "$work/kernel"
}

export root
hook=$(declare -f hook_setup)
export hook
# shellcheck disable=SC2016 # for the shell that mmdebstrap starts
INITRD=No mmdebstrap --mode=root --variant=minbase --components=main --include="$packages" \
  --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --skip=essential/unlink \
  --setup-hook='bash -c "$hook; hook_setup"' "$SUITE" "$root" ${MIRROR:+"$MIRROR"}
configure
seed
make_initrd
truncate -s "$DISK" "$work/disk"
mke2fs -q -t ext4 -m 1 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$work/disk"
qemu-img convert -f raw -O qcow2 "$work/disk" "$work/disk.qcow2"
mv "$work"/{disk.qcow2,kernel,initrd} "$OUT/"
chmod a+r "$OUT"/{disk.qcow2,kernel,initrd}
