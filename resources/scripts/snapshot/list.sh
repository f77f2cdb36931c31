# snapshot/list: the snapshots of machines. Reads only.
# In: "$@" machines' names.
# Out: for each snapshot SNAPSHOT (NAME@TAG); under that, META, DISK (bytes that its disk takes), SPEC (its vm.json), and FROZEN and FROZEN_NOW
#      where it has a memory (vmm/kept).
shopt -s nullglob
for name in "$@"; do
  for dir in "$MVM_HOME/machines/$name"/snapshots/*/; do
    dir=${dir%/} key=$name@${dir##*/}
    [[ -e $dir/meta ]] || continue
    answer SNAPSHOT "$key"
    answer "META.$key" "$(tr '\n' '\t' <"$dir/meta")"
    answer "DISK.$key" $(($(stat -c '%b * %B' "$dir/disk.img" 2>/dev/null || echo 0)))
    # What it ran with, where it ran.
    json=$dir/vm.json
    [[ ! -e $dir/frozen/vm.json ]] || json=$dir/frozen/vm.json
    { IFS= read -r json <"$json"; } 2>/dev/null || json=''
    answer "SPEC.$key" "$json"
    answer_kept "$key" "$dir"
  done
done
