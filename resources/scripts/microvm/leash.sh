# microvm/leash: a machine that is there for one run goes when standard input ends, however that comes: whoever started
# this closed it, or was killed, or the connection broke.
# In: NAME; MADE_BY (what its folder's made-by has to say; empty where it may be any); standard input begins with the line of keys that the next run may have.
# Out: GONE yes, when nothing of it is left; what comes then is for the next run, and need not be waited for.
: "${NAME:?}"
trap '' HUP INT TERM PIPE
mapfile -t given || true
lock "$NAME"
if [[ -n ${MADE_BY:-} && -e $MVM_HOME/machines/$NAME ]]; then
  { read -r made_by <"$MVM_HOME/machines/$NAME/made-by"; } 2>/dev/null || made_by=''
  if [[ $made_by != "$MADE_BY" ]]; then
    answer GONE yes || true
    exit 0
  fi
fi
{ read -r golden <"$MVM_HOME/machines/$NAME/golden"; } 2>/dev/null || golden=''
remove_machine "$NAME"
unlock "$NAME"
answer GONE yes || true
# For the next run.
[[ -z $golden ]] || renew_spare "$MVM_HOME/golden/$golden" "${given[0]:-}" || true
