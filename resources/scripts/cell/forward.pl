# forward: carries what comes to one port of the host to a port of the guest. The socket is opened on the host, outside of the
# cell; then the same program goes on inside, where the guest is. One process for all connections, so that nothing is left of
# them when it is killed. In Perl, since that is on every Debian and Ubuntu, and other programs fell short (ARCHITECTURE.md).
# In: PROTOCOL tcp|udp, LISTEN (an address and a port, or the path of a socket), GUEST (the same), and what enters the cell;
#     inside: LISTENER, its file descriptor. Or `stdio` and the path of a socket, to which the standard streams then lead.
# Out: `listening`, or why not.
use strict;
use warnings;
use Errno;
use Fcntl qw(F_GETFL F_SETFD F_SETFL O_NONBLOCK);
use Socket qw(:all);

# Bytes that wait for one that takes them slowly; beyond them no more is read.
use constant FULL => 1 << 18;
# Seconds until a UDP client that is silent is forgotten, and how many are known.
use constant { SILENT => 120, CLIENTS => 512 };

my ($protocol, $listen, $guest, @enter) = @ARGV;
# Datagrams come to the path of a socket in frames, by streams.
my $framed = $protocol eq 'udp' && $listen =~ m{/};
my $stream = $protocol eq 'tcp' || $framed;

sub fail {
    print "$_[0]\n";
    exit 1;
}

# The address for `bind` and `connect`, and its family.
sub address {
    my ($text) = @_;
    return (pack_sockaddr_un($text), AF_UNIX) if $text =~ m{/};
    my ($host, $port) = $text =~ /^\[?(.+?)\]?:(\d+)$/ or fail("no address: $text");
    my $six = inet_pton(AF_INET6, $host);
    return (pack_sockaddr_in6($port, $six), AF_INET6) if $six;
    return (pack_sockaddr_in($port, inet_pton(AF_INET, $host)), AF_INET);
}

sub on { setsockopt $_[0], $_[1], $_[2], 1 }

sub opened {
    my ($address, $family) = address($listen);
    socket my $socket, $family, $stream ? SOCK_STREAM : SOCK_DGRAM, 0 or fail("$!");
    on($socket, IPPROTO_IPV6, IPV6_V6ONLY) if $family == AF_INET6;
    # What is left of old connections is no reason to refuse.
    on($socket, SOL_SOCKET, SO_REUSEADDR) if $stream;
    unlink $listen if $family == AF_UNIX;
    bind $socket, $address or fail("$!");
    !$stream or listen $socket, 1024 or fail("$!");
    return $socket;
}

lead_streams() if $protocol eq 'stdio';
if (@enter) {
    my $socket = opened();
    fcntl $socket, F_SETFD, 0;
    $ENV{LISTENER} = fileno $socket;
    $| = 1;
    print "listening\n";
    { exec @enter, $^X, $0, $protocol, $listen, $guest }
    fail("$enter[0]: $!");
}

# The supervisor died before this process could be told to die with it.
exit 1 if getppid != $ENV{SUPERVISOR};
open my $listener, '+<&=', $ENV{LISTENER} or die "the socket: $!";
my $listening = fileno $listener;
my ($to) = address($guest);
# The file descriptors that are waited for, as `select` has them.
my ($reading, $writing) = ('', '');

sub unblocked {
    my ($socket) = @_;
    fcntl $socket, F_SETFL, O_NONBLOCK | fcntl $socket, F_GETFL, 0;
    return fileno $socket;
}

# A file descriptor is closed by `close` alone, so nobody may wait for it any more then.
sub forget {
    my ($fd) = @_;
    vec($reading, $fd, 1) = vec($writing, $fd, 1) = 0;
}

# That somebody uses the machine (cell.sh): told once a second at most.
my $used = 0;
sub use_machine {
    return if $used == time;
    $used = time;
    utime undef, undef, 'run/use';
}

sub later { $!{EAGAIN} || $!{EINTR} }

unblocked($listener);
$SIG{PIPE} = 'IGNORE';
$framed ? serve_frames() : $stream ? serve_connections() : serve_datagrams();

# ---- TCP: two ends for each connection, each with what was read from it and its peer has not taken yet.

my (%ends, $crowded);

sub end {
    my ($socket) = @_;
    my $fd = unblocked($socket);
    on($socket, SOL_SOCKET, SO_KEEPALIVE);
    on($socket, IPPROTO_TCP, TCP_NODELAY);
    return $ends{$fd} = { socket => $socket, fd => $fd, read => '' };
}

