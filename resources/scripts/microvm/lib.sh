# What several scripts about machines need.

# answer_keys DIR NAME: what a machine's seed is made of; each on one line, tabs for line ends.
answer_keys() {
  local fact file text
  for fact in HOST_KEY:host_ed25519 HOST_KEY_PUBLIC:host_ed25519.pub AUTHORIZED:id_ed25519.pub; do
    file=$1/keys/${fact#*:} text=
    { IFS= read -r -d '' text <"$file"; } 2>/dev/null || true
    text=${text%$'\n'}
    [[ -z $text ]] || answer "${fact%:*}.$2" "${text//$'\n'/$'\t'}"
  done
}

# sshd_was_up DIR: whether the guest's init told on the console that its SSH server listens. One that goes on from another machine's
# memory, and has not heard yet who it is, is nobody's to enter.
sshd_was_up() {
  [[ ! -d $1/run/origin ]] || return 1
  [[ -e $1/run/up ]] || grep -a -q -m 1 '^mvm: [0-9.]* sshd' "$1/console.log" 2>/dev/null
}

# For bash in a cell: true when the guest's kernel takes a connection on its SSH port.
GUEST_CONNECTS='exec 3<>/dev/tcp/172.16.0.2/22'

# guest_connects PID: whether it does within two seconds.
guest_connects() {
  cell_enter "$1" timeout 2 bash -c "$GUEST_CONNECTS" 2>/dev/null
}

# console_tail DIR: the last lines of the console, as answers. However long a line is that the guest writes, little of it is read.
console_tail() {
  local line
  while IFS= read -r line; do
    answer CONSOLE "$line"
  done < <(tail -c 65536 "$1/console.log" 2>/dev/null | tr -cd '[:print:]\n' | tail -n 15 | cut -c -500 || true)
}

# console_says PATTERN: the first in the console, in this folder, that it matches, without what steers a terminal; nothing where none
# does.
console_says() {
  grep -a -m 1 -o -e "$1" console.log | head -n 1 | head -c 500 | tr -cd '[:print:]' || true
}

# answer_phases KEY: what the guest's console, in this folder, tells of its start (SECONDS WHAT). Whatever is no line of mvm's own is
# shown, and not believed.
answer_phases() {
  local seconds phase
  while read -r _ seconds phase; do
    answer "$1" "$seconds $phase"
  done < <(grep -a -m 100 -o '^mvm: [0-9].\{0,500\}' console.log | tr -cd '[:print:]\n' || true)
}

# make_keys DIR NAME KEYS: a machine's own: with which it is entered, and by which it is known. KEYS is the line that mvm made
# (src/microvm/keys.rs), whose last word tells that it came whole. False where it did not, or they cannot be written.
make_keys() {
  local key_words file
  IFS='|' read -r -a key_words <<<"$3"
  [[ ${#key_words[@]} == 5 && ${key_words[4]} == end ]] || return 1
  [[ -d $1 ]] || mkdir -p "$1" || return 1
  for file in id_ed25519{,.pub} host_ed25519{,.pub}; do
    printf '%s\n' "${key_words[0]//$'\t'/$'\n'}" >"$1/$file" || return 1
    key_words=("${key_words[@]:1}")
  done
  know_host "$1" "$2"
}

# know_host DIR NAME: by what the keys in DIR are known.
know_host() {
  local kind key
  read -r kind key _ <"$1/host_ed25519.pub"
  printf 'mvm-%s %s %s\n' "$2" "$kind" "$key" >"$1/known_hosts"
}

# spare_name: what is made ahead is called in this boot of the host, in SPARE. Of that of another one files may be lost.
spare_name() {
  read -r SPARE </proc/sys/kernel/random/boot_id
  SPARE=spare-$SPARE
}

# make_run DIR…: what a cell needs in the run/ of each before it begins.
make_run() {
  local dir folders=() pipes=()
  for dir; do
    folders+=("$dir"/run/{out,ports,net})
    pipes+=("$dir"/run/{qmp.in,qmp.out,console})
  done
  mkdir -p "${folders[@]}" && mkfifo "${pipes[@]}"
}

# make_spare GOLDEN KEYS: makes ahead what the next machine that goes on from the golden memory in that folder begins as: keys, its memory and
# its disk, and what its cell needs.
make_spare() {
  rm -rf "$1"/spare*
  spare_name
  if make_keys "$1/spare/keys" golden "$2" && go_on_from "$1" "$1/spare" && make_run "$1/spare" && mkdir "$1/spare/run/thawed" &&
    cp -r "$1/frozen/origin" "$1/spare/run/origin" && mv -T "$1/spare" "$1/$SPARE"; then return 0; fi
  rm -rf "$1"/spare*
  return 1
}

# renew_spare GOLDEN KEYS: the same where it was taken. Two makers of the same, or one beside whoever makes a golden memory: the second leaves it.
renew_spare() (
  spare_name
  [[ ! -e $1/$SPARE ]] && exec 8>"$MVM_HOME/locks/.golden" && flock --nonblock 8 || exit 0
  [[ ! -e $1/disk.img ]] || make_spare "$1" "$2"
)

# take_spare GOLDEN DIR: has that as DIR. False where there is none: of two only one gets it.
take_spare() {
  spare_name
  [[ -e $1/$SPARE ]] && mv -T "$1/$SPARE" "$2" 2>/dev/null
}

# make_disk FILE: an empty disk of DISK_BYTES.
make_disk() {
  local options=nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0
  # The journal is most of what an empty disk takes: the smallest that serves any size of file system. To grow while it is mounted
  # the journal has to take the reserved descriptors of groups at once: those for 1 TiB, rather than for a thousand times its size.
  ((DISK_BYTES >= 1 << 40)) || options+=,resize=$(((1 << 40) / 4096))
  mke2fs -q -F -t ext4 -b 4096 -m 0 -J size=4 -E "$options" "$1" $((DISK_BYTES / 1024))k ||
    die no-space "cannot make the disk $1"
}

# forget_machine_id DISK: no two machines have the same; the next boot makes one. False where the disk is damaged.
forget_machine_id() {
  # The disk's journal comes first; 1 is a file system that was mended.
  e2fsck -fp "$1" || (($? == 1)) || return 1
  debugfs -w -R 'rm /upper/etc/machine-id' "$1" 2>/dev/null
}

# copy_sparse FROM TO: a copy with the same times; where the file system can, one that shares what neither changes, else of what is
# written alone.
copy_sparse() { cp -r --preserve=mode,timestamps --reflink=auto --sparse=always "$1" "$2"; }

# copy_disk FROM TO: such a copy of a disk, which has holes where nothing was written. Zeroes are not searched for: that takes longer than
# to copy them.
copy_disk() { cp --preserve=mode,timestamps --reflink=auto --sparse=auto "$1" "$2"; }

# shares_blocks: whether such copies take no space in this folder's file system.
shares_blocks() {
  local shares=no
  printf x >.probe || return 1
  ! cp --reflink=always .probe .probe.copy 2>/dev/null || shares=yes
  rm -f .probe .probe.copy
  [[ $shares == yes ]]
}

# room_for BYTES: whether there is, and 64 MiB more; what is free is in FREE.
room_for() {
  local blocks size
  read -r blocks size <<<"$(stat -f -c '%a %S' .)"
  FREE=$((blocks * size))
  ((FREE >= $1 + (64 << 20)))
}

# origin_keys FROM TO: how a machine that goes on from a memory of the machine in the folder FROM is entered until it is itself.
origin_keys() {
  local kind key
  mkdir "$2"
  cp "$1/keys/id_ed25519" "$2/id_ed25519"
  read -r kind key _ <"$1/keys/host_ed25519.pub"
  printf 'mvm-* %s %s\n' "$kind" "$key" >"$2/known_hosts"
}

# go_on_from FROM TO [FOLDER]: a copy of another machine's memory and disk in FROM, and of a folder beside them, for a new one in the folder TO.
# It takes little: what is only ever read are the files themselves (start.sh lets go of them).
go_on_from() {
  cp -rl "$1/frozen" "${@:3}" "$2" && copy_disk "$1/disk.img" "$2/disk.img"
}

# golden_whole KEY: whether the golden memory of that key is there, and as it was written. With one fork: it is asked at each run. (The
# digest in a disk's identity tells of a disk that came back from a copy; nobody restores these.)
golden_whole() {
  local golden=$MVM_HOME/golden/$1 facts line files='' disk=''
  { IFS= read -r -d '' facts <"$golden/frozen/meta"; } 2>/dev/null || [[ -n ${facts:-} ]] || return 1
  while read -r line; do
    case $line in
      disk.img\ *) disk=${line#* } ;;
      *) files+="${line#frozen/} " ;;
    esac
  done < <(cd "$golden" && exec stat -c '%n %s %.9Y' frozen/memory frozen/state* disk.img 2>/dev/null)
  [[ -n $disk && $'\n'$facts == *$'\n'"FILES=$files"$'\n'* && $'\n'$facts == *$'\n'"DISK=$disk "* ]]
}

# The connection that sessions share, in the machine's folder. One that breaks at this moment must not be replaced by one outside the
# cell, to who knows whom.
SHARED_CONNECTION=(ssh -F none -S run/ssh -o LogLevel=ERROR -o ControlMaster=no -o 'ProxyCommand=exit 255')

# ask_guest COMMAND…: in ASK, what asks the guest of a machine that runs: COMMAND in its cell, or its last word alone by the connection
# that is there, where one is, since another one takes longer. In the machine's folder; NAME is the machine's.
ask_guest() {
  ASK=(nsenter -t "$VMM_PID" -U -n --preserve-credentials "$@")
  ! master_there || ASK=("${SHARED_CONNECTION[@]}" "mvm-$NAME" "${*: -1}")
}

# guest_syncs SECONDS COMMAND…: lets that guest write out its files, by COMMAND, as ask_guest has it.
guest_syncs() {
  ask_guest "${@:2}"
  timeout "$1" "${ASK[@]}" </dev/null
}

# finish_restore: what a restored snapshot has left to do. From the moment that the folder `restore` is there, what it holds is the
# machine's; a restore that was killed is brought to its end by whoever comes next. And what others left that were killed, goes. In the
# machine's folder, under its lock.
finish_restore() {
  local left
  for left in restore.new snapshots/.new snapshots/.gone disk.img.new vm.json.new keys/known_hosts.new; do
    [[ ! -e $left ]] || rm -rf "$left"
  done
  [[ -d restore ]] || return 0
  cell_end .
  if [[ -e restore/disk.img ]]; then
    # A memory belongs to its disk.
    rm -rf frozen frozen.new disk.grows
    mv restore/disk.img disk.img
    checkpoint restore.disk
  fi
  [[ ! -d restore/frozen ]] || mv -T restore/frozen frozen
  checkpoint restore.memory
  sync .
  rm -rf restore
}

# write_spec TEXT: the machine's vm.json anew, in the folder that this script is in, unless that says so already.
write_spec() {
  local now=''
  { IFS= read -r now <vm.json; } 2>/dev/null || true
  [[ $now != "$1" ]] || return 0
  printf '%s\n' "$1" >vm.json.new || die no-space "cannot write $PWD/vm.json"
  sync vm.json.new
  checkpoint spec.written
  mv vm.json.new vm.json
}

# refuse_stale BEFORE: ends the script, with nothing done, where the machine's vm.json is not the one any more that this was decided on;
# empty where that does not matter. In the machine's folder, under its lock.
refuse_stale() {
  local now='' number='"version":[0-9],'
  IFS= read -r now <vm.json || true
  # Of an older mvm's file the number alone is another.
  [[ -n $1 && ${1/$number/} != "${now/$number/}" ]] || return 0
  answer STALE yes
  cat >/dev/null
  exit 0
}

# want_ports: writes for the supervisor which ports are to be open. In: PORTS, a line for each (see cell.sh). Runs in the
# machine's folder, as those below do.
want_ports() {
  printf '%s\n' "${PORTS:-}" >run/ports/new
  mv run/ports/new run/ports/wanted
}

# check_resolver: ends the script where this dnsmasq cannot do what RESOLVER wants of it.
check_resolver() {
  [[ ${RESOLVER:-} != *nftset=* || $(dnsmasq --version 2>/dev/null) == *' nftset '* ]] ||
    die old-resolver 'dnsmasq here cannot tell the rules which addresses a name has (nftset)'
}

# want_rules: writes for the cell what passes in it. In: RULES. In the machine's folder, as is want_resolver.
want_rules() {
  # Another number than the one before; 0 and 1 mean something else.
  printf 'define generation = %s\n%s\n' $(((RANDOM << 15 | RANDOM) + 2)) "$RULES" >run/net/rules
}

# want_resolver: writes for the cell's supervisor the configuration of the resolver. In: RESOLVER, empty for none.
want_resolver() {
  printf '%s' "${RESOLVER:-}" >run/net/resolver
  : >run/net/changed
}

# ports_settled: waits until the supervisor has seen to the ports, and each is open or has said why not.
ports_settled() {
  local id tries log
  for ((tries = 0; tries < 1000; tries++)); do
    log=said
    while read -r id _; do
      [[ -z $id || -s run/ports/$id.log || ! -e run/ports/$id ]] || log=silent
    done <<<"${PORTS:-}"
    [[ -e run/ports/wanted || $log == silent ]] || return 0
    cell_alive . || return 0
    nap 0.01
  done
}

# answer_ports KEY [DIR]: for each port of a machine its id, and `open` or why it is not.
answer_ports() {
  local file id said pid started
  for file in "${2:-.}"/run/ports/*.log; do
    [[ -e $file ]] || continue
    id=${file##*/} id=${id%.log} said='' pid=''
    { IFS= read -r said <"$file"; } 2>/dev/null || true
    { read -r pid started _ <"${file%.log}"; } 2>/dev/null || true
    if [[ $said == listening && -n $pid ]] && same_process "$pid" "$started"; then
      said=open
    elif [[ $said == listening ]]; then
      said='its forwarder ended'
    fi
    answer "$1" "$id ${said:-nothing was heard of it}"
  done
}

# vmm_log DIR LINES: the last lines that the VMM itself said. Firecracker complains of each guest that asks for the time
# of day by ports which it does not have.
vmm_log() {
  { grep -a -v 'bus_error: MissingAddressRange' "$1/vmm.log" || true; } 2>/dev/null | tail -n "$2" | tr -cd '[:print:]\n'
}

# master_there: whether the connection that sessions share is there. One that is stopped will never answer, and is ended.
master_there() {
  local pid started
  { read -r pid started _ <run/master; } 2>/dev/null && same_process "$pid" "$started" || return 1
  if [[ $STATE == [Tt] ]]; then
    kill -KILL "$pid"
    return 1
  fi
  [[ -S run/ssh ]]
}

# master_connects SSH…: has the machine's supervisor open that connection, so that it ends with the cell, unless it is there.
# In the machine's folder; NAME is the machine's.
master_connects() {
  local tries ended started known=" "
  ! master_there || return 0
  cell_alive . && cell_vmm . && { [[ -d run/origin ]] || sshd_was_up .; } || return 1
  printf '%s\0' "$@" >"run/master.$$" && mv "run/master.$$" run/master.argv || return 1
  for ended in run/master run/master.ended; do
    ! { read -r ended _ <"$ended"; } 2>/dev/null || known+="$ended "
  done
  for ((tries = 0; tries < 4000; tries++)); do
    # Asked again now and then: the connection before may just have been ending.
    ((tries % 50 > 0)) || kill -USR1 "$CELL_PID" 2>/dev/null || return 1
    # One that hangs half-made (ssh waits without end for the guest's keys) is replaced by another.
    if ((tries == 1500)) && { read -r ended started _ <run/master; } 2>/dev/null && same_process "$ended" "$started"; then
      known+="$ended "
      kill -KILL "$ended" 2>/dev/null || true
    fi
    nap 0.01
    ! master_there || return 0
    # Another one than those that were there before came, and went.
    if { read -r ended _ <run/master.ended; } 2>/dev/null && [[ $known != *" $ended "* ]]; then
      cat run/master.log >&2
      return 1
    fi
  done
  cat run/master.log >&2
  echo "mvm: the machine lets nobody connect" >&2
  return 1
}
