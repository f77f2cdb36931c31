# microvm/traffic: what a machine that runs reached, and what it was refused, since it was started. Reads only.
# In: NAME
# Out: RUNS yes|no; LISTING (the cell's rules with their sets, as nft's JSON); NOTED, the lines of the resolver's notes.
: "${NAME:?}"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
if ! cell_alive . || ! cell_vmm . || ! listing=$(cell_enter "$VMM_PID" nft -j list table inet mvm); then
  answer RUNS no
  exit 0
fi
answer RUNS yes
answer LISTING "$listing"
[[ ! -e run/net/names ]] || while IFS= read -r line; do answer NOTED "$line"; done <run/net/names
