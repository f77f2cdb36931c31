# look: what the Linux side is and has. Reads only.
# In: ONLY (one machine's name, or empty for all), PROBE (yes|no), TOOLS (program names).
# Out: the host's facts; IMAGE lines; for each machine SPEC, DISK, CELL (with SSHD) or ENDED.
# Few forks: `mvm status` should feel instant.
: "${PROBE:?}" "${TOOLS:?}"

# slurp FILE: its text on one line in SLURPED, tabs for line ends; without a fork.
slurp() {
  SLURPED=
  { IFS= read -r -d '' SLURPED <"$1"; } 2>/dev/null || true
  SLURPED=${SLURPED%$'\n'}
  SLURPED=${SLURPED//$'\n'/$'\t'}
}

# opens FILE: says whether this user may open a device.
opens() {
  if [[ ! -e $1 ]]; then
    OPENS=missing
  elif { : <>"$1"; } 2>/dev/null; then
    OPENS=usable
  else
    OPENS=denied
  fi
}

# version KEY PROGRAM: answers `KEY=version path`. Asking QEMU takes 30 ms, so what it said is kept by path, size and time.
version() {
  local path stamp cached text
  path=$(type -P "$2") || return 0
  stamp=$(stat -Lc '%n %s %Y' "$path")
  { IFS= read -r cached <"$MVM_HOME/cache/$2"; } 2>/dev/null || cached=
  if [[ $cached != "$stamp "* ]]; then
    text=$("$path" --version 2>/dev/null) || text=
    [[ ${text%%$'\n'*} =~ ([0-9]+(\.[0-9]+)+) ]] || return 0
    cached="$stamp ${BASH_REMATCH[1]}"
    if [[ -d $MVM_HOME ]]; then
      mkdir -p "$MVM_HOME/cache"
      printf '%s\n' "$cached" >"$MVM_HOME/cache/$2"
    fi
  fi
  answer "$1" "${cached##* } $path"
}

arch=$(uname -m)
kernel=$(</proc/sys/kernel/osrelease)
PRETTY_NAME=Linux
# shellcheck source=/dev/null
[[ ! -r /etc/os-release ]] || . /etc/os-release
answer ARCH "$arch"
answer OS "$PRETTY_NAME"
answer KERNEL "$kernel"
answer LOGIN "$(id -un 2>/dev/null || echo "$UID")"
answer ID "$UID"
answer HOME "$MVM_HOME"
while read -r key value _; do
  [[ $key != MemTotal: ]] || break
done </proc/meminfo
answer MEMORY_KIB "$value"
answer CPUS "$(nproc)"

# The nearest folder that exists tells the file system's free space.
dir=$MVM_HOME
while [[ ! -d $dir ]]; do dir=${dir%/*} dir=${dir:-/}; done
read -r blocks size <<<"$(stat -f -c '%a %S' "$dir")"
answer FREE_BYTES $((blocks * size))

# KVM is usable when it opens *and* (on x86) the CPU shows vmx or svm: elsewhere a vCPU may run, but no guest boots.
flags='' bogomips=''
if [[ $arch == x86_64 ]]; then
  while IFS=: read -r key value; do
    case $key in
      flags*) flags=" $value " ;;
      bogomips*) bogomips=${value# } && break ;;
    esac
  done </proc/cpuinfo
fi
opens /dev/kvm
if [[ $OPENS == usable && $arch == x86_64 && ! $flags =~ \ (vmx|svm)\  ]]; then
  OPENS=no-cpu-support
fi
answer KVM "$OPENS"
# The kernel derives its delay loop from the TSC: two turns a tick, so this tells the frequency, to 5 kHz. ("cpu MHz"
# is the clock of the moment.)
if [[ $bogomips =~ ^([0-9]{3,5})\.([0-9]{2})$ ]]; then
  answer TSC_KHZ $((BASH_REMATCH[1] * 500 + 10#${BASH_REMATCH[2]} * 5))
fi
opens /dev/net/tun
answer TUN "$OPENS"
for tool in $TOOLS; do
  ! hash "$tool" 2>/dev/null || answer TOOL "$tool ${BASH_CMDS[$tool]}"
done
version FIRECRACKER firecracker
version QEMU "qemu-system-$arch"

if [[ $PROBE == yes ]]; then
  userns=allowed
  if ! unshare --user --map-root-user --net true 2>/dev/null; then
    userns=off
    slurp /proc/sys/kernel/apparmor_restrict_unprivileged_userns
    [[ $SLURPED != 1 ]] || userns=apparmor
  fi
  answer USERNS "$userns"
  subids=no next=100000
  while IFS=: read -r owner first count; do
    [[ $owner != "${USER:-}" && $owner != "$UID" && $owner != "$(id -un)" ]] || subids=yes
    ((first + count <= next)) || next=$((first + count))
  done < <(cat /etc/subuid 2>/dev/null)
  [[ $UID != 0 ]] || subids=yes
  answer SUBIDS "$subids"
  answer NEXT_SUBID "$next"
  keyring=no
  [[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || keyring=yes
  answer KEYRING "$keyring"
  apt=no
  ! hash apt-get 2>/dev/null || apt=yes
  answer APT "$apt"
fi

shopt -s nullglob
for dir in "$MVM_HOME"/images/*/; do
  dir=${dir%/}
  slurp "$dir/image.json"
  declare -A sizes=([kernel]=0 [base]=0 [initrd]=0)
  while read -r size file; do
    sizes[${file##*/}]=$size
  done < <(stat -c '%s %n' "$dir"/{kernel,base,initrd} 2>/dev/null)
  answer IMAGE "${dir##*/} ${sizes[kernel]} ${sizes[base]} ${sizes[initrd]} $SLURPED"
done

read -r seconds _ </proc/uptime
# answering NAME PID: whether the guest's kernel takes connections on its SSH port.
answering() {
  sshd_was_up "$MVM_HOME/machines/$1" || return 0
  if guest_connects "$2"; then
    answer "SSHD.$1" answers
  else
    answer "SSHD.$1" silent
  fi
}
for dir in "$MVM_HOME"/machines/${ONLY:-*}/; do
  [[ -d $dir ]] || continue
  dir=${dir%/} name=${dir##*/}
  answer MACHINE "$name"
  [[ ! -e $dir/vm.json ]] || {
    slurp "$dir/vm.json"
    answer "SPEC.$name" "$SLURPED"
  }
  [[ ! -e $dir/disk.img ]] || answer "DISK.$name" "$(disk_use "$dir/disk.img")"
  [[ -z $ONLY ]] || answer_keys "$dir" "$name"
  if cell_alive "$dir" && cell_vmm "$dir"; then
    slurp "$dir/run/as"
    answer "CELL.$name" "$VMM_PID $((${seconds%.*} - VMM_STARTED / 100)) ${SLURPED:-unknown unknown}"
    answering "$name" "$VMM_PID" &
  elif [[ -e $dir/run/exit ]]; then
    slurp "$dir/run/exit"
    answer "ENDED.$name" "$SLURPED"
  fi
done
wait