sub part {
    my ($end) = @_;
    for my $each ($end, $end->{peer}) {
        forget($each->{fd});
        delete $ends{ $each->{fd} };
        close $each->{socket};
    }
    delete $end->{peer}{peer};
    delete $end->{peer};
    $crowded = 0;
}

# As the other end has it: a connection that was refused or broke does not look like one that ended well.
sub reset_both {
    my ($end) = @_;
    setsockopt $_->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 for $end, $end->{peer};
    part($end);
}

# What to wait for next, after something was read from this end or taken by its peer.
sub settle {
    my ($end) = @_;
    my $peer = $end->{peer};
    if ($end->{over} && !length $end->{read} && !$end->{told}) {
        $end->{told} = 1;
        shutdown $peer->{socket}, SHUT_WR;
        return part($end) if $peer->{told};
    }
    vec($reading, $end->{fd}, 1) = !$end->{over} && length $end->{read} < FULL ? 1 : 0;
    vec($writing, $peer->{fd}, 1) = length $end->{read} ? 1 : 0;
}

sub pass_on {
    my ($end) = @_;
    if (length $end->{read}) {
        my $taken = syswrite $end->{peer}{socket}, $end->{read};
        return later() ? settle($end) : reset_both($end) if !defined $taken;
        substr $end->{read}, 0, $taken, '';
    }
    settle($end);
}

sub read_from {
    my ($end) = @_;
    my $got = sysread $end->{socket}, $end->{read}, FULL, length $end->{read};
    return later() || reset_both($end) if !defined $got;
    $end->{over} = 1 if !$got;
    pass_on($end);
}

sub connected {
    my ($end) = @_;
    delete $end->{connecting};
    return reset_both($end) if unpack 'i', getsockopt $end->{socket}, SOL_SOCKET, SO_ERROR;
    settle($end->{peer});
    settle($end);
}

sub welcome {
    # Not without end: others wait as well.
    for (1 .. 64) {
        my $server;
        if (!accept my $client, $listener) {
            # Too many for this process: they wait until one parts.
            $crowded = $!{EMFILE} || $!{ENFILE};
            return;
        } elsif (!socket $server, AF_INET, SOCK_STREAM, 0) {
            $crowded = 1;
            close $client;
            return;
        } else {
            use_machine();
            my ($one, $two) = (end($client), end($server));
            ($one->{peer}, $two->{peer}) = ($two, $one);
            $two->{connecting} = 1;
            vec($writing, $two->{fd}, 1) = 1;
            reset_both($one) if !connect($server, $to) && !$!{EINPROGRESS};
        }
    }
}

sub serve_connections {
    while (1) {
        vec($reading, $listening, 1) = $crowded && %ends ? 0 : 1;
        my ($readable, $writable) = ($reading, $writing);
        next if 0 >= select $readable, $writable, undef, undef;
        for my $fd (keys %ends) {
            my $end = $ends{$fd} or next;
            if (vec $writable, $fd, 1) { $end->{connecting} ? connected($end) : pass_on($end->{peer}) }
            read_from($end) if vec($readable, $fd, 1) && $end->{peer};
        }
        # Last, since a new connection may have a file descriptor that was another's in this round.
        welcome() if vec $readable, $listening, 1;
    }
}

# ---- UDP: a socket towards the guest for each client, by which its answers come back.

my (%clients, %answering);

sub client {
    my ($from, %more) = @_;
    if (!$clients{$from}) {
        my @oldest = sort { $clients{$a}{heard} <=> $clients{$b}{heard} } keys %clients;
        leave($oldest[0]) if @oldest >= CLIENTS;
        socket my $socket, AF_INET, SOCK_DGRAM, 0 or return;
        connect $socket, $to or return;
        my $fd = unblocked($socket);
        vec($reading, $fd, 1) = 1;
        $clients{$from} = { socket => $socket, fd => $fd, %more };
        $answering{$fd} = $from;
    }
    $clients{$from}{heard} = time;
    return $clients{$from};
}

sub leave {
    my ($from) = @_;
    my $client = delete $clients{$from};
    delete $answering{ $client->{fd} };
    forget($client->{fd});
    close $client->{socket};
}

sub answer_of {
    my ($fd) = @_;
    my $client = $clients{ $answering{$fd} };
    # A port that nobody has answers with an error, which is none of ours.
    return if !defined recv $client->{socket}, my $data, 65536, 0;
    $client->{heard} = time;
    return $data;
}

