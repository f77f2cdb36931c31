# Speaking with a machine's VMM, from the machine's folder. What is said is data: one line each, for Firecracker
# `METHOD PATH JSON`, for QEMU a command of QMP. It may be the guest's by now: of what it answers no more is read than any answer has,
# and for none is waited without end.
REPLY_MAX=65536 REPLY_SECONDS=180 MEMORY_SECONDS=3600

# What asks Firecracker's API, a line of its input each (`METHOD PATH JSON`), until one fails. Its output is what the last one was answered, and
# then the status; it ends with 7 where nobody listens yet. curl would load forty libraries for it.
# In: the seconds that an answer, and one about a memory, may take, and how long it may be.
# shellcheck disable=SC2016 # Perl's own
API_CALL='
use strict;
my ($usual, $memory, $most) = @ARGV;
my ($asked, $seconds, $answer) = (0, 0, "");
$SIG{PIPE} = "IGNORE";
$SIG{ALRM} = sub { print "no answer within $seconds s\n"; exit 28 };
sub fails { print "$_[0]: $!\n"; exit($asked ? 56 : 7) }
while (<STDIN>) {
    chomp;
    my ($method, $path, $body) = split / /, $_, 3;
    $body //= "";
    $seconds = $path =~ m{^/snapshot/} ? $memory : $usual;
    alarm $seconds;
    # AF_UNIX, SOCK_STREAM
    socket(my $vmm, 1, 1, 0) or fails("socket");
    connect($vmm, pack("S a108", 1, "run/out/api.sock")) or fails("run/out/api.sock");
    $asked = 1;
    my $request = "$method $path HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n";
    $request .= "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n" if $body ne "";
    $request .= "\r\n$body";
    while ($request ne "") { substr($request, 0, syswrite($vmm, $request) // fails($path), "") }
    my ($said, $length) = ("", undef);
    # Of one without end no more is read.
    until (defined $length && length $said >= $length || length $said >= $most) {
        sysread($vmm, $said, 8192, length $said) or fails($path);
        my $head = index $said, "\r\n\r\n";
        $length //= $head + 4 + ($said =~ /^content-length: *([0-9]{1,5})\r/im ? $1 : 0) if $head >= 0;
    }
    my ($head, $text) = split /\r\n\r\n/, $said, 2;
    $head =~ m{\AHTTP/1.1 ([0-9]{3})} or fails($path);
    $answer = "$text\n$1";
    last if $1 !~ /^2/;
}
print $answer'

# vmm_open KIND: opens the way to the VMM of a cell, and waits for one that is just starting. False when it ends meanwhile.
vmm_open() {
  local tries=0
  uptime
  VMM=$1 SAID=0 VMM_REPLY='' VMM_SINCE=$UPTIME
  if [[ $VMM == qemu ]]; then
    exec {QMP_OUT}<>run/qmp.out {QMP_IN}<>run/qmp.in
    # QEMU refuses it from the second time on.
    qemu_says '{"execute":"qmp_capabilities"}' || [[ $VMM_REPLY == *CommandNotFound* ]] || return 1
    qemu_says '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"events","state":true}]}}'
  else
    # On a busy host it takes longer, and who looks often takes time from it; to look for the process takes longer than all of this.
    until [[ -S run/out/api.sock ]]; do
      ((++tries % 16)) || vmm_may_come || return 1
      nap "0.0$((tries < 32 ? 1 : 3))"
    done
  fi
}

# vmm_may_come: whether an answer is worth waiting for. One that is just starting may not have said yet who it is.
vmm_may_come() {
  [[ ! -e run/exit ]] || return 1
  ! cell_vmm . || return 0
  [[ -n ${supervisor:-} ]] && kill -0 "$supervisor" 2>/dev/null && uptime && ((UPTIME - VMM_SINCE < 6000))
}

# vmm_says LINES: says them one after the other. False at the first that fails, and then VMM_FAULT has what was answered;
# VMM_REPLY has the last answer.
vmm_says() {
  local line
  if [[ $VMM == firecracker ]]; then
    firecracker_says "$1"
    return
  fi
  while IFS= read -r line; do
    [[ -z $line ]] || qemu_says "$line" || return 1
  done <<<"$1"
}

firecracker_says() {
  local code
  while true; do
    IFS= read -r -d '' -n "$REPLY_MAX" VMM_REPLY < <(exec perl -we "$API_CALL" "$REPLY_SECONDS" "$MEMORY_SECONDS" "$REPLY_MAX" <<<"$1" 2>&1) || true
    wait $! && break
    code=$? VMM_FAULT=${VMM_REPLY:0:500}
    # Of one that is just starting the socket is there a moment before it listens.
    ((code == 7)) && [[ -n ${supervisor:-} ]] && vmm_may_come || return 1
    nap 0.01
  done
  [[ $VMM_REPLY != *$'\n'2?? ]] || return 0
  VMM_FAULT=${VMM_REPLY%$'\n'*}
  VMM_FAULT=${VMM_FAULT#*'"fault_message":"'}
  VMM_FAULT=${VMM_FAULT%'"}'*}
  VMM_FAULT=${VMM_FAULT:0:500}
  return 1
}

# A migration is over only when its event says so.
qemu_says() {
  local id=$$-$((++SAID)) line part='' answered=no migrated=yes until=$((SECONDS + REPLY_SECONDS))
  [[ $1 != *'"execute":"migrate"'* && $1 != *'"execute":"migrate-incoming"'* ]] || migrated=no
  printf '%s\n' "${1%\}},\"id\":\"$id\"}" >&"$QMP_IN"
  [[ $migrated == yes ]] || until=$((SECONDS + MEMORY_SECONDS))
  until [[ $answered == yes && $migrated == yes ]]; do
    VMM_FAULT='QEMU does not answer'
    ((SECONDS < until)) || return 1
    if ! IFS= read -r -n "$REPLY_MAX" -t 0.5 -u "$QMP_OUT" line; then
      # The rest of the line is still to come.
      part=${part:0:REPLY_MAX}$line VMM_FAULT='QEMU ended'
      vmm_may_come || return 1
      continue
    fi
    line=$part$line part=''
    case $line in
      *"\"id\": \"$id\""*'"error"'* | *'"error"'*"\"id\": \"$id\""*)
        VMM_REPLY=$line VMM_FAULT=${line#*'"desc": "'}
        VMM_FAULT=${VMM_FAULT%%'"'*}
        VMM_FAULT=${VMM_FAULT:0:500}
        return 1
        ;;
      *"\"id\": \"$id\""*) VMM_REPLY=$line answered=yes ;;
      *'"MIGRATION"'*'"completed"'*) migrated=yes ;;
      *'"MIGRATION"'*'"failed"'* | *'"MIGRATION"'*'"cancelled"'*)
        VMM_FAULT='QEMU could not carry the memory over'
        return 1
        ;;
    esac
  done
}

