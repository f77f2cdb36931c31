# image/remove: removes images, and golden memories that are of no use any more. Refuses those that a machine is made of. Safe to repeat.
# In: GOLDEN (keys of golden memories, between blanks), "$@" the images' ids. Out: FREED (bytes).
: "${GOLDEN?}"
lock .images
images=$MVM_HOME/images
for id in "$@"; do
  for machine in "$MVM_HOME"/machines/*/vm.json; do
    [[ ! -e $machine || $(<"$machine") != *"\"image_id\":\"$id\""* ]] ||
      die used "the image $id is used by $(basename "${machine%/vm.json}")"
  done
done
# What the file system has more afterwards: images share files, so that their sizes do not tell.
free() {
  local blocks size
  read -r blocks size <<<"$(stat -f -c '%a %S' "$MVM_HOME")"
  echo $((blocks * size))
}
before=$(free)
for id in "$@"; do
  # By a rename first: what is half removed is no image any more.
  [[ ! -e $images/$id ]] || mv -T "$images/$id" "$images/.gone"
  checkpoint image-remove.renamed
  rm -rf "${images:?}/.gone"
done
rm -rf "${images:?}/.import.partial"
exec 8>"$MVM_HOME/locks/.golden"
flock 8
for key in $GOLDEN; do rm -rf "$MVM_HOME/golden/$key"; done
freed=$(($(free) - before))
answer FREED $((freed > 0 ? freed : 0))
