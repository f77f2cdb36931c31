# image/pack: makes the base of an image of what comes on standard input. It is sealed by image/seal, which is sent when all of
# it has arrived. Safe to repeat, safe to kill: until then it is under a name that no image has.
# In: KIND (tar: what the layers come to; squashfs, ext4: a file system as it is), stdin. Out: BYTES.
: "${KIND:?}"
work=$MVM_HOME/images/.import.partial
lock .images
rm -rf "$work"
mkdir -p "$work" || give_up no-space "cannot make $work"
case $KIND in
  tar)
    step 'Compressing the image'
    # What sqfstar is a name for; that of 4.5.1 takes no compression level. The root itself belongs to the machine.
    said=$(mksquashfs - "$work/base" -tar -quiet -no-progress -comp zstd -Xcompression-level 3 \
      -root-mode 0755 -root-uid 0 -root-gid 0 2>&1) || {
      reason=$(grep -m 1 -i -E 'no space|FATAL|error' <<<"$said") || reason=${said##*$'\n'}
      case $reason in
        *'No space left'*) give_up no-space "the disk is full: $reason" ;;
        *) give_up build "the image cannot be made: $reason" ;;
      esac
    }
    ;;
  *)
    step 'Sending the image'
    cat >"$work/base" || give_up no-space "cannot write $work/base"
    ;;
esac
checkpoint pack.written
answer BYTES "$(stat -c %s "$work/base")"
