#!/usr/bin/perl -w
# first: tells a guest that goes on from another one's memory who it is, and runs its first command, by what waits for that in it (guest/first.pl). One
# program, in Perl: what enter.sh starts before it is through takes as long as all of this.
# In: NAME, LINE (the command for the guest's shell; empty for none: then whoever starts this has the machine's lock), PORT, TERMINAL (yes|no: whether it is to have one), PASSES (yes|no: whether nobody needs the
#     machine when that has ended).
# Ends as the command does; with 253 where nothing was run (then there is no run/began), with 255 where the guest went away.
use strict;

# Linux' own numbers: to load the modules that know them, or warnings and constant, would take longer than all else here.
sub AF_INET() { 2 } sub SOCK_STREAM() { 1 } sub SOCK_NONBLOCK() { 2048 } sub SOL_SOCKET() { 1 } sub SO_ERROR() { 4 }
sub IPPROTO_TCP() { 6 } sub TCP_NODELAY() { 1 }
sub EINTR() { 4 } sub EAGAIN() { 11 } sub EINPROGRESS() { 115 } sub PIDFD_OPEN() { 434 } sub TIOCGWINSZ() { 0x5413 } sub LOCK_EX() { 2 }
sub PR_SET_PDEATHSIG() { 1 } sub SIGTERM() { 15 } sub CLONE_NEWUSER() { 0x10000000 } sub CLONE_NEWNET() { 0x40000000 }
sub EM_AARCH64() { 183 } sub NOT_RUN() { 253 } sub GONE() { 255 } sub BLOCK() { 65536 }
my ($name, $line, $port, $terminal) = @ENV{qw(NAME LINE PORT TERMINAL)};
my ($code, $before) = (NOT_RUN, undef);

# leave CODE: the terminal is as it was.
sub leave {
    $before->setattr(0, POSIX::TCSANOW()) if $before;
    exit shift;
}
$SIG{PIPE} = 'IGNORE';
$SIG{$_} = sub { leave($code) } for qw(ALRM HUP INT TERM);
# A guest that hangs is not waited for without end.
alarm 60;
# The program's own file tells what it was built for (elf.h's e_machine), and so the numbers of system calls.
my ($clock_gettime, $prctl, $setns) = unpack('x18 v', content('/proc/self/exe', 20)) == EM_AARCH64 ? (113, 167, 268) : (228, 157, 308);
# However mvm ends, this ends with it.
syscall($prctl, PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
my $home = $ENV{MVM_HOME} || ($ENV{XDG_DATA_HOME} || "$ENV{HOME}/.local/share") . '/mvm';
chdir "$home/machines/$name" or leave(GONE);
# Nobody else is to tell it meanwhile who it is.
my $lock;
$line eq '' || open($lock, '>>', "$home/locks/$name") && flock($lock, LOCK_EX) or leave($code);
-d 'run/origin' or leave($code);

# process FILE: that very process whose PID, start time and boot id of the host a file of the cell's has; nothing where it is gone.
sub process {
    my ($pid, $started, $boot) = split ' ', content(shift, 100);
    my @fields = -e "/proc/$pid" ? split ' ', content("/proc/$pid/stat", 4096) =~ s/.*\)//sr : return;
    return $fields[19] == $started && "$boot\n" eq content('/proc/sys/kernel/random/boot_id', 100) ? $pid : undef;
}

# The cell, which is that of its VMM.
my $vmm = process('run/vmm') // leave($code);

# The VMM's end, as something to wait for: a guest that is killed closes no connection.
my $number = syscall(PIDFD_OPEN, $vmm + 0, 0);
$number >= 0 or leave($code);
open(my $end, '<&=', $number) or leave($code);
my %spaces;
for my $kind (qw(user net)) { open($spaces{$kind}, '<', "/proc/$vmm/ns/$kind") or leave($code) }
syscall($setns, fileno $spaces{user}, CLONE_NEWUSER) == 0 && syscall($setns, fileno $spaces{net}, CLONE_NEWNET) == 0 or leave($code);

# ready READ, WRITE: those streams of both lists that can be read or written now, or are at their end; waits for one.
sub ready {
    my ($read, $write) = @_;
    my ($reads, $writes) = ('', '');
    vec($reads, fileno $_, 1) = 1 for @$read;
    vec($writes, fileno $_, 1) = 1 for @$write;
    return () if select($reads, $writes, undef, undef) < 0;
    return (grep({ vec($reads, fileno $_, 1) } @$read), grep({ vec($writes, fileno $_, 1) } @$write));
}

# waits READ, WRITE: until one of them is ready; it all ends where the VMM does.
sub waits {
    my @now;
    do { @now = ready([@{ $_[0] }, $end], $_[1]) } until @now;
    leave($code) if grep { $_ == $end } @now;
}

sub comes {
    socket(my $connection, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) or leave($code);
    setsockopt($connection, IPPROTO_TCP, TCP_NODELAY, 1);
    connect($connection, pack('S n C4 x8', AF_INET, $port, 172, 16, 0, 2)) || $! == EINPROGRESS or leave($code);
    waits([], [$connection]);
    $! = unpack('i', getsockopt($connection, SOL_SOCKET, SO_ERROR)) and leave($code);
    return $connection;
}

# again: whether what failed was only too early.
sub again { return $! == EAGAIN || $! == EINTR }

# content PATH, LENGTH: what a file begins with.
sub content {
    my ($path, $length) = @_;
    my ($file, $bytes);
    open($file, '<:raw', $path) && defined read($file, $bytes, $length) or leave($code);
    return $bytes;
}

