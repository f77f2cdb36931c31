# image/debian: makes the image `debian`: base, kernel and initrd, without root. Safe to repeat, safe to kill: the image
# appears by one rename, and the next run removes what a killed one left and takes up the packages it had downloaded.
# In: SUITE, MIRROR (empty: Debian's own), RECIPE (its number, for image.json), VERSION (of image.json). Out: ID, IMAGE (its image.json).
: "${SUITE:?}" "${MIRROR=}" "${RECIPE:?}" "${VERSION:?}"
arch=$(uname -m)
case $arch in
  x86_64) flavour=cloud-amd64 ;;
  aarch64) flavour=cloud-arm64 ;;
  *) die arch "there is no image for $arch" ;;
esac

# A comfortable shell, and what the guest needs to be one: init, ssh, network and disk tools.
packages=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,openssh-sftp-server,kmod,e2fsprogs,iproute2
packages+=,iputils-ping,procps,sudo,curl,wget,git,vim-tiny,nano,less,bash-completion,ca-certificates,tzdata,netbase
packages+=,xz-utils,zstd,bzip2,file,htop,rsync,tmux,psmisc,lsof,sshfs,python3
# Without it ping is root's only there.
[[ $SUITE == bookworm ]] || packages+=,linux-sysctl-defaults

images=$MVM_HOME/images
work=$images/.$SUITE.partial
space=$work/space
root=$space/root
# Packages stay here until the image is there.
cache=$MVM_HOME/downloads/debian-$SUITE
# MiB for a tree in memory, with room to spare. There it takes half the time, and is gone with its namespace.
memory_needed=1024

# namespaces COMMAND…: becomes that command, as a root of its own, who may make files of any user. Its end, or this
# script's, ends all its processes and mounts.
namespaces() {
  local user=()
  [[ $UID == 0 ]] || user=(--user --map-auto --map-root-user)
  exec setpriv --pdeathsig KILL unshare "${user[@]}" --mount --propagation private --pid --fork --kill-child -- "$@"
}

# remove PATH…: what a build left may belong to other users, and only a namespace that has them may remove it.
remove() {
  rm -rf "$@" 2>/dev/null || (namespaces rm -rf "$@")
}

# report: mmdebstrap's words as progress.
report() {
  local line
  while IFS= read -r line; do
    case $line in
      'I: running apt-get update'*) step "Reading Debian's package lists" ;;
      'I: downloading packages'*) step "Downloading packages ($SUITE)" ;;
      'I: extracting'*) step 'Installing the base system' ;;
      'I: installing remaining'*) step 'Downloading and installing the tools' ;;
      # apt's own user may not enter MVM_HOME.
      'W: Download is performed unsandboxed'*) continue ;;
    esac
    [[ $line == ::* ]] || printf '%s\n' "$line" >>"$work/log"
    printf '%s\n' "$line"
  done
}

