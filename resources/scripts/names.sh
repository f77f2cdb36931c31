# names: which machines and images there are, for a shell that completes a line. Reads only, and as little as it can.
# Out: MACHINE names, IMAGE lines (image.json).
shopt -s nullglob
for dir in "$MVM_HOME"/machines/*/; do
  dir=${dir%/}
  answer MACHINE "${dir##*/}"
done
for file in "$MVM_HOME"/images/*/image.json; do
  { IFS= read -r -d '' json <"$file"; } 2>/dev/null || true
  answer IMAGE "${json//$'\n'/ }"
done
