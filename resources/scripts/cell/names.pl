# names: reads what the cell's resolver says (dnsmasq with log-queries=extra), and notes by which name each address was asked for, and
# which names were refused: `ADDRESS NAME` and `refused NAME`, a line each, once. Names are the guest's: what does not look like one is
# left out, and so much is kept only. In the machine's folder.
# Out: what is no query, for the machine's vmm.log.
use strict;
use warnings;

# Lines that are kept, queries that are waited for at once, and lines that are passed on.
use constant { KEPT => 8192, ASKED => 4096, SAID => 200 };
use constant PLACE => 'run/net/names';

my %known;
if (open my $old, '<', PLACE) {
    while (<$old>) { chomp; $known{$_} = 1 }
    close $old;
}
open my $names, '>>', PLACE or die "run/net/names: $!\n";
$names->autoflush(1);
$| = 1;

# Each query has a number; its answer's names may be others (CNAME).
my (%asked, @order);
my $said = 0;

sub note {
    my ($line) = @_;
    return if $known{$line} || keys %known >= KEPT;
    $known{$line} = 1;
    print $names "$line\n";
}

while (my $line = <STDIN>) {
    if ($line !~ s/^dnsmasq\[\d+\]: (\d+) [0-9a-f.:]+\/\d+ //) {
        print "mvm: resolver: $line" if $said++ < SAID;
        next;
    }
    my $number = $1;
    if ($line =~ /^query\[[A-Z0-9=]+\] ([A-Za-z0-9_.-]{1,253}) from /) {
        push @order, $number if !exists $asked{$number};
        $asked{$number} = lc $1;
        delete $asked{ shift @order } if @order > ASKED;
    } elsif (!exists $asked{$number}) {
        next;
    } elsif ($line =~ /^(?:reply|cached) \S+ is ([0-9a-f.:]+)$/) {
        note("$1 $asked{$number}");
    } elsif ($line =~ /^config error is REFUSED/) {
        note("refused $asked{$number}");
    }
}
