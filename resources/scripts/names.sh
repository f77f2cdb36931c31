# names: which machines, snapshots and images there are, for a shell that completes a line. Reads only, and as little as it can.
# Out: MACHINE names, SNAPSHOT (NAME@TAG), IMAGE lines (image.json).
shopt -s nullglob
for dir in "$MVM_HOME"/machines/*/; do
  dir=${dir%/}
  answer MACHINE "${dir##*/}"
  for meta in "$dir"/snapshots/*/meta; do
    meta=${meta%/*}
    answer SNAPSHOT "${dir##*/}@${meta##*/}"
  done
done
for file in "$MVM_HOME"/images/*/image.json; do
  { IFS= read -r -d '' json <"$file"; } 2>/dev/null || true
  answer IMAGE "${json//$'\n'/ }"
done
