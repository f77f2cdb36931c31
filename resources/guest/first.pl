#!/usr/bin/perl -w
# first: waits in a memory for whoever goes on from it, and runs the first command of the machine that this becomes
# (microvm/first.pl is the other end). It takes what an SSH server and its session would: it is in the memory as it is, and nobody else can come
# before the first command does. It came by a session, so the command finds the environment and the folder of one.
# Arguments: the port that it listens on, and `held` where the machine goes on that the memory is of: there it ends when it hears a word by the
# session that it came by, in the others with whoever comes. That session may break off in either: then it waits a minute more. Only the cell's own side
# of the network is answered, once. After `held` may come a pipe and the words of an SSH server: it is begun with that for its host key (and
# the settings beside it), so that it is in the memory as well, up to the point where it reads the key; it ends with this where nobody comes.
# First the connection comes by which both speak: this says `listening`, hears what time it is, randomness, who the machine is (as thawed
# has it), the terminal (KIND and four numbers, or nothing), what the far end's environment adds and the command for a shell (nothing for none); says `done` when the machine is that, runs the command when
# it hears `go`, and says `exit N` when that ended. Then those of the command's streams: input, output and, without a terminal, errors.
use strict;
require '/run/mvm/thawed.pl';

use constant { AF_INET => 2, SOCK_STREAM => 1, SOL_SOCKET => 1, SO_REUSEADDR => 2, TIOCSPTLCK => 0x40045431, TIOCGPTN => 0x80045430, TIOCSWINSZ => 0x5414 };
use constant { F_SETFL => 4, O_NONBLOCK => 2048, EAGAIN => 11, EINTR => 4, WNOHANG => 1 };
use constant HOST_KEY => '/run/mvm/host_ed25519';
use constant O_WRONLY => 1;
my ($guest, $cell) = (pack('C4', 172, 16, 0, 2), pack('C4', 172, 16, 0, 1));
my ($port, $held, $pipe, @server) = @ARGV;

socket(my $server, AF_INET, SOCK_STREAM, 0) or die "$!\n";
# Of a fork's machine another fork may be made at once.
setsockopt($server, SOL_SOCKET, SO_REUSEADDR, pack('i', 1));
bind($server, pack('S n a4 x8', AF_INET, $port, $guest)) && listen($server, 9) or die "$!\n";
my ($key, $sshd);
begin_server() if @server;
my $talk;
if ($held) {
    syswrite(STDOUT, "listening\n");
    $talk = come(*STDIN);
}
# Whoever came by SSH need not know of it (exec).
defined(my $pid = fork) or die "$!\n";
if ($pid) {
    # This session's other end is in another machine.
    exit 0 if $held;
    my $file;
    open($file, '>', '/run/mvm/first.pid') && print({$file} "$pid\n") && close($file) && exit 0;
    kill 'KILL', $pid;
    exit 1;
}
Mvm::detach();
$SIG{PIPE} = 'IGNORE';

sub begin_server {
    # It may end, or not come so far.
    local @SIG{qw(CHLD ALRM)} = (sub { }) x 2;
    $sshd = fork // die "$!\n";
    if (!$sshd) {
        Mvm::detach();
        exec { $server[0] } @server, '-D', '-r', '-f', "$pipe.config" or exit 126;
    }
    alarm 10;
    # Here both wait for each other.
    sysopen($key, $pipe, O_WRONLY) or undef $key;
    alarm 0;
}

# over: nobody comes.
sub over {
    kill 'KILL', $sshd if $sshd;
    unlink $pipe, "$pipe.config" if $pipe;
    exit 0;
}

# key_stays: where the pipe was is the key's file; the SSH server opens it more than once, and reads it once more when it is told to start anew.
sub key_stays { return symlink(HOST_KEY, "$pipe.file") && rename("$pipe.file", $pipe) }

