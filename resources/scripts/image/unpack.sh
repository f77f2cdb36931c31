# image/unpack: makes an image of what `mvm image export` wrote. Safe to repeat, safe to kill: it appears by one rename, whole
# and right.
# In: ID, IMAGE_JSON, "$@" its files as NAME=SHA256, stdin the tar.
: "${ID:?}" "${IMAGE_JSON:?}"
images=$MVM_HOME/images
work=$images/.import.partial
lock .images
rm -rf "$work"
mkdir -p "$work" || give_up no-space "cannot make $work"
step 'Unpacking the image'
names=("${@%%=*}")
# These files alone, and no owner or link of theirs.
said=$(tar -C "$work" --no-same-owner --no-same-permissions -xf - "${names[@]}" 2>&1) || {
  case $said in
    *'No space left'* | *': Wrote only '*) give_up no-space "the disk is full: ${said%%$'\n'*}" ;;
    *) give_up cut "the image did not arrive whole: ${said%%$'\n'*}" ;;
  esac
}
for file; do
  [[ -f $work/${file%%=*} && ! -L $work/${file%%=*} ]] || give_up damaged "the image's file ${file%%=*} is no file"
  sha256 "$work/${file%%=*}"
  [[ $SHA256 == "${file#*=}" ]] || give_up damaged "the image's file ${file%%=*} is damaged: its SHA-256 is $SHA256"
done
printf '%s\n' "$IMAGE_JSON" >"$work/image.json" || give_up no-space "cannot write $work/image.json"
place "$work" "$ID"
answer ID "$ID"
