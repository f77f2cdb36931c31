# image/seal: makes an image of the base that image/pack made, and of the kernel and the tools of the image `debian`. Safe to
# repeat: it appears by one rename.
# In: NAME, FORMAT (of the base), FROM (the id of the image `debian`), META (more of image.json), VERSION (of image.json). Out: ID.
: "${NAME:?}" "${FORMAT:?}" "${FROM:?}" "${META?}" "${VERSION:?}"
images=$MVM_HOME/images
work=$images/.import.partial
lock .images
[[ -e $work/base ]] || die cut 'the base of the image is gone: another mvm may have taken its place'
from=$images/$FROM
[[ -e $from/image.json ]] || die gone "the image $FROM is gone"
cd "$work"
# The same files once more, not copies: Debian's base has the SSH server and the kernel's modules.
for file in kernel initrd tools; do
  source=$file
  [[ $file != tools ]] || source=base
  rm -f "$file"
  ln "$from/$source" "$file" 2>/dev/null || cp "$from/$source" "$file" || give_up no-space "cannot write $work/$file"
done
checkpoint seal.linked
# To the disk while its digest is made.
sync base &
syncing=$!
json=$(<"$from/image.json")
# entry_of FILE: what that image.json says of one of its files.
entry_of() {
  [[ $json =~ \"$1\":\{[^}]*(\"bytes\":[0-9]+,\"sha256\":\"[0-9a-f]{64}\") ]]
  printf '%s' "${BASH_REMATCH[1]}"
}
[[ $json =~ \"kernel\":\{\"version\":\"([^\"]*)\" ]]
files=$(printf '"kernel":{"version":"%s",%s},"base":{"format":"%s",%s},"initrd":{%s},"tools":{%s}' \
  "${BASH_REMATCH[1]}" "$(entry_of kernel)" "$FORMAT" "$(entry base)" "$(entry_of initrd)" "$(entry_of base)")
# mksquashfs writes the time into a base: META has the digest of what it was made of, so the same once more is the same image.
read -r id _ < <(sha256sum <<<"$NAME $META $FORMAT $(entry_of kernel) $(entry_of base)")
id=${id:0:12}
printf '{"version":%s,"id":"%s","name":"%s","suite":"","arch":"%s","created":%s,%s%s}\n' \
  "$VERSION" "$id" "$NAME" "$HOSTTYPE" "$EPOCHSECONDS" "$files" "${META:+,$META}" >image.json ||
  give_up no-space "cannot write $work/image.json"
wait "$syncing" || true
checkpoint seal.described
place "$work" "$id"
answer ID "$id"
