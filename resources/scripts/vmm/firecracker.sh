# vmm/firecracker: installs a release of Firecracker beside the others. Safe to repeat: it appears by one rename.
# In: VERSION (v1.16.1), SHA256 (the tarball's), CHOOSE (yes: it goes before the one on PATH), stdin the release's tarball.
: "${VERSION:?}" "${SHA256:?}" "${CHOOSE:?}"
name=firecracker-$VERSION
bin=$MVM_HOME/bin
lock .firecracker
step "Installing Firecracker $VERSION"
work=$bin/.partial
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >release.tgz || die no-space "cannot write $work/release.tgz"
read -r digest _ < <(sha256sum release.tgz)
[[ $digest == "$SHA256" ]] || die cut "the release did not arrive whole: its SHA-256 is $digest instead of $SHA256"
file=release-$VERSION-$(uname -m)/$name-$(uname -m)
tar -xzf release.tgz "$file" || die release "there is no $file in the release"
said=$("./$file" --version) || die release "Firecracker $VERSION does not start here: ${said%%$'\n'*}"
[[ ${said%%$'\n'*} == "Firecracker $VERSION" ]] || die release "the release has another version: ${said%%$'\n'*}"
checkpoint firecracker.unpacked
sync "$file"
read -r digest _ < <(sha256sum "$file")
# What it was when its release was verified, for `mvm verify`.
printf '%s\n' "$digest" >"$bin/.$name.sha256"
mv -T "$file" "$bin/$name"
checkpoint firecracker.placed
[[ $CHOOSE != yes ]] || ln -sfn "$name" "$bin/firecracker"
