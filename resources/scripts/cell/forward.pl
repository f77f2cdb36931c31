# forward: carries what comes to one port of the host to a port of the guest. The socket is opened on the host, outside of the
# cell; then the same program goes on inside, where the guest is. One process for all connections, so that nothing is left of
# them when it is killed. In Perl, since that is on every Debian and Ubuntu, and other programs fell short (ARCHITECTURE.md).
# In: PROTOCOL tcp|udp, LISTEN (an address and a port, or the path of a socket), GUEST (the same), and what enters the cell;
#     inside: LISTENER, its file descriptor.
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
my $stream = $protocol eq 'tcp';

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
$stream ? serve_connections() : serve_datagrams();

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
    my ($from) = @_;
    if (!$clients{$from}) {
        my @oldest = sort { $clients{$a}{heard} <=> $clients{$b}{heard} } keys %clients;
        leave($oldest[0]) if @oldest >= CLIENTS;
        socket my $socket, AF_INET, SOCK_DGRAM, 0 or return;
        connect $socket, $to or return;
        my $fd = unblocked($socket);
        vec($reading, $fd, 1) = 1;
        $clients{$from} = { socket => $socket, fd => $fd };
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

sub serve_datagrams {
    vec($reading, $listening, 1) = 1;
    while (1) {
        my $readable = $reading;
        select $readable, undef, undef, SILENT / 4;
        for my $fd (keys %answering) {
            next if !vec $readable, $fd, 1;
            my $from = $answering{$fd};
            # A port that nobody has answers with an error, which is none of ours.
            next if !defined recv $clients{$from}{socket}, my $data, 65536, 0;
            $clients{$from}{heard} = time;
            send $listener, $data, 0, $from;
        }
        for (1 .. 64) {
            my $from = recv $listener, my $data, 65536, 0;
            last if !defined $from;
            use_machine();
            my $client = client($from) or next;
            send $client->{socket}, $data, 0;
        }
        leave($_) for grep { time - $clients{$_}{heard} > SILENT } keys %clients;
    }
}