# vmm_version: answers its version, by its own word.
vmm_version() {
  if [[ $VMM == qemu ]]; then
    qemu_says '{"execute":"query-version"}' &&
      [[ $VMM_REPLY =~ \"micro\":\ ([0-9]+),\ \"minor\":\ ([0-9]+),\ \"major\":\ ([0-9]+) ]] &&
      echo "${BASH_REMATCH[3]}.${BASH_REMATCH[2]}.${BASH_REMATCH[1]}"
  else
    firecracker_says 'GET /version' && [[ $VMM_REPLY =~ \"firecracker_version\":\"([0-9A-Za-z.+-]{1,64})\" ]] &&
      echo "${BASH_REMATCH[1]}"
  fi
}

# disk_identity FILE: what tells a disk that nobody wrote to from another one: size, time of the last write, its first 64 KiB
# (with the file system's own id).
disk_identity() {
  local stamp sum
  stamp=$(stat -c '%s %.9Y' "$1")
  sum=$(head -c 65536 "$1" | sha256sum)
  printf '%s %s\n' "$stamp" "${sum%% *}"
}

# frozen_identity DIR: the files of a memory, as they were written.
frozen_identity() {
  (cd "$1" && shopt -s nullglob && stat -c '%n %s %.9Y' memory state* | tr '\n' ' ')
}
