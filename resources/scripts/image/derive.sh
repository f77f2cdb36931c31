# image/derive: makes an image that differs from another in its kernel; all else are the same files. Safe to repeat: it appears
# by one rename.
# In: FROM and ID (images' ids), KERNEL_SHA256, IMAGE_JSON, stdin the kernel.
: "${FROM:?}" "${ID:?}" "${KERNEL_SHA256:?}" "${IMAGE_JSON:?}"
images=$MVM_HOME/images
work=$images/.import.partial
lock .images
[[ -e $images/$FROM/image.json ]] || die gone "the image $FROM is gone"
rm -rf "$work"
mkdir -p "$work" || give_up no-space "cannot make $work"
cat >"$work/kernel" || give_up no-space "cannot write $work/kernel"
checkpoint derive.written
sha256 "$work/kernel"
[[ $SHA256 == "$KERNEL_SHA256" ]] || give_up cut "the kernel did not arrive whole: its SHA-256 is $SHA256"
for file in "$images/$FROM"/{base,initrd,tools}; do
  [[ ! -e $file ]] || ln "$file" "$work/" 2>/dev/null || cp "$file" "$work/" || give_up no-space "cannot write $work"
done
printf '%s\n' "$IMAGE_JSON" >"$work/image.json" || give_up no-space "cannot write $work/image.json"
place "$work" "$ID"
answer DONE yes
