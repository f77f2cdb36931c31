# image/debian: makes the image `debian`: base, kernel and initrd, without root. Safe to repeat, safe to kill: the image
# appears by one rename, and the next run removes what a killed one left.
# In: SUITE, MIRROR (empty: mmdebstrap's own). Out: ID.
: "${SUITE:?}" "${MIRROR=}"
arch=$(uname -m)
case $arch in
  x86_64) flavour=cloud-amd64 ;;
  aarch64) flavour=cloud-arm64 ;;
  *) die arch "there is no image for $arch" ;;
esac

# A comfortable shell, and what the guest needs to be one: init, ssh, network and disk tools.
packages=(
  systemd systemd-sysv dbus libpam-systemd openssh-server openssh-sftp-server kmod e2fsprogs iproute2 iputils-ping procps
  sudo curl wget git vim-tiny nano less bash-completion ca-certificates tzdata netbase
  xz-utils zstd bzip2 file htop rsync tmux psmisc lsof
)

work=$MVM_HOME/images/.$SUITE.partial
# mmdebstrap works as a subordinate user, who may not enter MVM_HOME.
tmp=/var/tmp/mvm-$UID

# remove DIR: what a build left may belong to subordinate users, and only their namespace may remove it.
remove() {
  rm -rf "$@" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "$@"
}

# report: mmdebstrap's words as progress.
report() {
  local line
  while IFS= read -r line; do
    case $line in
      'I: running apt-get update'*) step "Reading Debian's package lists" ;;
      'I: downloading packages'*) step "Downloading the base system ($SUITE)" ;;
      'I: extracting'*) detail 'extracting' ;;
      'I: installing essential'*) step 'Installing the base system' ;;
      'I: installing remaining'*) step 'Downloading and installing the tools' ;;
      'I: running'*customize*) detail 'kernel, initrd and settings' ;;
      'I: creating tarball'*) step 'Packing the root filesystem' ;;
    esac
    printf '%s\n' "$line" | tee -a "$work/log"
  done
}

mkdir -p "$MVM_HOME/images"
began=$EPOCHSECONDS
lock .images
for made in "$MVM_HOME"/images/*/image.json; do
  # Another mvm made it while this one waited.
  if [[ -e $made && $(<"$made") =~ \"suite\":\"$SUITE\".*\"created\":([0-9]+) ]] && ((BASH_REMATCH[1] >= began)); then
    made=${made%/image.json}
    answer ID "${made##*/}"
    exit 0
  fi
done
step "Preparing the image debian:$SUITE"
remove "$work" "$tmp"
mkdir -p "$work/out"
# Others must not have made it: the name can be guessed.
mkdir "$tmp" || die tmp "cannot make $tmp: is it another user's?"
trap 'remove "$tmp"' EXIT
# The root filesystem is for its users to read; MVM_HOME itself is closed to others.
umask 022
chmod 0755 "$tmp"

# In the new root, by mmdebstrap's hook: the kernel without dpkg (its package wants an initramfs builder), busybox, and
# the modules that the initrd loads, in order.
cat >"$tmp/hook" <<'HOOK'
set -eu
root=$1 flavour=$2
mkdir "$root/.mvm" "$root/.mvm/m"
cd "$root/.mvm"
kernel=$(apt-cache depends --important "linux-image-$flavour" | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1)
apt-get download -q "$kernel" busybox-static
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --keep-directory-symlink -C "$root" --wildcards './lib/modules/*' './boot/vmlinuz-*' 2>/dev/null ||
  dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --keep-directory-symlink -C "$root" --wildcards './usr/lib/modules/*' './boot/vmlinuz-*'
dpkg-deb --fsys-tarfile busybox-static*.deb | tar -xO --wildcards '*bin/busybox' >busybox
rm ./*.deb
version=$(ls "$root/lib/modules")
printf '%s\n' "$version" >version
mv "$root/boot/vmlinuz-$version" vmlinuz
chroot "$root" depmod "$version"
for bus in mmio pci; do
  for module in "virtio_$bus" virtio_blk virtio_net squashfs ext4 overlay; do
    chroot "$root" modprobe -S "$version" --show-depends "$module"
  done | while read -r kind path _; do
    [ "$kind" = insmod ] || continue
    name=${path##*/} name=${name%%.*}.ko
    case $path in
      *.xz) xz -dc "$root$path" >"m/$name" ;;
      *.zst) zstd -qdc "$root$path" >"m/$name" ;;
      *) cp "$root$path" "m/$name" ;;
    esac
    printf '%s\n' "$name"
  done | awk '!seen[$0]++' >"m/$bus"
done
HOOK

# What every machine made from it shares.
cat >"$tmp/settings" <<'SETTINGS'
set -eu
root=$1
rm -rf "$root/.mvm"
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
: >"$root/etc/motd"
# They would wake a machine that nobody uses.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
SETTINGS

