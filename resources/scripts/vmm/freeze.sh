# What writes the memory of a machine that runs: for a suspension, for a snapshot. In the machine's folder, under its lock.
# In: NAME, VMM (its kind), MEMORY_BYTES, PAUSE, UNPAUSE, SAVE and SAVE_CHANGES (what is said to it; the last may be empty),
#     META (lines of what is known of the machine).
# The VMM writes into run/out, which is all that it may write to; what it wrote goes to frozen.new. Killed at any step, the machine lives, perhaps paused, and the next start wakes it.

# freeze_room LIVES [BYTES]: dies where there is no room for the memory, and BYTES more. LIVES (yes|no) is whether the machine
# goes on afterwards.
freeze_room() {
  local needed
  # What changed since it was resumed goes onto the memory that it was resumed from, or onto a copy of that.
  BASE=no CHANGES=no LIVES=$1
  if [[ $VMM == firecracker && -n ${SAVE_CHANGES:-} ]]; then
    if [[ -e run/thawed/memory ]]; then
      BASE=yes CHANGES=yes
    elif [[ ! -e run/thawed && $(wc -l </proc/swaps) -le 1 ]]; then
      # Without swap, what was never touched need not be written.
      CHANGES=yes
    fi
  fi
  if [[ $VMM == qemu ]]; then
    process_memory "$VMM_PID" || die not-running "the machine \`$NAME\` ended meanwhile"
    needed=$RESIDENT
  else
    needed=$MEMORY_BYTES
    [[ $BASE == no || $LIVES == yes ]] || needed=$((MEMORY_BYTES - $(stat -c '%b * %B' run/thawed/memory)))
  fi
  needed=$((needed + ${2:-0}))
  room_for "$needed" ||
    die no-space "the memory of \`$NAME\` may take $((needed >> 20)) MiB, and $((FREE >> 20)) MiB are free; it runs on"
}

