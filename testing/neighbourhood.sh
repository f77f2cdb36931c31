#!/usr/bin/env bash
# A world for machines of tests and benches, in network and mount namespaces of its own (`unshare --net --mount`), as their root: what takes
# this for its host reaches nothing else. testing/neighbourhood.sh FOLDER [PORT…]
#   198.51.100.2                         the host's own address, with a default route
#   203.0.113.1, .2, .3; 169.254.169.254 servers: TCP answers with what was reached and what comes (after `give N` N MiB of zeros); UDP
#                                        with what comes
#   203.0.113.53                         the host's resolver: good.example is .1, alias.example the same by a CNAME, bad.example .2,
#                                        rebind.example the metadata service
# Out: `ready`; it stays until it is killed.
set -euo pipefail
folder=$1
shift
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
ip -batch - <<'IP'
link set lo up
link add out type veth peer name peer
link set peer up
addr add 198.51.100.2/24 dev out
link set out up
route add default via 198.51.100.1
addr add 203.0.113.1/32 dev lo
addr add 203.0.113.2/32 dev lo
addr add 203.0.113.3/32 dev lo
addr add 203.0.113.53/32 dev lo
addr add 169.254.169.254/32 dev lo
IP
mount --make-rprivate /
echo 'nameserver 203.0.113.53' >"$folder/resolv.conf"
mount --bind "$folder/resolv.conf" /etc/resolv.conf
setpriv --pdeathsig KILL -- dnsmasq --keep-in-foreground --conf-file=/dev/null --user= --group= --pid-file= --no-resolv --no-hosts \
  --listen-address=203.0.113.53 --bind-interfaces --log-facility="$folder/dns.log" --address=/good.example/203.0.113.1 \
  --address=/bad.example/203.0.113.2 --address=/rebind.example/169.254.169.254 --host-record=target.example,203.0.113.1 \
  --cname=alias.example,target.example &
exec perl -e '
use strict; use warnings; use Socket; use IO::Select;
$| = 1;
$SIG{PIPE} = "IGNORE";
$SIG{CHLD} = "IGNORE";
my (%listens, %talks);
my $all = IO::Select->new;
for my $port (@ARGV) {
    for my $kind (SOCK_STREAM, SOCK_DGRAM) {
        socket my $socket, AF_INET, $kind, 0 or die;
        bind $socket, pack_sockaddr_in($port, INADDR_ANY) or die "$port: $!";
        listen $socket, 100 if $kind == SOCK_STREAM;
        $listens{ fileno $socket } = $kind;
        $all->add($socket);
    }
}
print "ready\n";
while (my @ready = $all->can_read) {
    for my $socket (@ready) {
        my $kind = $listens{ fileno $socket };
        if (!$kind) {
            my $got = sysread $socket, my $data, 65536;
            if (!$got) { $all->remove($socket); close $socket }
            elsif ($data =~ /^give (\d+)/) {
                if (!fork) { my $block = "\0" x (1 << 20); for (1 .. $1) { my $left = length $block; while ($left) { my $sent = syswrite $socket, $block, $left or exit; $left -= $sent } } exit }
                $all->remove($socket); close $socket;
            } else { syswrite $socket, $data }
        } elsif ($kind == SOCK_STREAM) {
            accept my $client, $socket or next;
            my ($port, $address) = unpack_sockaddr_in(getsockname $client);
            syswrite $client, inet_ntoa($address) . ":$port\n";
            $all->add($client);
        } else {
            my $from = recv $socket, my $data, 65536, 0;
            send $socket, $data, 0, $from if defined $from;
        }
    }
}' -- "$@"