# come [STREAM]: the next connection; it all ends with a word by that stream, or a minute after that has ended.
sub come {
    my ($stream) = @_;
    my $seconds;
    while (1) {
        if ($held) {
            my $reads = '';
            vec($reads, fileno $_, 1) = 1 for $server, $stream ? $stream : ();
            select($reads, undef, undef, $seconds) or over();
            if ($stream && vec($reads, fileno $stream, 1)) {
                sysread($stream, my $word, 1) and over();
                ($stream, $seconds) = (undef, 60);
                next;
            }
        }
        my $from = accept(my $connection, $server) or next;
        return $connection if (unpack('S n a4', $from))[2] eq $cell;
    }
}

# exactly CONNECTION, LENGTH: so many bytes; fewer where it ends before.
sub exactly {
    my ($connection, $length) = @_;
    my $bytes = '';
    while (length $bytes < $length) {
        my $count = sysread($connection, $bytes, $length - length $bytes, length $bytes);
        last if defined $count ? !$count : $! != EINTR;
    }
    return $bytes;
}

# serve KEY: the SSH server that was begun goes on, with its key. One that is gone meanwhile is begun from nothing. False where neither comes about.
sub serve {
    my ($bytes) = @_;
    Mvm::end_server();
    return key_stays() && all($key, $bytes) && close $key ? Mvm::await_server() : Mvm::serve();
}

# all STREAM, BYTES: writes them; false when nobody reads there.
sub all {
    my ($stream, $bytes) = @_;
    while (length $bytes) {
        my $written = syswrite($stream, $bytes);
        # The command's end is a signal here.
        next if !defined $written && $! == EINTR;
        return 0 if !defined $written;
        substr($bytes, 0, $written) = '';
    }
    return 1;
}

$talk //= come();
all($talk, "listening\n");
my $length = exactly($talk, 4);
my $request = length $length == 4 ? exactly($talk, unpack('N', $length)) : exit 1;
length $request == unpack('N', $length) or exit 1;
my ($now, $random, $names, $terminal, $accepted, $line) = unpack('(N/a*)6', $request);
Mvm::renew($now, $random) or exit 1;
my @streams = map { come() } 1 .. ($line eq '' ? 0 : $terminal eq '' ? 3 : 2);
close $server;
unlink '/run/mvm/first.pid';
my ($when, $name, $enters, $public, $private) = split /\n/, $names, 5;
my $serves = $key && $when eq 'now';
kill 'KILL', $sshd if $sshd && !$serves;
Mvm::end_sessions();
Mvm::become($name, $enters, $public, $private) or exit 1;
# What has a command to run first does it meanwhile; most have ended by then.
my $later = $when eq 'later' && $line ne '';
if (!$later) { ($serves ? serve($private) : Mvm::serve()) or exit 1 }

# fails: whoever is at the far end takes it for failed, and comes another way.
sub fails {
    Mvm::serve() if $later;
    exit 1;
}
unlink '/run/mvm/hold';
if ($line eq '') {
    all($talk, "done\n");
    exit 0;
}
for my $pair (split /\0/, $accepted) {
    my ($variable, $value) = split /=/, $pair, 2;
    $ENV{$variable} = $value;
}

my ($master, @words) = (undef, '/run/mvm/busybox', 'sh', '-c', $line);
# What the command has, and its other ends: a terminal, or pipes as an SSH server gives. (A socket is no file to open by /dev/stdout.)
my (@theirs, @ours);
if ($terminal ne '') {
    my ($kind, @size) = split / /, $terminal;
    $ENV{TERM} = $kind;
    my $locked = pack('i', 0);
    open($master, '+<', '/dev/ptmx') && ioctl($master, TIOCSPTLCK, $locked) or fails();
    size(@size);
    @ours = ($master, $master);
} else {
    pipe($theirs[0], $ours[0]) && pipe($ours[1], $theirs[1]) && pipe($ours[2], $theirs[2]) or fails();
}
sub size { ioctl($master, TIOCSWINSZ, pack('S4', @_)) }

# The command's end, as something to wait for beside the rest.
pipe(my $ended, my $ends) or fails();
my ($command, $status);