# watch_progress: how far apt and dpkg are, once a second.
watch_progress() {
  local log=$root/var/log/dpkg.log said='' now debs
  while sleep 1; do
    if compgen -G "$cache/partial/*.deb" >/dev/null; then
      now="$(du -sm "$cache" | cut -f 1) MB"
    elif [[ -e $log ]]; then
      debs=("$cache"/*.deb)
      now="$(awk '$4 == "installed" && !seen[$5]++ { n++ } END { print n + 0 }' "$log") of ${#debs[@]} packages"
    else
      continue
    fi
    [[ $now == "$said" ]] || detail "$now"
    said=$now
  done
}

# In the namespaces: the tree, and from it the image's files.
build() {
  local skip=download/empty,essential/unlink,chroot/mount/sys watcher available options early
  # Some containers forbid it: then theirs serves.
  mount -t proc proc /proc 2>/dev/null || true
  # The tree is for its users to read.
  umask 022
  mkdir -p "$space" "$cache/kernel"
  available=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
  if ((available > 2 * memory_needed)); then
    mount -t tmpfs -o "mode=0755,size=${memory_needed}m" mvm "$space"
  fi
  mkdir "$root" "$space/kernel"
  watch_progress &
  watcher=$!
  # shellcheck disable=SC2016 # for the shells that mmdebstrap starts
  options=(
    --mode=root --format=directory --variant=minbase --components=main --architectures="$(dpkg --print-architecture)"
    --include="$packages"
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"'
    --skip="$skip"
    --setup-hook='bash -c "$FUNCTIONS; hook_setup"'
    --extract-hook='bash -c "$FUNCTIONS; hook_kernel" >"$work/kernel.log" 2>&1 &'
    --customize-hook='bash -c "$FUNCTIONS; hook_finish"'
  )
  [[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]] ||
    options+=(--keyring=/usr/share/keyrings/debian-archive-keyring.gpg)
  # mmdebstrap that fails ends its process group: it gets one of its own.
  setsid --wait mmdebstrap "${options[@]}" "$SUITE" "$root" ${MIRROR:+"$MIRROR"}
  kill "$watcher"
  step 'Compressing the image'
  mv "$space/kernel/"{vmlinux,initrd,version} "$work/"
  early=$(first_read)
  # The fastest of what is small: other formats, levels and block sizes boot no faster.
  mksquashfs "$root" "$work/base" -quiet -no-progress -noappend -comp zstd -Xcompression-level 3 \
    -action "uncompressed@pathname(${early//$'\n'/)||pathname(})" -wildcards -e 'dev/*' 'proc/*' 'sys/*' 'run/*' 'tmp/*'
}

# first_read: what each start reads until its first command has run, in the tree: the SSH server, the shell and their libraries. To
# unpack them would be two thirds of that server's start; as they are, they make the base a twelfth larger.
first_read() {
  # shellcheck disable=SC2016 # for the tree's shell
  chroot "$root" sh -c 'for program; do
      [ ! -e "$program" ] || { echo "$program"; ldd "$program" | grep -o "/[^ ]*"; }
    done | sort -u | xargs readlink -f | sort -u' \
    sh /usr/sbin/sshd /usr/lib/openssh/sshd-session /usr/lib/openssh/sshd-auth /usr/bin/bash | cut -c 2-
}

# unsign MODULE: without the signature, whose check took most of the time that a module's loading took. apt has checked where it comes
# from, and the kernel does not insist.
unsign() {
  local length
  [[ $(tail -c 28 "$1" | tr -d '\0') == '~Module signature appended~' ]] || return 0
  # Before that text: 12 bytes about the signature, the last 4 of them its length (include/linux/module_signature.h).
  length=$(tail -c 32 "$1" | od -A n -t u4 -N 4 --endian=big)
  truncate -s "-$((length + 12 + 28))" "$1"
}

# Before apt begins.
hook_setup() {
  mkdir -p "$root/var/cache/apt/archives" "$root/etc/dpkg/dpkg.cfg.d"
  mount --bind "$cache" "$root/var/cache/apt/archives"
  # Not by mmdebstrap's own option, which filters each package through a slow program.
  printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' \
    'path-exclude=/usr/share/info/*' 'path-exclude=/usr/share/doc/*' 'path-include=/usr/share/doc/*/copyright' \
    >"$root/etc/dpkg/dpkg.cfg.d/mvm"
}

# number FILE OFFSET BYTES: a little-endian number.
number() { od -An -j "$2" -N "$3" -t "u$3" "$1" | tr -d ' '; }

# unpack_kernel FILE: the kernel as VMMs start it. An x86 bzImage holds a compressed ELF file and then its size: the boot
# header tells where (Documentation/arch/x86/boot.rst). On aarch64 Debian's is the Image that they take.
unpack_kernel() {
  local start bytes tool
  if [[ $arch == aarch64 ]]; then
    cp "$1" vmlinux
    [[ $(od -An -j 56 -N 4 -t x1 vmlinux) == ' 41 52 4d 64' ]]
    return
  fi
  start=$((($(number "$1" 497 1) + 1) * 512 + $(number "$1" 584 4)))
  bytes=$(($(number "$1" 588 4) - 4))
  case $(od -An -j "$start" -N 4 -t x1 "$1") in
    ' fd 37 7a 58') tool=xz ;;
    ' 28 b5 2f fd') tool=zstd ;;
    ' 02 21 4c 18') tool=lz4 ;;
    *) return 1 ;;
  esac
  head -c $((start + bytes)) "$1" | tail -c "$bytes" | "$tool" -dc >vmlinux
  [[ $(od -An -N 4 -t x1 vmlinux) == ' 7f 45 4c 46' ]]
  [[ $(stat -c %s vmlinux) == "$(number "$1" $((start + bytes)) 4)" ]]
  # A quarter of what its program headers have a VMM read are zeroes at a segment's end: left out, as the memory has them anyway.
  # shellcheck disable=SC2016 # Perl's
  perl -0777 -i -pe 'my ($headers, $length, $count) = unpack "x32 Q< x14 v2", $_;
    for my $at (map { $headers + $length * $_ } 0 .. $count - 1) {
      my ($type, $from, $bytes) = unpack "L< x4 Q< x16 Q<", substr $_, $at, $length;
      next unless $type == 1;
      $bytes -= 4096 while $bytes > 4096 && substr($_, $from + $bytes - 4096, 4096) !~ /[^\0]/;
      substr $_, $at + 32, 8, pack "Q<", $bytes;
    }' vmlinux
}

