# gc/remove: removes what is left over, each under its lock; what another mvm is just working on stays. Safe to repeat.
# In: "$@" pairs of a lock and a path (gc/list, golden/list). Out: FREED (bytes), LEFT (a path that stays).
cd "$MVM_HOME" 2>/dev/null || exit 0
mkdir -p locks
freed=0
while (($# >= 2)); do
  name=$1 path=$2
  shift 2
  # That of the one before.
  exec 9>&-
  if held "$name" "$path"; then
    answer LEFT "$path"
    continue
  fi
  exec 9>"locks/$name"
  # Whoever removed the machine removed the lock's file as well: then somebody was at work on it just now.
  if ! flock --nonblock 9 || [[ ! locks/$name -ef /proc/self/fd/9 ]] || lives "$path"; then
    answer LEFT "$path"
    continue
  fi
  # That of a machine that there is by now stays.
  if [[ $path != locks/* ]]; then
    # Waited for: it has the lock as well.
    size=$(blocks "$path")
    size=${size%%$'\t'*}
    rm -rf "./$path" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "./$path"
    freed=$((freed + ${size:-0}))
    checkpoint gc.removed
  fi
  [[ $name == .* || -e machines/$name ]] || rm -f "locks/$name"
done
exec 9>&-
answer FREED "$freed"
