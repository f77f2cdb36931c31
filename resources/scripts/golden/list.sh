# golden/list: the golden memories that are kept. Reads only.
# Out: for each GOLDEN (its key); under that, BYTES (of disk, with its disk), USED (when a run went on from it last, in unix seconds), and
#      FROZEN and FROZEN_NOW (vmm/kept).
shopt -s nullglob
for dir in "$MVM_HOME"/golden/*/; do
  dir=${dir%/} key=${dir##*/}
  answer GOLDEN "$key"
  read -r bytes _ <<<"$(du -s --block-size=1 "$dir" 2>/dev/null)"
  answer "BYTES.$key" "${bytes:-0}"
  used=$dir
  [[ ! -e $dir/used ]] || used=$dir/used
  answer "USED.$key" "$(stat -c %Y "$used")"
  answer_kept "$key" "$dir"
done
