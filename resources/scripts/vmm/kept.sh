# What a memory on the disk is, for scripts that list some. Reads only.

# answer_kept KEY DIR: of the memory in DIR/frozen, beside the disk that it belongs to: FROZEN.KEY (its meta) and FROZEN_NOW.KEY (bytes
# it takes, its size, size and time of the disk); nothing where there is none.
answer_kept() {
  [[ -e $2/frozen/meta ]] || return 0
  answer "FROZEN.$1" "$(tr '\n' '\t' <"$2/frozen/meta")"
  answer "FROZEN_NOW.$1" "$(($(stat -c '%b * %B' "$2/frozen/memory" 2>/dev/null || echo 0))) $(
    stat -c %s "$2/frozen/memory" 2>/dev/null || echo 0
  ) $(stat -c '%s %.9Y' "$2/disk.img" 2>/dev/null || true)"
}
