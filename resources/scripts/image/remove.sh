# image/remove: removes images with their golden memories, and what cut-off makings of others left. Refuses those that a machine is made of. Safe to repeat.
# In: "$@" their ids. Out: FREED (bytes).
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
  rm -rf "${images:?}/.gone"
done
rm -rf "${images:?}/.import.partial"
# Golden memories of images that are gone, and those that no run went on from for a month: they may fit nothing here any more.
exec 8>"$MVM_HOME/locks/.golden"
flock 8
for golden in "$MVM_HOME"/golden/*/ "$MVM_HOME"/golden/.new/; do
  [[ -d $golden ]] || continue
  image=$(sed -n 's/^IMAGE=//p' "$golden/frozen/meta" 2>/dev/null) || image=''
  if [[ -z $image || ! -e $images/$image || -n $(find "$golden" -maxdepth 0 -mtime +30) ]]; then rm -rf "$golden"; fi
done
freed=$(($(free) - before))
answer FREED $((freed > 0 ? freed : 0))
