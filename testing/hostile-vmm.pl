# A program in the place of the VMM, which tries to reach what is not its machine's, and says what it reached. The test puts a
# line before this that sets %target: what there is to be reached.
use strict;
use warnings;
use Socket;


if (@ARGV && $ARGV[0] eq '--version') {
    print "QEMU emulator version 9.9.9\n";
    exit 0;
}
$| = 1;
sub reached { print "reached: @_\n" }
sub quietly { system("$_[0] >/dev/null 2>&1") == 0 }

# Files: of the host, of the user, of other machines, and of its own machine what is not for a VMM.
for my $path (@{ $target{secrets} }, '/etc/passwd', '/etc/hostname', '/proc/self/status', '/proc/1/environ', '/sys/kernel', '/root', '/var', '/run') {
    if (-d $path) { opendir(my $dir, $path) && reached("read $path") }
    elsif (open(my $file, '<', $path)) { reached("read $path") }
}
for my $path (@{ $target{read_only} }) {
    if (open(my $file, '+<', $path)) { reached("write $path") }
}
for my $folder ('/', '/usr', '/usr/bin', '/dev', '/tmp', '.', 'run', "../../images/$target{image}", @{ $target{folders} }) {
    my $path = "$folder/mvm-hostile";
    if (open(my $file, '>', $path)) { reached("make $path"); unlink $path }
    if (symlink('/etc/shadow', $path)) { reached("link $path"); unlink $path }
}
for my $device ('/dev/mem', '/dev/vda', '/dev/sda', '/dev/kmsg', '/dev/fuse', '/dev/loop0', '/dev/tty') {
    if (open(my $file, '<', $device)) { reached("device $device") }
}

# Processes: by number, and one that is known to be its user's.
for my $pid (2 .. 70000) {
    if ($pid != $$ && kill(0, $pid)) { reached("process $pid"); last }
}
reached("signal $target{victim}") if kill('CONT', $target{victim});
# 101 is ptrace on x86-64, 16 PTRACE_ATTACH.
reached("ptrace $target{victim}") if `uname -m` =~ /x86_64/ && syscall(101, 16, $target{victim} + 0, 0, 0) == 0;

# Sockets: an abstract one, one in the file system, the host's loopback, and another host.
sub connects {
    my ($family, $address) = @_;
    socket(my $socket, $family, SOCK_STREAM, 0) or return 0;
    local $SIG{ALRM} = sub { };
    alarm 2;
    my $so = connect($socket, $address);
    alarm 0;
    return $so;
}
reached('an abstract socket') if connects(PF_UNIX, pack_sockaddr_un("\0$target{abstract}"));
reached("the socket $target{socket}") if connects(PF_UNIX, pack_sockaddr_un($target{socket}));
for my $address ('127.0.0.1', '172.16.0.1', @{ $target{addresses} }) {
    reached("the port of $address") if connects(PF_INET, pack_sockaddr_in($target{port}, inet_aton($address)));
}

# The host's resolver, which is for the cell's own alone: from its port, and from any other.
for my $port (54, 1023, 0) {
    socket(my $socket, PF_INET, SOCK_DGRAM, 0) or next;
    next if $port && !bind($socket, pack_sockaddr_in($port, INADDR_ANY));
    reached("the port $port") if $port;
    my $query = pack('n6', 1, 0x100, 1, 0, 0, 0) . "\7example\3org\0\0\1\0\1";
    send($socket, $query, 0, pack_sockaddr_in(53, inet_aton('169.254.1.2'))) or next;
    my $ready = '';
    vec($ready, fileno $socket, 1) = 1;
    reached("the host's resolver") if select($ready, undef, undef, 1) > 0 && recv($socket, my $answer, 512, 0);
}

# Rights: namespaces of its own, mounts, devices, the network's settings.
for my $line (
    'unshare --user true', 'unshare --user --map-root-user --mount true', 'unshare --mount true', 'unshare --net true',
    'mount -t tmpfs none /usr', 'mount -o remount,rw /usr', 'umount -l /usr', 'chroot / true',
    'mknod run/out/device b 7 0', 'hostname hostile', 'ip link set lo down', 'ip tuntap add dev tap9 mode tap', 'nft flush ruleset',
    'ulimit -n 100000', 'nsenter -t 1 -n true', 'setpriv --ambient-caps +net_admin --inh-caps +net_admin true',
) {
    reached("`$line`") if quietly("{ $line; }");
}

# What is its own it has.
for my $path ('disk.img', 'vmm.log', 'run/out/new', '/dev/null') {
    print "own: $path\n" if open(my $file, '>>', $path);
}
print "own: image\n" if open(my $base, '<', "../../images/$target{image}/base");
print "through\n";
