# bootstrap/admin: does what an administrator has to do once. Runs as root. Safe to repeat: each command is.
# In: "$@", pairs of a description and a command line.
export NEEDRESTART_MODE=a
last=
while (($# >= 2)); do
  [[ $1 == "$last" ]] || step "As root: $1"
  last=$1
  detail "$2"
  # Another apt may be at work, as it is just after a machine's start.
  line=${2/apt-get /apt-get -o DPkg::Lock::Timeout=120 }
  # Not -e's business: the message should name the command, not this script's line.
  bash -c "$line" </dev/null || die admin "\`$2\` failed with exit code $?"
  shift 2
done
answer DONE yes
