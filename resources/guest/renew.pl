#!/usr/bin/perl -w
# renew: what a guest that goes on from a memory needs of its kernel, which busybox cannot do: its clock set to the microsecond, and randomness that
# the kernel's generator takes on at once (RNDADDENTROPY, RNDRESEEDCRNG) rather than within a minute.
# As a program: renew TIME HEX (seconds since 1970, randomness in hexadecimal). `require`d it gives others the same.
use strict;

package Mvm;

# Their numbers on the kernels that mvm's guests have (asm/unistd_64.h, asm-generic/unistd.h): by what the program's own file was built
# for (elf.h's e_machine, 183 is aarch64).
my ($own, $head);
open($own, '<:raw', '/proc/self/exe') && read($own, $head, 20) && close($own) or die "/proc/self/exe: $!\n";
our ($clock_settime, $setsid) = unpack('x18 v', $head) == 183 ? (112, 157) : (227, 112);

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

package main;
caller or exit(Mvm::renew(@ARGV) ? 0 : 1);
1;
