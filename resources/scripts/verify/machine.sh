# verify/machine: evidence of how a machine that runs is kept apart: of its VMM from /proc, of its files, sockets and image, and from
# its guest what that reaches. Reads only; what it asks the guest to try opens connections and sends nothing of anybody's.
# In: NAME, MASTER (what opens a connection), LISTENER (a Perl program that is there to be reached on loopback), FAR (addresses and ports
#     that no guest is to reach, a line each).
# Out: RUNS yes|no, and of one that runs:
#      NS (KIND own|host ID); STATUS and LIMIT lines of /proc/PID; SCOPE (FILE LIMIT, of its cgroup where it has one of its own); MOUNT (OPTIONS TARGET, as the VMM sees them); OPEN (files and folders
#      that others may reach); LISTEN (PROTOCOL ADDRESS of /proc/net, and whose); FILE (NAME SHA256) of the image; VMM (PATH SHA256),
#      RECORDED (its digest when it was installed), PACKAGE (NAME VERSION unchanged|changed); LOOPBACK (what the host's own listener says
#      on the host), TRIED (ADDRESS PORT, and `exit 1` or what was heard) from the guest, or UNREACHABLE yes where nobody can ask it; RULE and
#      REFUSED (the cell's chain `judge` and its set `refused`, as nft lists them); SECRET (its names), LEAK (where a value of one was found).
: "${NAME:?}" "${MASTER:?}" "${LISTENER:?}" "${FAR:?}"
shopt -s nullglob
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
if ! cell_alive . || ! cell_vmm . || ! sshd_was_up .; then
  answer RUNS no
  exit 0
fi
answer RUNS yes

for kind in user mnt net pid ipc uts; do
  own=$(readlink "/proc/$VMM_PID/ns/$kind") || own=unreadable
  whose=own
  [[ $own != "$(readlink "/proc/self/ns/$kind")" ]] || whose=host
  answer NS "$kind $whose $own"
done
proc_lines "/proc/$VMM_PID/status" || LINES=()
for line in "${LINES[@]}"; do
  case $line in
    Cap* | NoNewPrivs:* | Seccomp:*) answer STATUS "${line//$'\t'/ }" ;;
  esac
done
# Before 5.14 the kernel counts a user's processes, not those of the namespace, so there they are not limited (cell/inside).
IFS=. read -r kernel minor _ </proc/sys/kernel/osrelease
kernel=$((kernel * 100 + ${minor%%[!0-9]*}))
proc_lines "/proc/$VMM_PID/limits" || LINES=()
for line in "${LINES[@]}"; do
  case $line in
    'Max processes'*) ((kernel < 514)) || answer LIMIT "$line" ;;
    'Max address space'* | 'Max open files'* | 'Max core file size'*) answer LIMIT "$line" ;;
  esac
done
# The group that systemd limits, where it made one (cell/cell, `limit`).
proc_lines "/proc/$VMM_PID/cgroup" || LINES=()
for line in "${LINES[@]}"; do
  [[ $line == 0::*/mvm-"$NAME"-*.scope ]] || continue
  for file in memory.max pids.max; do
    { read -r limit <"/sys/fs/cgroup${line#0::}/$file"; } 2>/dev/null && answer SCOPE "$file $limit"
  done
done
proc_lines "/proc/$VMM_PID/mountinfo" || LINES=()
for line in "${LINES[@]}"; do
  read -r _ _ _ _ target options _ <<<"$line"
  answer MOUNT "${options%%,*} $target"
done

# Sockets have the mode of their folder's choice, and links none.
while IFS= read -r line; do answer OPEN "$line"; done < <(find . -perm /077 ! -type l -printf '%m %p\n')

# The cell's processes, and which of their sockets the host has.
pids=()
descend() {
  local pid children=''
  pids+=("$1")
  { read -r children <"/proc/$1/task/$1/children"; } 2>/dev/null || true
  for pid in $children; do descend "$pid"; done
}
descend "$CELL_PID"
declare -A owners=()
for pid in "${pids[@]}"; do
  { IFS= read -r comm <"/proc/$pid/comm"; } 2>/dev/null || continue
  for file in /proc/"$pid"/fd/*; do
    link=$(readlink "$file" 2>/dev/null) || continue
    [[ $link != socket:* ]] || owners[${link//[!0-9]/}]=$comm
  done
done
for protocol in tcp tcp6 udp udp6; do
  proc_lines "/proc/net/$protocol" || continue
  for line in "${LINES[@]}"; do
    read -r _ address _ state _ _ _ _ _ inode _ <<<"$line"
    [[ -n ${owners[$inode]:-} ]] || continue
    # Those of pasta without a peer are of the guest's own datagrams.
    [[ $state == 0A || ($state == 07 && ${owners[$inode]} != pasta*) ]] || continue
    answer LISTEN "$protocol $address ${owners[$inode]}"
  done
done

image=''
[[ $(<run/vm.json) =~ \"image_id\":\"([0-9a-z]+)\" ]] && image=${BASH_REMATCH[1]}
for file in "$MVM_HOME/images/$image"/{kernel,base,initrd,tools}; do
  [[ -e $file ]] || continue
  sha256 "$file"
  answer FILE "${file##*/} $SHA256"
