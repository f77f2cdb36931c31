# verify/host: evidence of how MVM_HOME is kept, and of processes that belong to no machine. Reads only.
# Out: HOME_MODE, OPEN (what in it others may reach, where they may enter it), STRAY (PID WHAT: a process of a cell whose machine does
#      not run).
shopt -s nullglob
[[ -d $MVM_HOME ]] || exit 0
cd "$MVM_HOME"
answer HOME_MODE "$(stat -L -c %a .)"
while IFS= read -r line; do answer OPEN "$line"; done < <(find . -mindepth 1 -maxdepth 1 -perm /077 ! -type l -printf '%m %p\n')
# Whatever belongs to a cell works in its machine's folder.
home=$(pwd -P)
for dir in /proc/[0-9]*; do
  cwd=$(readlink "$dir/cwd" 2>/dev/null) || continue
  [[ -O $dir && $cwd == "$home"/machines/* ]] || continue
  name=${cwd#"$home"/machines/} name=${name%%/*} name=${name% (deleted)}
  if [[ $cwd != *' (deleted)' ]] && { cell_alive "machines/$name" || held "$name" ''; }; then continue; fi
  ! is_of_cell "${dir#/proc/}" || answer STRAY "${dir#/proc/} ${WORDS[0]} of $name"
done
