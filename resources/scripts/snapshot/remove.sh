# snapshot/remove: removes a snapshot of a machine. Safe to repeat.
# In: NAME, TAG. Out: FREED (bytes).
: "${NAME:?}" "${TAG:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
read -r kib _ <<<"$(du -sk "snapshots/$TAG" 2>/dev/null || true)"
# By a rename first: what is half removed is no snapshot any more.
rm -rf snapshots/.gone
[[ ! -e snapshots/$TAG ]] || mv -T "snapshots/$TAG" snapshots/.gone
checkpoint snapshot-remove.renamed
rm -rf snapshots/.gone
event . "snapshot removed: $TAG"
answer FREED $((${kib:-0} * 1024))
