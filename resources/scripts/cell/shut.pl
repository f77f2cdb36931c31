#!/usr/bin/perl -w
# shut: leaves the mount namespace that it runs in a file system with programs, libraries and what is named, under the paths that they have
# outside, and nothing else. One program for some thirty system calls, in Perl, since that is there and has `syscall`: as many runs of
# mount, mkdir and others took half of what a cell takes.
# In: HOSTTYPE, the folder that becomes the new root as argument; stdin what is placed in it, if it exists: OPTIONS, SOURCE and TARGET
#     (below it), with tabs between.
# Ends with 1 where the host refuses that, and all is as it was for whoever runs it; with 2 where there is no way back.
use strict;

# Subroutines: `use constant` and `use warnings` would take longer to load than all else here.
sub RDONLY() { 1 } sub NOSUID() { 2 } sub NODEV() { 4 } sub NOEXEC() { 8 } sub REMOUNT() { 32 } sub BIND() { 4096 } sub REC() { 16384 }
sub DETACH() { 2 } sub ENOENT() { 2 }
my %flags = (ro => RDONLY, nodev => NODEV, noexec => NOEXEC);
# Their numbers on the kernels that mvm runs on (asm/unistd_64.h, asm-generic/unistd.h).
my ($mount, $umount, $pivot_root) = ($ENV{HOSTTYPE} // '') eq 'aarch64' ? (40, 39, 41) : (165, 166, 155);
my $root = shift;

sub refused {
    my ($what) = @_;
    print STDERR "mvm: $what: $!\n";
    exit 1;
}

# call NUMBER, WORDS…: a system call. The kernel gets pointers to copies, since Perl lets it have nothing that is only read.
sub call {
    my ($number, @words) = @_;
    return syscall($number, @words) == 0;
}

sub folder {
    my ($path) = @_;
    return if -d $path;
    folder($path =~ s{/[^/]*\z}{}r) if $path =~ m{/};
    mkdir($path, 0755) or refused("mkdir $path");
}

# place FLAGS, SOURCE, TARGET: a folder comes with what is mounted in it, whose own options stay as they are.
sub place {
    my ($flags, $source, $target) = @_;
    if (!-e $source) {
        return if $! == ENOENT;
        refused($source);
    }
    $target = "$root/$target";
    if (-d _) {
        folder($target);
    } else {
        folder($target =~ s{/[^/]*\z}{}r);
        open my $file, '>', $target or refused($target);
    }
    my $none = 'none';
    call($mount, $source, $target, $none, BIND | REC, 0) && call($mount, $none, $target, $none, REMOUNT | BIND | NOSUID | $flags, 0)
        or refused("mount $target");
}

folder($root);
# What is in it is for the VMM, whoever that is in there.
umask 022;
my ($name, $type, $options, $none) = ('mvm', 'tmpfs', 'mode=0755,size=1m,nr_inodes=1k', 'none');
call($mount, $name, $root, $type, NOSUID | NODEV, $options) or refused("mount $root");
folder("$root/old");
for my $path (qw(usr bin sbin lib lib32 lib64 libx32 nix/store)) {
    if (-l "/$path") {
        symlink readlink("/$path"), "$root/$path" or refused("$root/$path");
    } elsif (-d _) {
        place(RDONLY | NODEV, "/$path", $path);
    }
}
place(RDONLY | NODEV | NOEXEC, '/etc/ld.so.cache', 'etc/ld.so.cache');
place(NOEXEC, "/dev/$_", "dev/$_") for qw(null zero random urandom);
while (my $line = <STDIN>) {
    chomp $line;
    my ($words, $source, $target) = split /\t/, $line;
    my $flags = 0;
    $flags |= $flags{$_} // die "mvm: no mount option: $_\n" for split /,/, $words;
    place($flags, $source, $target);
}
my ($old, $put) = ('/old', "$root/old");
call($mount, $none, $root, $none, REMOUNT | BIND | RDONLY | NOSUID | NODEV, 0) && call($pivot_root, $root, $put) or refused('pivot_root');
# Whoever runs this is in the new root already.
call($umount, $old, DETACH) or exit 2;