options=(
  --variant=minbase --components=main --architectures="$(dpkg --print-architecture)"
  --include="$(IFS=,; echo "${packages[*]}" | tr -s ,)"
  --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"'
  --dpkgopt=force-unsafe-io
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright'
  --dpkgopt='path-exclude=/usr/share/info/*'
  --customize-hook="sh $tmp/hook \"\$1\" $flavour"
  --customize-hook="tar-out /.mvm $work/out.tar"
  --customize-hook="sh $tmp/settings \"\$1\""
  --format=tar
)
[[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || options+=(--keyring=/usr/share/keyrings/debian-archive-keyring.gpg)
# When it fails mmdebstrap ends its process group: it gets one of its own, and dies with this script.
alone=(setsid --wait setpriv --pdeathsig KILL)
build=("${alone[@]}" mmdebstrap --mode=unshare)
# As root, with a mount namespace of its own: a killed build leaves no mounts.
[[ $UID != 0 ]] || build=("${alone[@]}" unshare --mount --propagation private --pid --fork --kill-child --mount-proc mmdebstrap --mode=root)
# Not sqfstar: 4.5's refuses every compression level.
squash=(mksquashfs - "$work/base" -tar -quiet -no-progress -noappend -root-mode 0755 -comp zstd -Xcompression-level 3)
: >"$work/log"
if ! TMPDIR=$tmp "${build[@]}" "${options[@]}" "$SUITE" - ${MIRROR:+"$MIRROR"} 2> >(report >&2) | "${squash[@]}" >>"$work/log"; then
  sleep 0.2
  reason=$(grep -E '^(E|Err|W): |No space left|Could not' "$work/log" | tail -n 4 | tr -s '\n ' ' ') || reason=
  [[ $reason != *'No space left'* ]] || die no-space "the disk is full: $reason"
  case $reason in
    *'Failed to fetch'* | *'Could not'* | *'Temporary failure'*) die download "cannot download Debian's packages: $reason" ;;
    *) die build "mmdebstrap failed: ${reason:-see $work/log}" ;;
  esac
fi
tar -xf "$work/out.tar" -C "$work/out" --strip-components=2 ./.mvm 2>/dev/null ||
  tar -xf "$work/out.tar" -C "$work/out"
out=$work/out
[[ -e $out/vmlinuz ]] || out=$work/out/.mvm
detail 'the kernel'
version=$(<"$out/version")

# number FILE OFFSET BYTES: a little-endian number.
number() { od -An -j "$2" -N "$3" -t "u$3" "$1" | tr -d ' '; }

# unpack_kernel FILE: an x86 bzImage holds a compressed ELF file, which both VMMs start without unpacking it in the guest;
# the boot header tells where (Documentation/arch/x86/boot.rst). On aarch64 the Image is what they take.
unpack_kernel() {
  local start length magic
  if [[ $arch == aarch64 ]]; then
    gzip -dc <"$1" 2>/dev/null || cat "$1"
    return
  fi
  start=$((($(number "$1" 497 1) + 1) * 512 + $(number "$1" 584 4)))
  length=$(number "$1" 588 4)
  magic=$(od -An -j "$start" -N 4 -t x1 "$1" | tr -d ' ')
  case $magic in
    fd377a58) tail -c "+$((start + 1))" "$1" | head -c "$length" | xz -dc --single-stream 2>/dev/null || true ;;
    28b52ffd) tail -c "+$((start + 1))" "$1" | head -c "$length" | zstd -qdc 2>/dev/null || true ;;
    02214c18) tail -c "+$((start + 1))" "$1" | head -c "$length" | lz4 -dc 2>/dev/null || true ;;
    1f8b*) tail -c "+$((start + 1))" "$1" | head -c "$length" | gzip -dc 2>/dev/null || true ;;
    *) die kernel "the kernel $version is compressed in a way mvm does not know ($magic)" ;;
  esac
}
unpack_kernel "$out/vmlinuz" >"$work/kernel"
[[ $arch != x86_64 || $(od -An -N 4 -t x1 "$work/kernel") == ' 7f 45 4c 46' ]] ||
  die kernel "the kernel $version could not be unpacked"

detail 'the initrd'
mkdir -p "$work/root/bin"
mv "$out/m" "$work/root/m"
mv "$out/busybox" "$work/root/bin/busybox"
chmod 0755 "$work/root/bin/busybox"
ln -s busybox "$work/root/bin/sh"
(cd "$work/root" && find . | sort | ./bin/busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$work/initrd"
remove "$work/root" "$work/out" "$work/out.tar" "$work/log"

# entry FILE: its part of image.json.
entry() {
  local digest
  read -r digest _ < <(sha256sum "$work/$1")
  printf '"%s":{"bytes":%s,"sha256":"%s"}' "$1" "$(stat -c %s "$work/$1")" "$digest"
}
files=$(entry kernel),$(entry base),$(entry initrd)
read -r id _ < <(sha256sum <<<"$files")
id=${id:0:12}
printf '{"version":1,"id":"%s","name":"debian","suite":"%s","arch":"%s","created":%s,"kernel_version":"%s",%s}\n' \
  "$id" "$SUITE" "$arch" "$EPOCHSECONDS" "$version" "$files" >"$work/image.json"
chmod 0400 "$work"/{kernel,base,initrd,image.json}
sync -f "$work"
# The same image with a damaged file gives way.
rm -rf "${MVM_HOME:?}/images/$id"
mv -T "$work" "$MVM_HOME/images/$id"
answer ID "$id"
