# microvm/create: makes a machine's folder: keys, a disk, vm.json. Safe to repeat: a machine that is there stays.
# In: NAME, DISK_BYTES, GOLDEN (the key of the golden memory that it may go on from; empty for none), stdin vm.json on one line, and the line of its keys.
# Out: CREATED (its name) and the keys that its seed is made of; FROZEN, where it goes on from a golden memory.
: "${NAME:?}" "${DISK_BYTES:?}"
# `read` would ask the kernel for each byte.
mapfile -t given
vm_json=${given[0]} keys=${given[1]}
lock "$NAME"
machine=$MVM_HOME/machines/$NAME
if [[ ! -e $machine/vm.json ]]; then
  step "Creating the machine $NAME"
  # It appears by one rename, so a killed run leaves nothing that looks finished.
  new=$MVM_HOME/machines/.$NAME.new
  [[ ! -e $new ]] || rm -rf "$new"
  golden=$MVM_HOME/golden/${GOLDEN:-} from=nothing
  if [[ -n ${GOLDEN:-} ]] && golden_whole "$GOLDEN"; then
    from=golden
    ! take_spare "$golden" "$new" || from=spare
  fi
  [[ $from == spare ]] || mkdir -p "$new"
  printf '%s\n' "$vm_json" >"$new/vm.json"
  checkpoint create.begun
  if [[ $from == spare ]]; then
    know_host "$new/keys" "$NAME"
  else
    make_keys "$new/keys" "$NAME" "$keys" || die no-space "cannot write the keys of $NAME"
    [[ $from != golden ]] || go_on_from "$golden" "$new" || from=nothing
    if [[ $from == nothing ]]; then
      rm -rf "$new/frozen" "$new/disk.img"
      make_disk "$new/disk.img"
    fi
  fi
  # When a golden memory was used last, and what the leash is to make another spare of.
  [[ $from == nothing ]] || { : >"$golden/used" && printf '%s\n' "$GOLDEN" >"$new/golden"; }
  # A power cut leaves what is renamed, but of its files only what was written out: keys without content help nobody. Whoever goes on
  # from a golden memory passes with this run.
  [[ -n ${GOLDEN:-} ]] || sync "$new/vm.json" "$new"/keys/*
  event "$new" "created"
  checkpoint create.made
  # Left from a destroy or a create that was cut off: without a vm.json it holds nothing of the user's.
  [[ ! -e $machine ]] || rm -rf "$machine"
  mv -T "$new" "$machine"
  checkpoint create.placed
fi
sweep
answer CREATED "$NAME"
answer_keys "$machine" "$NAME"
if [[ -n ${GOLDEN:-} && -e $machine/frozen/meta ]]; then
  IFS= read -r -d '' facts <"$machine/frozen/meta" || true
  answer FROZEN "${facts//$'\n'/$'\t'}"
fi
