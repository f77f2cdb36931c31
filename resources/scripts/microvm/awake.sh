# microvm/awake: whether machines are suspended. Reads only.
# In: "$@" machines' names. Out: SUSPENDED lines.
for name in "$@"; do
  machine=$MVM_HOME/machines/$name
  [[ ! -e $machine/frozen/meta ]] || cell_alive "$machine" || answer SUSPENDED "$name"
done
