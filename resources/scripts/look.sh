# look: what the Linux side is and has. Reads only.
# In: ONLY (one machine's name, or empty for all), PROBE (yes|no), TOOLS (program names).
# Out: the host's facts; IMAGE lines; for each machine SPEC, DISK, SNAPSHOTS (how many), CELL (with SSHD and PORT), FROZEN (with FROZEN_NOW) or ENDED.
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

# stat_all: one `stat` for all files whose facts are wanted, since a fork costs more than all else here. A file's
# `bytes allocated size time` is then STAT[file].
declare -A STAT=()
stat_all() {
  local blocks unit size time file
  while read -r blocks unit size time file; do
    STAT[$file]="$((blocks * unit)) $size $time"
  done < <(exec stat -L -c '%b %B %s %Y %n' "$@" 2>/dev/null)
}

# version KEY PATH: answers `KEY=version path`. Asking QEMU takes 30 ms, so what it said is kept by path, size and time.
version() {
  local path=$2 stamp cached text cache
  [[ -n $path ]] || return 0
  cache=$MVM_HOME/cache/${path##*/}
  stamp="$path ${STAT[$path]#* }"
  { IFS= read -r cached <"$cache"; } 2>/dev/null || cached=
  if [[ $cached != "$stamp "* ]]; then
    text=$("$path" --version 2>/dev/null) || text=
    [[ ${text%%$'\n'*} =~ ([0-9]+(\.[0-9]+)+) ]] || return 0
    cached="$stamp ${BASH_REMATCH[1]}"
    # A full disk is no reason not to look.
    [[ ! -d $MVM_HOME ]] || { mkdir -p "$MVM_HOME/cache" && printf '%s\n' "$cached" >"$cache"; } 2>/dev/null || true
  fi
  answer "$1" "${cached##* } $path"
}

# found PROGRAM: its path on PATH in FOUND, or nothing; without a fork.
found() {
  FOUND=
  ! hash "$1" 2>/dev/null || FOUND=${BASH_CMDS[$1]}
}

# cell_ended DIR: how the machine's last run ended, in ENDED; empty where it was stopped by mvm, which leaves nothing of it.
cell_ended() {
  local tries boot now
  ENDED=
  if cell_alive "$1" && [[ -s $1/run/vmm ]]; then
    # Its VMM has just ended: the supervisor is about to tell how.
    for ((tries = 0; tries < 200; tries++)); do
      if [[ -e $1/run/exit ]] || ! cell_alive "$1"; then break; fi
      nap 0.01
    done
  fi
  if { IFS= read -r ENDED <"$1/run/exit"; } 2>/dev/null; then return; fi
  # Nobody was left to tell.
  { read -r _ _ boot <"$1/run/cell"; } 2>/dev/null || return 0
  read -r now </proc/sys/kernel/random/boot_id
  if [[ $boot != "$now" ]]; then
    ENDED='the host was restarted'
  elif ! cell_alive "$1"; then
    ENDED='its supervisor was killed'
  fi
}

shopt -s nullglob
# What bash was built for, which is what `uname -m` says.
arch=$HOSTTYPE
found firecracker && firecracker=$FOUND
found "qemu-system-$arch" && qemu=$FOUND
stat_all "$firecracker" "$qemu" "$MVM_HOME"/images/*/{kernel,base,initrd} "$MVM_HOME"/machines/*/{disk.img,{,restore/}frozen/memory}
for file in "$MVM_HOME"/bin/firecracker-v*; do
  chosen=no
  [[ ! $file -ef $MVM_HOME/bin/firecracker ]] || chosen=yes
  answer INSTALLED "$chosen ${file##*/firecracker-v} $file"
done

IFS= read -r kernel </proc/sys/kernel/osrelease
PRETTY_NAME=Linux
# shellcheck source=/dev/null
[[ ! -r /etc/os-release ]] || . /etc/os-release
answer ARCH "$arch"
answer OS "$PRETTY_NAME"
answer KERNEL "$kernel"
while IFS=: read -r login _ uid _; do
  [[ $uid != "$UID" ]] || break
done </etc/passwd
[[ $uid == "$UID" ]] || login=$(id -un 2>/dev/null) || login=$UID
answer LOGIN "$login"
answer ID "$UID"
answer HOME "$MVM_HOME"
answer NOW "$EPOCHSECONDS"
if [[ -e /etc/mvm-provisioned ]]; then
  slurp /etc/mvm-provisioned
  # What cannot be read as a number is older than all.
  [[ $SLURPED =~ ^[0-9]+$ ]] || SLURPED=0
  answer PROVISIONED "$SLURPED"
  [[ ! -e /run/mvm-restart ]] || answer RESTART yes
fi
proc_lines /proc/meminfo
for line in "${LINES[@]}"; do
  [[ $line != MemTotal:* ]] || { answer MEMORY_KIB "${line//[!0-9]/}" && break; }
done
# Those that this process may use, as `nproc` counts them: 0-3,7.
cpus=0
proc_lines /proc/self/status
for line in "${LINES[@]}"; do
  [[ $line == Cpus_allowed_list:* ]] || continue
  value=${line#*:[[:space:]]}
  for range in ${value//,/ }; do ((cpus += ${range#*-} - ${range%-*} + 1)); done
done
answer CPUS "$cpus"

# The nearest folder that exists tells the file system's free space.
dir=$MVM_HOME
while [[ ! -d $dir ]]; do dir=${dir%/*} dir=${dir:-/}; done
read -r blocks size < <(exec stat -f -c '%a %S' "$dir")
answer FREE_BYTES $((blocks * size))

# KVM is usable when it opens *and* (on x86) the CPU shows vmx or svm: elsewhere a vCPU may run, but no guest boots.
flags='' bogomips='' cpu=''
if [[ $arch == x86_64 ]]; then
  # The first processor's are enough.
  proc_lines /proc/cpuinfo 64
  for line in "${LINES[@]}"; do
    value=${line#*:}
    case $line in
      'model name'*) cpu=${value# } ;;
      flags*) flags=" $value " ;;
      bogomips*) bogomips=${value# } && break ;;
    esac
  done
fi
if [[ $arch == aarch64 ]]; then
  proc_lines /proc/cpuinfo 64
  for line in "${LINES[@]}"; do
    [[ $line != CPU\ [ivpr]* ]] || cpu+=${line#*:}
    [[ $line != CPU\ revision* ]] || break
  done
fi
answer CPU "$cpu"
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
  found "$tool"
  [[ -z $FOUND ]] || answer TOOL "$tool $FOUND"
done
version FIRECRACKER "$firecracker"
version QEMU "$qemu"

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
    [[ $owner != "$UID" && $owner != "$login" ]] || subids=yes
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

for dir in "$MVM_HOME"/images/*/; do
  dir=${dir%/} sizes=
  slurp "$dir/image.json"
  for file in kernel base initrd; do
    read -r _ size _ <<<"${STAT[$dir/$file]:-0 0 0}"
    sizes+=" $size"
  done
  answer IMAGE "${dir##*/}$sizes $SLURPED"
done

read -r seconds _ </proc/uptime
declare -A asked=()
for dir in "$MVM_HOME"/machines/${ONLY:-*}/; do
  [[ -d $dir ]] || continue
  dir=${dir%/} name=${dir##*/}
  answer MACHINE "$name"
  [[ ! -e $dir/vm.json ]] || {
    slurp "$dir/vm.json"
    answer "SPEC.$name" "$SLURPED"
  }
  [[ -z ${STAT[$dir/disk.img]:-} ]] || answer "DISK.$name" "${STAT[$dir/disk.img]% *}"
  [[ -z $ONLY ]] || answer_keys "$dir" "$name"
  snapshots=("$dir"/snapshots/*/)
  ((${#snapshots[@]} == 0)) || answer "SNAPSHOTS.$name" "${#snapshots[@]}"
  # A restore that was cut off: what it holds is the machine's (microvm/lib's finish_restore).
  frozen=$dir/frozen disk=$dir/disk.img
  if [[ -e $dir/restore/disk.img ]]; then
    disk=$dir/restore/disk.img frozen=$dir/restore/frozen
  elif [[ -e $dir/restore/frozen ]]; then
    frozen=$dir/restore/frozen
  fi
  if cell_alive "$dir" && cell_vmm "$dir"; then
    slurp "$dir/run/vm.json"
    [[ -z $SLURPED ]] || answer "RUNS.$name" "$SLURPED"
    slurp "$dir/run/as"
    ! process_memory "$VMM_PID" || answer "MEMORY.$name" "$RESIDENT"
    answer_ports "PORT.$name" "$dir"
    answer "CELL.$name" "$VMM_PID $((${seconds%.*} - VMM_STARTED / 100)) ${SLURPED:-unknown unknown}"
    if sshd_was_up "$dir"; then
      exec {answers}< <(exec nsenter -t "$VMM_PID" -U -n --preserve-credentials bash -c "$GUEST_CONNECTS && echo y" 2>/dev/null)
      asked[$name]="$answers $!"
    fi
    [[ ! -e $dir/frozen && ! -e $dir/frozen.new ]] || answer "HALF.$name" yes
    [[ ! -d $dir/run/began ]] || answer "BEGAN.$name" yes
  elif [[ -e $frozen/meta ]]; then
    slurp "$frozen/vm.json"
    [[ -z $SLURPED ]] || answer "RUNS.$name" "$SLURPED"
    slurp "$frozen/meta"
    answer "FROZEN.$name" "$SLURPED"
    read -r bytes size _ <<<"${STAT[$frozen/memory]:-0 0 0}"
    answer "FROZEN_NOW.$name" "$bytes $size $(stat -c '%s %.9Y' "$disk" 2>/dev/null)"
  else
    cell_ended "$dir"
    [[ -z $ENDED ]] || answer "ENDED.$name" "$ENDED"
  fi
done
# All were asked at once: the guest's kernel takes a connection, or two seconds are over.
uptime
deadline=$((UPTIME + 200))
for name in "${!asked[@]}"; do
  read -r answers pid <<<"${asked[$name]}"
  uptime
  left=$((deadline > UPTIME ? deadline - UPTIME : 0))
  if read -r -t "$((left / 100)).1" -u "$answers"; then
    answer "SSHD.$name" answers
  else
    answer "SSHD.$name" silent
    kill "$pid" 2>/dev/null || true
  fi
done