sub reap {
    local $?;
    return if !$command || defined $status || waitpid($command, WNOHANG) != $command;
    $status = $?;
    syswrite($ends, '.');
}
$SIG{CHLD} = \&reap;
$SIG{ALRM} = sub { $later = 0; Mvm::serve_in(0) };
alarm 1 if $later;
all($talk, "done\n");
exactly($talk, 3) eq "go\n" && defined($command = fork) or fails();
if (!$command) {
    Mvm::session();
    if ($master) {
        my $number = pack('i', 0);
        # The first terminal that a session's leader opens is that session's.
        ioctl($master, TIOCGPTN, $number) && open(my $slave, '+<', '/dev/pts/' . unpack('i', $number)) or exit 126;
        @theirs = ($slave, $slave, $slave);
    }
    open(STDIN, '<&', $theirs[0]) && open(STDOUT, '>&', $theirs[1]) && open(STDERR, '>&', $theirs[2]) or exit 126;
    $SIG{$_} = 'DEFAULT' for qw(PIPE CHLD ALRM);
    exec { $words[0] } @words or exit 126;
}
@theirs = ();
# It may have ended before it was known which it is.
reap();
relay();
until (defined $status) { waitpid($command, 0) == $command and $status = $? }
all($talk, 'exit ' . ($status & 127 ? 128 + ($status & 127) : $status >> 8) . "\n");
close $talk;
sleep 1 while $later;
exit 0;

# relay: between the command's streams and the far end. Those end when nobody has them open any more, a terminal with the command.
sub relay {
    my ($in, @to) = @streams;
    @streams = ();
    my ($into, @from) = @ours;
    @ours = ();
    # Who does not read is not to keep the rest waiting.
    fcntl($into, F_SETFL, O_NONBLOCK);
    my ($talks, $listens, $waiting, $read, $over) = (1, 1, '', '', 0);
    LOOP: while (grep { $_ } @from) {
        my ($reads, $writes) = ('', '');
        vec($reads, fileno $_, 1) = 1 for grep({ $_ } @from), $over ? () : $ended, $talks ? $talk : ();
        vec($reads, fileno $in, 1) = 1 if $listens && $waiting eq '';
        vec($writes, fileno $into, 1) = 1 if $listens && $waiting ne '';
        my $count = select($reads, $writes, undef, $over && $master ? 0 : undef);
        next if $count < 0;
        # What it said just before it ended is there already.
        last LOOP if $over && $master && ($count < 1 || !vec($reads, fileno $master, 1));
        next if $count < 1;
        for my $at (0 .. $#from) {
            next if !$from[$at] || !vec($reads, fileno $from[$at], 1);
            my $got = sysread($from[$at], $read, 65536);
            # A terminal that nobody has open may be opened again.
            if ($master && !$got) { last LOOP if $over; select(undef, undef, undef, 0.01); next }
            next if $got && all($to[$at], $read);
            # What nobody reads any more the command is not to write, either.
            close $from[$at];
            close $to[$at];
            $from[$at] = undef;
        }
        if ($listens && vec($writes, fileno $into, 1)) {
            my $written = syswrite($into, $waiting);
            if (defined $written) { substr($waiting, 0, $written) = '' }
            elsif ($! != EAGAIN) { $listens = 0 }
        } elsif ($listens && $waiting eq '' && vec($reads, fileno $in, 1)) {
            if (!sysread($in, $waiting, 65536)) {
                $listens = 0;
                # A terminal's input ended before the command did: Ctrl-D.
                if ($master) { all($master, "\4") } else { close $into }
            }
        }
        if ($talks && vec($reads, fileno $talk, 1)) {
            $talks = sysread($talk, $read, 4096) || 0;
            size(split / /, $1) if $master && $read =~ /.*size ([0-9]+ [0-9]+ [0-9]+ [0-9]+)\n/s;
        }
        $over = 1 if vec($reads, fileno $ended, 1);
    }
    close $_ for grep { $_ } @to, $master;
}
