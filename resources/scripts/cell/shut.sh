# For who shuts itself in within a cell: a file system with what it needs, under the paths that it has outside, and nothing else.

# new_root FOLDER: it begins with programs and libraries.
new_root() {
  local path
  root=$1 lines=() folders=("$1/dev/net" "$1/etc" "$1/old") files=() links=()
  for path in usr bin sbin lib lib32 lib64 libx32 nix/store; do
    if [[ -h /$path ]]; then
      links+=("$path")
    elif [[ -d /$path ]]; then
      folders+=("$root/$path")
      # With what may be mounted below.
      lines+=("/$path $root/$path none rbind,ro,nosuid,nodev")
    fi
  done
  place /etc/ld.so.cache etc/ld.so.cache ro,nodev,noexec
  for path in null zero random urandom; do place "/dev/$path" "dev/$path" noexec; done
}

# place SOURCE TARGET OPTIONS: what is mounted where, below the new root.
place() {
  [[ -e $1 ]] || return 0
  lines+=("${1// /\\040} $root/${2// /\\040} none bind,nosuid,$3")
  [[ -d $1 ]] && folders+=("$root/$2") || files+=("$root/$2")
}

# enter_root TABLE FOLDER: makes it, by the file TABLE in fstab's form, and goes to the FOLDER in it. False where the host refuses that;
# then all is as it was.
enter_root() {
  local path
  mkdir -p "$root" && mount -t tmpfs -o mode=0755,nosuid,nodev,size=1m,nr_inodes=1k mvm "$root" || return 1
  mkdir -p "${folders[@]}" || return 1
  for path in "${files[@]}"; do : >"$root/${path#"$root/"}" || return 1; done
  for path in "${links[@]}"; do ln -s "$(readlink "/$path")" "$root/$path" || return 1; done
  # umount asks it what is mounted.
  ln -s old/proc "$root/proc"
  printf '%s\n' "${lines[@]}" >"$1"
  mount --all --fstab "$1" && mount -o remount,bind,ro,nosuid,nodev "$root" && pivot_root "$root" "$root/old" || return 1
  # Whoever runs this is in the new root already.
  umount -l /old && cd "$2" || exit 1
}