# Beside dpkg, which uses one processor: the kernel without its package's scripts, which want an initramfs builder.
hook_kernel() {
  export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
  local package
  trap 'touch "$space/kernel/over"' EXIT
  cd "$cache/kernel"
  package=$(apt-cache depends --important "linux-image-$flavour" |
    sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1)
  apt-get download -q "$package" busybox-static
  cd "$space/kernel"
  dpkg-deb --fsys-tarfile "$cache/kernel/$package"_*.deb |
    tar -x --transform='s,^\./lib/,./usr/lib/,' --wildcards '*/lib/modules/*' '*/vmlinuz-*'
  dpkg-deb --fsys-tarfile "$cache/kernel"/busybox-static_*.deb | tar -xO --wildcards '*bin/busybox' >busybox
  trap 'echo "E: the kernel $package could not be unpacked" >&2' ERR
  unpack_kernel boot/vmlinuz-*
  touch good
}

# What every machine made from it shares, and the initrd.
hook_finish() {
  local version unit bus kind path name
  umount "$root/var/cache/apt/archives"
  cd "$space/kernel"
  until [[ -e over ]]; do sleep 0.05; done
  cat "$work/kernel.log"
  [[ -e good ]]
  mv usr/lib/modules "$root/usr/lib/"
  version=$(ls "$root/usr/lib/modules")
  printf '%s\n' "$version" >version
  chroot "$root" depmod "$version"

  chmod 0755 busybox
  mkdir -p initrd.d/bin initrd.d/m
  mv busybox initrd.d/bin/
  ln -s busybox initrd.d/bin/sh
  for bus in mmio pci; do
    chroot "$root" modprobe -S "$version" -a --show-depends "virtio_$bus" virtio_blk virtio_net squashfs ext4 overlay |
      while read -r kind path _; do
        [[ $kind == insmod ]] || continue
        name=${path##*/} name=${name%%.*}.ko
        if [[ ! -e initrd.d/m/$name ]]; then
          case $path in
            *.xz) xz -dc "$root$path" >"initrd.d/m/$name" ;;
            *.zst) zstd -qdc "$root$path" >"initrd.d/m/$name" ;;
            *) cp "$root$path" "initrd.d/m/$name" ;;
          esac
          unsign "initrd.d/m/$name"
        fi
        printf '%s\n' "$name"
      done | awk '!seen[$0]++' >"initrd.d/m/$bus"
  done
  (cd initrd.d && find . | sort | ./bin/busybox cpio -o -H newc -R 0:0 2>/dev/null) >initrd

  find "$root/usr/share/doc" ! -name copyright ! -type d -delete
  find "$root/usr/share/doc" -type d -empty -delete
  rm -rf "$root"/usr/share/{man,info,locale}/* "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
  rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf"
  : >"$root/etc/machine-id"
  : >"$root/etc/resolv.conf"
  : >"$root/etc/motd"
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
  printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
  # They would wake a machine that nobody uses.
  for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
  # systemd has nothing to bring up to date at the first boot.
  touch "$root/etc/.updated" "$root/var/.updated"
}

mkdir -p "$images" "$cache"
began=$EPOCHSECONDS
lock .images
for made in "$images"/*/image.json; do
  # Another mvm made it while this one waited.
  if [[ -e $made && $(<"$made") =~ \"suite\":\"$SUITE\".*\"created\":([0-9]+) ]] && ((BASH_REMATCH[1] >= began)); then
    answer ID "$(basename "${made%/image.json}")"
    answer IMAGE "$(<"$made")"
    exit 0
  fi
done
step "Preparing the image debian:$SUITE"
remove "$work"
mkdir "$work"
: >"$work/log"

export FUNCTIONS SUITE MIRROR arch flavour packages memory_needed work cache root space
FUNCTIONS="set -Eeuo pipefail
$(declare -f step detail watch_progress build hook_setup hook_kernel hook_finish first_read unsign number unpack_kernel)"
exec {log}> >(report >&2)
reporter=$!
namespaces bash -c "$FUNCTIONS; build" 2>&"$log" {log}>&- &
builder=$!
exec {log}>&-
# A shell that waits for a command in the foreground does not hear an interrupt.
trap 'kill -KILL "$builder"; exit 130' INT TERM HUP
if ! wait "$builder"; then
  wait "$reporter" || true
  # Their own words: the first of many failed downloads, or all errors but those that follow from another.
  reason=$(grep -m 1 -E 'No space left|enough free space|^E: Failed to fetch' "$work/log") ||
    reason=$(grep '^E: ' "$work/log" | grep -vE 'apt-get .* failed$|setup failed|command failed|failed to run$') ||
    reason=$(tail -n 3 "$work/log") || true
  read -r -d '' -a words <<<"${reason//E: /}" || true
  reason=${words[*]}
  remove "$work"
  case $reason in
    *'No space left'* | *'enough free space'*) die no-space "the disk is full: $reason" ;;
    *'Failed to fetch'*) die download "cannot download Debian's packages: $reason" ;;
  esac
  # Perhaps a package on the disk is damaged.
  remove "$cache"
  die build "the image cannot be made: $reason"
fi
trap - INT TERM HUP
mv "$work/vmlinux" "$work/kernel"
version=$(<"$work/version")
remove "$work/space" "$work/log" "$work/kernel.log" "$work/version"
checkpoint debian.built

files=$(printf '"kernel":{"version":"%s",%s},"base":{"format":"squashfs",%s},"initrd":{%s}' \
  "$version" "$(entry "$work/kernel")" "$(entry "$work/base")" "$(entry "$work/initrd")")
read -r id _ < <(sha256sum <<<"$files")
id=${id:0:12}
printf '{"version":%s,"id":"%s","name":"debian","suite":"%s","arch":"%s","created":%s,"recipe":%s,%s,"init":"/sbin/init"}\n' \
  "$VERSION" "$id" "$SUITE" "$arch" "$EPOCHSECONDS" "$RECIPE" "$files" >"$work/image.json"
place "$work" "$id"
rm -rf "$cache"
answer ID "$id"
answer IMAGE "$(<"$images/$id/image.json")"