# freeze_begin [COMMAND…]: the guest writes out its files, by COMMAND in its cell; whether it did is in SYNCED. Then the VMM is spoken to.
# shellcheck disable=SC2034 # SYNCED is for whoever answers it
freeze_begin() {
  # A memory that cannot be resumed one day must not cost files.
  SYNCED=no
  (($# == 0)) || ! guest_syncs 30 "$@" || SYNCED=yes
  vmm_open "$VMM" || die vmm "the VMM of \`$NAME\` does not answer"
  [[ $VMM == firecracker || -e run/argv ]] || die vmm "the machine \`$NAME\` was started by an older mvm: stop and start it once"
  FROZEN_BY=$(vmm_version) || die vmm "the VMM of \`$NAME\` does not say its version"
  trap go_on EXIT
  rm -rf frozen.new frozen run/out/{memory,state,whole,short}
  mkdir frozen.new
  if [[ $BASE == yes && $LIVES == yes ]]; then
    copy_sparse run/thawed/memory run/out/memory || die no-space "the memory of \`$NAME\` could not be written, and it runs on"
  elif [[ $BASE == yes ]]; then
    mv run/thawed/memory run/out/memory
  fi
  checkpoint freeze.begun
}

# go_on: the machine lives on as it was.
go_on() {
  trap - EXIT
  vmm_says "$UNPAUSE" || true
  rm -rf frozen.new frozen run/out/{memory,state,whole,short}
}

# freeze_pause: the machine stands still, and its disk with it.
freeze_pause() {
  FROZEN_SINCE=${EPOCHREALTIME/./}
  vmm_says "$PAUSE" || die vmm "the VMM of \`$NAME\` does not pause: $VMM_FAULT"
  # What the guest had asked of its disk just before is done by the time of the next answer.
  [[ $VMM == qemu ]] || vmm_says 'GET /' || die vmm "the VMM of \`$NAME\` does not answer: $VMM_FAULT"
  checkpoint freeze.paused
}

# freeze_memory: writes the memory of a machine that stands still.
freeze_memory() {
  local words=$SAVE late size
  [[ $CHANGES == no ]] || words=$SAVE_CHANGES
  # From here on the VMM counts what changes anew: what it was resumed from is no base any more.
  [[ $BASE == no ]] || rm -f run/thawed/memory
  vmm_says "$words" || { [[ $CHANGES == yes && $BASE == no ]] && vmm_says "$SAVE"; } ||
    die vmm "the memory of \`$NAME\` could not be written, and it runs on: $VMM_FAULT"
  if [[ $VMM == qemu ]]; then
    # QEMU is through when the last bytes are in the pipe.
    late=$((SECONDS + REPLY_SECONDS))
    until [[ -e run/out/whole ]]; do
      [[ ! -e run/out/short ]] || die no-space "the memory of \`$NAME\` could not be written, and it runs on"
      ((SECONDS < late)) || die vmm "the VMM of \`$NAME\` does not end writing its memory, and it runs on"
      nap 0.01
    done
    freeze_take memory
    ln run/initrd frozen.new/initrd
    # Not as /proc has them: the VMM can write anything there.
    ln run/argv frozen.new/argv
  else
    freeze_take memory state
    size=$(stat -c %s frozen.new/memory)
    [[ $size == "$MEMORY_BYTES" && -s frozen.new/state ]] ||
      die vmm "the memory of \`$NAME\` is not whole ($size bytes), and it runs on"
  fi
  [[ ! -e run/vm.json ]] || ln run/vm.json frozen.new/vm.json
  checkpoint freeze.written
}

# freeze_take FILE…: what the VMM wrote, out of its reach. It is not believed: a link would be followed later, to files that are not its own.
freeze_take() {
  local file
  for file; do
    mv -T "run/out/$file" "frozen.new/$file"
    [[ -f frozen.new/$file && ! -h frozen.new/$file ]] || die vmm "what the VMM of \`$NAME\` wrote as its memory is no file"
  done
}

# freeze_over: since freeze_pause the machine stood still; for how long, in milliseconds, is in FROZEN_FOR.
# shellcheck disable=SC2034 # so is this
freeze_over() {
  FROZEN_FOR=$(((${EPOCHREALTIME/./} - FROZEN_SINCE) / 1000))
  # The host's clock was set meanwhile.
  ((FROZEN_FOR >= 0)) || FROZEN_FOR=0
}

# freeze_meta DISK: what is known of the memory, and of the disk that it belongs to.
freeze_meta() {
  {
    printf '%s\n' "$META"
    printf 'VMM_VERSION=%s\nAS=%s\nAT=%s\nDISK=%s\nFILES=%s\n' "$FROZEN_BY" "$(<run/as)" "$EPOCHSECONDS" \
      "$(disk_identity "$1")" "$(frozen_identity frozen.new)"
    printf 'MEMORY=%s\n' "$(stat -c %s frozen.new/memory)"
  } >frozen.new/meta
}

# freeze_live INTO [COMMAND…]: into the folder INTO the memory of a machine that goes on, and its disk of the same moment. It dies where
# that fails, and the machine goes on; whoever has more to undo says so in freeze_undone. COMMAND is freeze_begin's.
freeze_live() {
  local into=$1 copied
  freeze_begin "${@:2}"
  FROZEN_COPY=''
  trap 'freeze_gives_up; freeze_undone' EXIT
  freeze_pause
  copy_disk disk.img "$into/disk.img" &
  FROZEN_COPY=$!
  freeze_memory
  copied=yes
  wait "$FROZEN_COPY" || copied=no
  FROZEN_COPY=''
  [[ $copied == yes ]] || die no-space "the disk of \`$NAME\` could not be copied, and it runs on"
  vmm_says "$UNPAUSE" || die vmm "the machine \`$NAME\` does not go on: $VMM_FAULT"
  freeze_over
  checkpoint freeze.goes-on
  freeze_meta "$into/disk.img"
  # Nothing of it tells any more that the machine stands still.
  mv -T frozen.new "$into/frozen"
  checkpoint freeze.kept
  trap freeze_undone EXIT
  # Where a copy takes no space the next suspension goes on writing from one.
  [[ $BASE == no ]] || cp --reflink=always "$into/frozen/memory" run/thawed/memory 2>/dev/null || rm -f run/thawed/memory
}

freeze_gives_up() {
  [[ -z $FROZEN_COPY ]] || kill "$FROZEN_COPY" 2>/dev/null || true
  go_on
}