done
{ IFS= read -r program <run/argv; } 2>/dev/null || program=$(readlink "/proc/$VMM_PID/exe") || true
# The very file that runs, whatever is in its place by now.
sha256 "/proc/$VMM_PID/exe"
answer VMM "$program $SHA256"
{ read -r recorded <"$MVM_HOME/bin/.${program##*/}.sha256"; } 2>/dev/null && answer RECORDED "$recorded"
if hash dpkg 2>/dev/null && package=$(dpkg -S "$program" 2>/dev/null); then
  package=${package%%:*}
  said=$(dpkg --verify "$package" 2>/dev/null) || true
  version=$(dpkg-query -W -f '${Version}' "$package")
  changed=unchanged
  [[ $said != *" $program"* ]] || changed=changed
  answer PACKAGE "$package $version $changed"
fi

# A service of the host's on loopback, which answers whoever comes.
coproc exec perl -e "$LISTENER"
read -r -u "${COPROC[0]}" port
exec 5<>"/dev/tcp/127.0.0.1/$port" && read -r -t 5 -u 5 word && answer LOOPBACK "$port $word"
exec 5>&-
gateway=$(cell_enter "$VMM_PID" ip -4 route show default)
[[ $gateway =~ via\ ([0-9.]+) ]] && gateway=${BASH_REMATCH[1]} || gateway=''
mapfile -t master <<<"$MASTER"
if ! master_connects "${master[@]}" 2>/dev/null; then
  answer UNREACHABLE yes
  kill "$COPROC_PID" 2>/dev/null || true
  exit 0
fi
ask=(ssh -F none -S run/ssh -o LogLevel=ERROR -o ControlMaster=no -o 'ProxyCommand=exit 255' -T "mvm-$NAME")
# What is not there, or does not answer, ends with 1; a connection that is made says otherwise.
# shellcheck disable=SC2016 # the guest's own
try='N=/run/mvm/busybox; while read -r A P; do
  (W=$({ printf "GET / HTTP/1.0\r\n\r\n" | $N timeout 5 $N nc -w 3 "$A" "$P" 2>/dev/null; echo "exit $?"; } | $N head -n 1); echo "$A $P $W") &
done; wait'
# From the guest's side, the host could be any of these.
while IFS= read -r line; do
  answer TRIED "${line//[^[:print:]]/}"
done < <({
  for address in 172.16.0.1 169.254.1.1 $gateway; do printf '%s %s\n' "$address" "$port"; done
  printf '%s\n' "$FAR"
} | "${ask[@]}" "$try")
kill "$COPROC_PID" 2>/dev/null || true
# What the cell itself has to say of it.
while IFS= read -r line; do answer RULE "$line"; done < <(cell_enter "$VMM_PID" nft list chain inet mvm judge)
while IFS= read -r line; do answer REFUSED "$line"; done < <(cell_enter "$VMM_PID" nft list set inet mvm refused | grep -o -E '[0-9.]+ \. tcp \. [0-9]+')

# Secrets are compared in this shell's memory, and named only.
held=$("${ask[@]}" 'ls /run/secrets 2>/dev/null' </dev/null) || held=''
if [[ -n $held ]]; then
  while IFS= read -r line; do answer SECRET "$line"; done <<<"$held"
  values=$("${ask[@]}" 'cat /run/secrets/*' </dev/null | tr -d '\0')
  # Lines of a few letters are found in anything.
  patterns=$(grep -E '^.{6,}$' <<<"$values") || patterns=''
  if [[ -n $patterns ]]; then
    while IFS= read -r line; do answer LEAK "$line"; done < <(
      grep -l -a -F -f <(printf '%s\n' "$patterns") vm.json ./*.log run/vm.json run/vmm.json run/*.log frozen/meta \
        snapshots/*/meta snapshots/*/vm.json snapshots/*/frozen/meta /proc/[0-9]*/cmdline 2>/dev/null || true
    )
  fi
fi
