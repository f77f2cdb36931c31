# snapshot/diff: what is on two disks of machines, and in the base that both lie over, as the tools for such file systems list it.
# Needs no root, mounts nothing, and changes neither disk: their metadata are copied, and what waits in the journal is done there.
# In: ONE and OTHER (disks, as NAME/FILE), IMAGE (the folder's name); where OTHER is the disk of a machine that runs also NAME, VMM,
#     PAUSE and UNPAUSE (what is said to it), and "$@", the command that lets the guest write out its files.
# Out: for each of A and B: A_LS (a folder's listing begins with its inode, in <>), A_STAT lines, A_ROOT (`upper|docker|containerd INODE`);
#      BASE lines (unsquashfs -lln), or BASE_LS and BASE_STAT.
: "${ONE:?}" "${OTHER:?}" "${IMAGE:?}"
work=$(mktemp -d "${TMPDIR:-/tmp}/mvm-diff.XXXXXX") || die no-space "cannot make a folder in ${TMPDIR:-/tmp}"
tidy() { rm -rf "$work"; }
trap tidy EXIT

# metadata DISK FILE: all of a disk but what its files hold.
metadata() {
  e2image -r "$1" "$2" || die damaged "the disk $PWD/$1 cannot be read"
}

# take DISK FILE: the same, of a disk that rests meanwhile.
take() {
  local name=${1%%/*}
  lock "$name"
  cd "$MVM_HOME/machines/$name" 2>/dev/null || die gone "the machine \`$name\` was removed meanwhile"
  finish_restore
  [[ -e ${1#*/} ]] || die gone "$PWD/${1#*/} was removed meanwhile"
  if [[ $1 == */snapshots/* ]] || ! { cell_alive . && cell_vmm .; }; then
    metadata "${1#*/}" "$2"
  else
    [[ -n ${VMM:-} ]] || die changed "the machine \`$name\` was started meanwhile"
    BASE=no LIVES=yes
    freeze_begin "${words[@]}"
    trap 'go_on; tidy' EXIT
    freeze_pause
    metadata disk.img "$2"
    go_on
    trap tidy EXIT
  fi
  # Without -p it would ask; 1 is a journal that was done.
  e2fsck -y -E journal_only "$2" >/dev/null 2>&1 || (($? == 1)) || die damaged "the disk $PWD/${1#*/} cannot be read"
}

# walk KEY FILE INODE…: answers what is below these folders. A file system of a guest's may lead in circles.
walk() {
  local key=$1 image=$2 inode line queue=("${@:3}")
  local -A seen=()
  : >"$work/all"
  while ((${#queue[@]} > 0)); do
    for inode in "${queue[@]}"; do seen[$inode]=1; done
    printf 'ls -p <%s>\n' "${queue[@]}" >"$work/commands"
    debugfs -f "$work/commands" "$image" 2>/dev/null | sed -nE 's/^debugfs: *ls -p (<[0-9]+>)$/\1/p; /^\/[0-9]+\//p' >"$work/level"
    cat "$work/level" >>"$work/all"
    queue=()
    while read -r inode; do
      [[ -n ${seen[$inode]:-} ]] || queue+=("$inode") seen[$inode]=1
    done < <(sed -nE '/^\/[0-9]+\/[0-7]+\/[0-9]+\/[0-9]+\/\.\.?\//d; s/^\/([0-9]+)\/04[0-7]{4}\/.*/\1/p' "$work/level")
  done
  sed "s/^/${key}_LS=/" "$work/all" >&3
  { printf '%s\n' "${@:3}" && sed -nE 's|^/([0-9]+)/.*|\1|p' "$work/all"; } | sort -u | sed 's/.*/stat <&>/' >"$work/commands"
  debugfs -f "$work/commands" "$image" 2>/dev/null |
    sed -nE "/^(Inode:|User:|Fast link|(\\(New-style\\) )?Device major| mtime:|  trusted\.overlay\.(opaque|redirect))/s/^ */${key}_STAT=/p" >&3
}

# roots KEY FILE: walks what a machine's disk has of folders.
roots() {
  local line inode name found=()
  while IFS=/ read -r _ inode _ _ _ name _; do
    case $name in
      upper | docker | containerd)
        answer "$1_ROOT" "$name $inode"
        found+=("$inode")
        ;;
    esac
  done < <(debugfs -R 'ls -p /' "$2" 2>/dev/null)
  ((${#found[@]} == 0)) || walk "$1" "$2" "${found[@]}"
}

words=("$@")
step 'Comparing'
take "$ONE" "$work/a"
take "$OTHER" "$work/b"
exec 9>&-
roots A "$work/a"
roots B "$work/b"
base=$MVM_HOME/images/$IMAGE/base
[[ -e $base ]] || die gone "the image $IMAGE is gone"
if ! unsquashfs -d '' -lln "$base" 2>/dev/null >"$work/base"; then
  walk BASE "$base" 2
else
  sed 's/^/BASE=/' "$work/base" >&3
fi