sub leave_silent {
    leave($_) for grep { time - $clients{$_}{heard} > SILENT } keys %clients;
}

sub serve_datagrams {
    vec($reading, $listening, 1) = 1;
    while (1) {
        my $readable = $reading;
        select $readable, undef, undef, SILENT / 4;
        for my $fd (keys %answering) {
            next if !vec $readable, $fd, 1;
            my $data = answer_of($fd);
            send $listener, $data, 0, $answering{$fd} if defined $data;
        }
        for (1 .. 64) {
            my $from = recv $listener, my $data, 65536, 0;
            last if !defined $from;
            use_machine();
            my $client = client($from) or next;
            send $client->{socket}, $data, 0;
        }
        leave_silent();
    }
}

# ---- UDP for another host: who brings its datagrams has a stream, and each of them a frame in it: its length and the number of its client,
# two bytes each, then the datagram. (src/datagrams.rs is the other end.)

my %bearers;

sub frame {
    my ($bearer, $number, $data) = @_;
    # As in any network: who is slow loses some.
    return if length $bearer->{unsent} > FULL;
    $bearer->{unsent} .= pack('nn', length $data, $number) . $data;
    vec($writing, $bearer->{fd}, 1) = 1;
}

sub dismiss {
    my ($bearer) = @_;
    leave($_) for grep { $clients{$_}{bearer} == $bearer } keys %clients;
    forget($bearer->{fd});
    delete $bearers{ $bearer->{fd} };
    close $bearer->{socket};
}

sub send_frames {
    my ($bearer) = @_;
    my $taken = syswrite $bearer->{socket}, $bearer->{unsent};
    return later() || dismiss($bearer) if !defined $taken;
    substr $bearer->{unsent}, 0, $taken, '';
    vec($writing, $bearer->{fd}, 1) = length $bearer->{unsent} ? 1 : 0;
}

sub read_frames {
    my ($bearer) = @_;
    my $got = sysread $bearer->{socket}, $bearer->{read}, FULL, length $bearer->{read};
    return later() || dismiss($bearer) if !defined $got;
    return dismiss($bearer) if !$got;
    while (length $bearer->{read} >= 4) {
        my ($length, $number) = unpack 'nn', $bearer->{read};
        last if length $bearer->{read} < 4 + $length;
        my $data = substr substr($bearer->{read}, 0, 4 + $length, ''), 4;
        use_machine();
        my $client = client("$bearer->{fd} $number", bearer => $bearer, number => $number) or next;
        send $client->{socket}, $data, 0;
    }
}

sub serve_frames {
    vec($reading, $listening, 1) = 1;
    while (1) {
        my ($readable, $writable) = ($reading, $writing);
        select $readable, $writable, undef, SILENT / 4;
        for my $fd (keys %answering) {
            next if !vec($readable, $fd, 1) || !$answering{$fd};
            my ($client, $data) = ($clients{ $answering{$fd} }, answer_of($fd));
            frame($client->{bearer}, $client->{number}, $data) if defined $data;
        }
        for my $bearer (values %bearers) {
            send_frames($bearer) if vec $writable, $bearer->{fd}, 1;
            read_frames($bearer) if vec($readable, $bearer->{fd}, 1) && $bearers{ $bearer->{fd} };
        }
        if (vec($readable, $listening, 1) && accept my $socket, $listener) {
            my $bearer = { socket => $socket, fd => unblocked($socket), read => '', unsent => '' };
            vec($reading, $bearer->{fd}, 1) = 1;
            $bearers{ $bearer->{fd} } = $bearer;
        }
        leave_silent();
    }
}

# ---- The standard streams lead to a socket, until either ends. A login shell may have said something before.

sub lead_streams {
    socket my $socket, AF_UNIX, SOCK_STREAM, 0 or die "$!\n";
    connect $socket, pack_sockaddr_un($listen) or die "$!\n";
    syswrite STDOUT, "::mvm::\n";
    my %to = (0 => $socket, fileno $socket => \*STDOUT);
    my %from = (0 => \*STDIN, fileno $socket => $socket);
    my $waiting = '';
    vec($waiting, $_, 1) = 1 for keys %from;
    while (1) {
        my $readable = $waiting;
        next if 0 >= select $readable, undef, undef, undef;
        for my $fd (grep { vec $readable, $_, 1 } keys %from) {
            sysread $from{$fd}, my $data, FULL or exit 0;
            while (length $data) {
                my $taken = syswrite $to{$fd}, $data or exit 1;
                substr $data, 0, $taken, '';
            }
        }
    }
}
