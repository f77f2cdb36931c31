# microvm/leash: a machine that is there for one run goes when standard input ends, however that comes: whoever started
# this closed it, or was killed, or the connection broke.
# In: NAME.
: "${NAME:?}"
trap '' HUP INT TERM PIPE
cat >/dev/null || true
lock "$NAME"
remove_machine "$NAME"
unlock "$NAME"
