#!/usr/bin/perl -w
# thawed: what a guest hears when it goes on from a memory, before anybody enters. On standard input, once it says that it listens, a line each:
# what time it is (its own clock stood still); randomness in hexadecimal, which no other machine with the same memory has; and, where the memory
# was another machine's, who it is from now on: `now` or `later` (when its SSH server is to be the new one), its host name, who may enter, its public host
# key; the rest is its private one. It ends with `done`. `require`d (first.pl) it gives others the same. In Perl, since busybox knows whole seconds alone, and
# can give the kernel randomness that its generator takes on within a minute only; and one program, since each start of one is dear in a new machine.
use strict;

package Mvm;

# Their numbers on the kernels that mvm's guests have (asm/unistd_64.h, asm-generic/unistd.h): by what the program's own file was built
# for (elf.h's e_machine, 183 is aarch64).
my ($own, $head);
open($own, '<:raw', '/proc/self/exe') && read($own, $head, 20) && close($own) or die "/proc/self/exe: $!\n";
my ($clock_settime, $setsid) = unpack('x18 v', $head) == 183 ? (112, 157) : (227, 112);
my $dir = '/run/mvm';

# renew TIME, HEX: the clock (seconds since 1970), and randomness (RNDADDENTROPY, RNDRESEEDCRNG).
sub renew {
    my ($now, $hex) = @_;
    my ($seconds, $micros) = split /\./, $now;
    my $seed = pack('H*', $hex);
    my $random;
    return syscall($clock_settime, 0, pack('q q', $seconds, $micros * 1000)) == 0
        && open($random, '>', '/dev/urandom')
        && ioctl($random, 0x40085203, pack('i i a*', 8 * length($seed), length($seed), $seed))
        && ioctl($random, 0x5207, 0);
}

# content FILE: all of it; nothing where there is none.
sub content {
    my ($name) = @_;
    my $file;
    open($file, '<', $name) or return '';
    local $/;
    return <$file> // '';
}

# put FILE, TEXT, [MODE]
sub put {
    my ($name, $text, $mode) = @_;
    my $file;
    # 577 is O_WRONLY, O_CREAT and O_TRUNC.
    return sysopen($file, $name, 577, $mode // 0644) && (syswrite($file, $text) // -1) == length $text && close $file;
}

# server: the SSH server.
sub server { return content("$dir/sshd.pid") =~ /\A([0-9]+)/ }

# end_sessions: those of before have nobody at their other end. One that this comes of is not of them.
sub end_sessions {
    my ($server) = server() or return;
    my ($mine, $parent) = $$;
    while (($parent) = content("/proc/$mine/status") =~ /^PPid:\s*([0-9]+)/m and $parent > 1 && $parent != $server) { $mine = $parent }
    kill TERM => grep { $_ != $mine } split ' ', content("/proc/$server/task/$server/children");
}

# become NAME, ENTERS, PUBLIC, PRIVATE: who it is. Each file by one rename, so that the SSH server never reads half a key.
sub become {
    my ($name, $enters, $public, $private) = @_;
    return 0 if ($private // '') eq '';
    umask 022;
    mkdir "$dir/new", 0700;
    put("$dir/new/host_ed25519", $private, 0600) && put("$dir/new/host_ed25519.pub", "$public\n") && put("$dir/new/authorized_keys", "$enters\n")
        or return 0;
    for my $file (qw(host_ed25519 host_ed25519.pub authorized_keys)) { rename("$dir/new/$file", "$dir/$file") or return 0 }
    chomp(my $was = content('/proc/sys/kernel/hostname'));
    put('/proc/sys/kernel/hostname', "$name\n");
    # What mvm gave, which the next boot asks for (init).
    put("$dir/hostname", "$name\n") if -e "$dir/hostname";
    put('/etc/hostname', "$name\n");
    my $hosts = content('/etc/hosts');
    put('/etc/hosts', $hosts) if $hosts =~ s/^127\.0\.1\.1 \Q$was\E$/127.0.1.1 $name/mg;
    put('/etc/machine-id', content('/proc/sys/kernel/random/uuid') =~ tr/-//dr);
    return 1;
}

# end_server: that of before lets nobody in any more who has the old key.
sub end_server {
    my ($server) = server() or return;
    kill TERM => $server;
    # A process that has ended has no exe.
    select(undef, undef, undef, 0.01) while -e "/proc/$server/exe";
}

# begins: what begins a new one.
sub begins { return (-d "$dir/tools" ? ("$dir/tool", 'usr/sbin/sshd') : '/usr/sbin/sshd', '-r', '-f', "$dir/sshd_config") }

# session: a new one.
sub session { syscall($setsid) }

# detach: from the session that this came by.
sub detach {
    session();
    for my $stream (*STDIN, *STDOUT, *STDERR) { open($stream, '+<', '/dev/null') or exit 1 }
}

# serve: the SSH server is a new one. False where that does not begin.
sub serve {
    end_server();
    return system(begins()) == 0 && await_server();
}

# serve_in SECONDS: the same, by another process, while this one goes on. False where there can be none.
sub serve_in {
    my $pid = fork // return 0;
    return 1 if $pid;
    detach();
    sleep shift;
    end_server();
    # What is open here is not any more.
    exec(begins()) or exit 126;
}

# await_server: it listens when it has written down who it is.
sub await_server {
    for (1 .. 1000) {
        return 1 if -s "$dir/sshd.pid";
        select(undef, undef, undef, 0.01);
    }
    return 0;
}

package main;
if (!caller) {
    $| = 1;
    print "ready\n";
    my @said = map { chomp(my $line = <STDIN> // exit 0); $line } 1, 2;
    Mvm::renew(@said) or exit 1;
    Mvm::end_sessions();
    if (defined(my $when = <STDIN>)) {
        chomp($when, my ($name, $enters, $public) = map { <STDIN> // exit 1 } 1 .. 3);
        local $/;
        Mvm::become($name, $enters, $public, <STDIN>) && ($when eq 'later' ? Mvm::serve_in(1) : Mvm::serve()) or exit 1;
    }
    print "done\n";
}
1;
