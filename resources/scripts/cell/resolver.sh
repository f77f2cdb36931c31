# resolver: in a cell's namespaces, and a mount and a PID namespace of its own, shuts itself in and becomes the machine's resolver. What it
# reads is the guest's doing, so it sees no more than its program, and of rights it has those to change the cell's rules and to take its ports.
# In: stdin dnsmasq's configuration.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Its configuration comes later on the same input.
HOSTTYPE=$HOSTTYPE perl run/shut.pl run/net/root </dev/null || {
  (($? == 1)) || exit 1
  echo 'mvm: this host refuses the mounts, so the resolver sees the files that its user sees'
}
cd /
ulimit -c 0
# There is no other user here to become.
exec env -i LC_ALL=C PATH="$PATH" setpriv --no-new-privs --inh-caps -all --bounding-set -all,+net_admin,+net_bind_service -- \
  dnsmasq --keep-in-foreground --user= --group= --pid-file= --log-facility=- --conf-file=-
