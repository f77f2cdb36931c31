# microvm/create: makes a machine's folder: keys, an empty disk, vm.json. Safe to repeat: a machine that is there stays.
# In: NAME, DISK_BYTES, stdin vm.json on one line. Out: the keys that its seed is made of.
: "${NAME:?}" "${DISK_BYTES:?}"
read -r vm_json
lock "$NAME"
machine=$MVM_HOME/machines/$NAME
if [[ ! -e $machine/vm.json ]]; then
  step "Creating the machine $NAME"
  # It appears by one rename, so a killed run leaves nothing that looks finished.
  new=$MVM_HOME/machines/.$NAME.new
  rm -rf "$new"
  mkdir -p "$new/keys" "$new/run"
  printf '%s\n' "$vm_json" >"$new/vm.json"
  ssh-keygen -q -t ed25519 -N '' -C "mvm-$NAME" -f "$new/keys/id_ed25519" </dev/null &
  user_key=$!
  ssh-keygen -q -t ed25519 -N '' -C "$NAME" -f "$new/keys/host_ed25519" </dev/null &
  host_key=$!
  make_disk "$new/disk.img"
  wait "$user_key"
  wait "$host_key"
  read -r kind key _ <"$new/keys/host_ed25519.pub"
  printf 'mvm-%s %s %s\n' "$NAME" "$kind" "$key" >"$new/keys/known_hosts"
  # A power cut leaves what is renamed, but of its files only what was written out: keys without content help nobody.
  sync "$new/vm.json" "$new"/keys/*
  event "$new" "created"
  # Left from a destroy or a create that was cut off: without a vm.json it holds nothing of the user's.
  rm -rf "$machine"
  mv -T "$new" "$machine"
fi
answer_keys "$machine" "$NAME"
