# A service on this host's loopback that is there to be reached, or not: it tells its port, then says one word to whoever connects.
use strict;
use Socket;
my $server;
socket($server, PF_INET, SOCK_STREAM, 0) && bind($server, sockaddr_in(0, INADDR_LOOPBACK)) && listen($server, 9) or exit 1;
$| = 1;
print +(sockaddr_in(getsockname($server)))[0], "\n";
# Nobody waits for it longer.
alarm 60;
while (accept(my $client, $server)) { syswrite $client, "mvm-loopback\n"; close $client }