# all STREAM, BYTES: writes them; false when nobody reads there.
sub all {
    my ($stream, $bytes) = @_;
    while (length $bytes) {
        my $written = syswrite($stream, $bytes);
        if (defined $written) { substr($bytes, 0, $written) = '' }
        # Ours is made so; or somebody else has it open as well, and made it so.
        elsif (again()) { ready([], [$stream]) }
        else { return 0 }
    }
    return 1;
}

# says TALK: its next line.
my $said = '';
sub says {
    my ($talk) = @_;
    until ($said =~ /\n/) {
        waits([$talk], []);
        my $count = sysread($talk, $said, 4096, length $said);
        # No line of a guest's that is as it should be has no end.
        leave($code) if length $said > BLOCK || (defined $count ? !$count : !again());
    }
    (my $line, $said) = split /\n/, $said, 2;
    return $line;
}

sub size {
    my $size = pack('S4');
    return ioctl(STDIN, TIOCGWINSZ, $size) ? join(' ', unpack('S4', $size)) : '24 80 0 0';
}

# One that passes nobody else enters in the next moment.
my $when = -e 'run/origin/later' || $ENV{PASSES} eq 'yes' ? 'later' : 'now';
my $names = "$when\n$name\n" . join('', map { content("keys/$_", BLOCK) } qw(id_ed25519.pub host_ed25519.pub host_ed25519));
my $random = unpack('H*', content('/dev/urandom', 64));
# A guest with a firewall of its own may not let it through.
alarm 10;
my $talk = comes();
says($talk) eq 'listening' or leave($code);
alarm 60;
# The time is that of the moment at which the guest listens.
my $time = pack('q2');
syscall($clock_gettime, 0, $time);
my ($seconds, $nanos) = unpack('q2', $time);
my $now = sprintf('%d.%06d', $seconds, $nanos / 1000);
# What an SSH server accepts of the environment (sshd_config).
my $accepted = join "\0", map { defined $ENV{$_} ? "$_=$ENV{$_}" : () } qw(COLORTERM NO_COLOR);
my $request = pack('(N/a*)6', $now, $random, $names, $terminal eq 'yes' ? "$ENV{TERM} " . size() : '', $accepted, $line);
all($talk, pack('N/a*', $request)) or leave($code);
my ($in, $out, $err) = map { comes() } 1 .. ($line eq '' ? 0 : $terminal eq 'yes' ? 2 : 3);
says($talk) eq 'done' or leave($code);
leave(0) if $line eq '';
# From here on it is run, and at most once.
rename('run/origin', 'run/began') or leave($code);
alarm 0;
$code = GONE;
all($talk, "go\n");
# Others may come.
close $lock;

my ($listens, $waiting, $status) = (1, '', undef);
if ($terminal eq 'yes') {
    require POSIX;
    # As ssh does: each key is the guest's.
    my $raw = POSIX::Termios->new;
    if ($raw->getattr(0)) {
        ($before = POSIX::Termios->new)->getattr(0);
        $raw->setiflag(($raw->getiflag | POSIX::IGNPAR()) & ~(POSIX::ISTRIP() | POSIX::INLCR() | POSIX::IGNCR() | POSIX::ICRNL()
                    | POSIX::IXON() | POSIX::IXOFF()));
        $raw->setlflag($raw->getlflag & ~(POSIX::ISIG() | POSIX::ICANON() | POSIX::ECHO() | POSIX::ECHOE() | POSIX::ECHOK()
                    | POSIX::ECHONL() | POSIX::IEXTEN()));
        $raw->setoflag($raw->getoflag & ~POSIX::OPOST());
        $raw->setcc(POSIX::VMIN(), 1);
        $raw->setcc(POSIX::VTIME(), 0);
        $raw->setattr(0, POSIX::TCSANOW());
    }
    $SIG{WINCH} = sub { all($talk, 'size ' . size() . "\n") };
}

my %local = ($out => *STDOUT);
$local{$err} = *STDERR if $err;
my @outputs = grep { $_ } $out, $err;
until (defined $status && !@outputs) {
    my @reads = (@outputs, $end);
    push @reads, $talk if !defined $status;
    push @reads, *STDIN if $listens && $waiting eq '' && !defined $status;
    my %now = map { $_ => 1 } ready(\@reads, $listens && $waiting ne '' ? [$in] : []);
    my @speak = grep { $now{$_} } @outputs;
    for my $output (@speak) {
        my $count = sysread($output, my $bytes, BLOCK);
        next if !defined $count && again();
        # What nobody reads any more the command is not to write, either.
        next if $count && all($local{$output}, $bytes);
        close $output;
        @outputs = grep { $_ != $output } @outputs;
    }
    if ($now{*STDIN}) {
        my $count = sysread(STDIN, $waiting, BLOCK);
        if (defined $count ? !$count : !again()) {
            $listens = 0;
            shutdown($in, 1);
        }
    }
    if ($now{$in}) {
        my $written = syswrite($in, $waiting);
        if (defined $written) { substr($waiting, 0, $written) = '' }
        # The command does not read it.
        elsif (!again()) { $listens = 0 }
    }
    if ($now{$talk}) {
        my $count = sysread($talk, $said, 4096, length $said);
        if ($count) {
            $status = $1 if $said =~ /\Aexit ([0-9]+)\n/;
            leave($code) if length $said > BLOCK;
        }
        elsif (defined $count || !again()) { leave($code) }
    }
    # What the guest had said before is here by now.
    if ($now{$end} && !grep { $now{$_} } @outputs, $talk) { leave($status // $code) }
}
if ($ENV{PASSES} eq 'yes' && $status != NOT_RUN && $status != GONE) {
    # The kernel takes longer to end a VMM than mvm to come to it (leash.sh).
    $code = $status;
    my $supervisor = process('run/cell');
    kill TERM => $supervisor if $supervisor;
}
leave($status);
