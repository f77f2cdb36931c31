# image/ubuntu: makes the image `ubuntu` of the kernel and the base that image/receive took. Safe to repeat, safe to kill:
# the image appears by one rename.
# In: KERNEL_SHA256, BASE_SHA256, KERNEL_KEY, BASE_KEY (where they come from), KERNEL_VERSION, RELEASE, VERSION (of image.json). Out: ID.
: "${KERNEL_SHA256:?}" "${BASE_SHA256:?}" "${KERNEL_KEY:?}" "${BASE_KEY:?}" "${KERNEL_VERSION:?}" "${RELEASE:?}" "${VERSION:?}"
images=$MVM_HOME/images
work=$images/.ubuntu.partial
# Packages stay here until the image is there.
cache=$MVM_HOME/downloads/ubuntu
mkdir -p "$cache"
lock .images
for made in "$images"/*/image.json; do
  # Another mvm made it meanwhile.
  if [[ -e $made && $(<"$made") == *"$KERNEL_SHA256"*"$BASE_SHA256"* && ! -e $work/base ]]; then
    answer ID "$(basename "${made%/image.json}")"
    exit 0
  fi
done
[[ -e $work/kernel && -e $work/base ]] || die cut 'the files of the image are gone'
cd "$work"
step "Preparing the image ubuntu ($RELEASE, Linux $KERNEL_VERSION)"

# busybox_package: static busybox, from the distribution that this is. An ordinary user may not refresh its lists, and
# then makes some of his own.
busybox_package() {
  local own=(-o "Dir::State::lists=$cache/lists" -o "Dir::Cache=$cache/apt")
  cd "$cache"
  rm -f busybox-static_*.deb
  apt-get download -q busybox-static && return
  mkdir -p lists/partial apt/archives/partial
  apt-get "${own[@]}" -q update && apt-get "${own[@]}" download -q busybox-static
}
hash apt-get dpkg-deb 2>/dev/null || die build \
  'the image ubuntu takes its busybox from Debian or Ubuntu, and this is neither'
(busybox_package) || die download 'cannot download the package busybox-static'

# The kernel has all that mvm needs built in: the lists of modules are empty.
rm -rf initrd.d
mkdir -p initrd.d/bin initrd.d/m
dpkg-deb --fsys-tarfile "$cache"/busybox-static_*.deb | tar -xO --wildcards '*bin/busybox' >initrd.d/bin/busybox
chmod 0755 initrd.d/bin/busybox
ln -s busybox initrd.d/bin/sh
: >initrd.d/m/mmio
: >initrd.d/m/pci
(cd initrd.d && find . | sort | ./bin/busybox cpio -o -H newc -R 0:0 2>/dev/null) >initrd
rm -rf initrd.d

files=$(printf '"kernel":{"version":"%s","key":"%s",%s},"base":{"format":"squashfs","key":"%s",%s},"initrd":{%s}' \
  "$KERNEL_VERSION" "$KERNEL_KEY" "$(entry kernel)" "$BASE_KEY" "$(entry base)" "$(entry initrd)")
read -r id _ < <(sha256sum <<<"$files")
id=${id:0:12}
printf '{"version":%s,"id":"%s","name":"ubuntu","suite":"","release":"%s","arch":"%s","created":%s,%s,"init":"/sbin/init"}\n' \
  "$VERSION" "$id" "$RELEASE" "$HOSTTYPE" "$EPOCHSECONDS" "$files" >image.json || give_up no-space "cannot write $work/image.json"
place "$work" "$id"
rm -rf "$cache"
answer ID "$id"
