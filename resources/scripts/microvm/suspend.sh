# microvm/suspend: writes a running machine's memory to its folder and ends its cell. Until the memory is whole and on the
# disk the machine lives; however this ends, it goes on, or it can be resumed.
# In: NAME, UNUSED_SINCE (only from its own supervisor, that nobody used it since then: else it lives on), what vmm/freeze needs, "$@" the command that lets the guest write out its files, run in the cell.
# Out: BYTES (what the memory takes), PAUSED (ms), TOOK (ms), SYNCED yes|no.
: "${NAME:?}" "${VMM:?}" "${MEMORY_BYTES:?}" "${PAUSE:?}" "${UNPAUSE:?}" "${SAVE:?}" "${META:?}"
lock "$NAME"
cd "$MVM_HOME/machines/$NAME" 2>/dev/null || die gone "the machine \`$NAME\` was removed meanwhile"
{ cell_alive . && cell_vmm .; } || die not-running "the machine \`$NAME\` is not running"
# In an early boot a guest cannot always be resumed.
sshd_was_up . || die booting "the machine \`$NAME\` is still booting"

why=suspended
if [[ -n ${UNUSED_SINCE:-} ]]; then
  # Whoever comes from here on waits until it is suspended, and wakes it (in_use, microvm/enter).
  exec 8>>run/use
  { flock --nonblock 8 && [[ $(stat -c %Y run/use) == "$UNUSED_SINCE" ]]; } || die used "the machine \`$NAME\` is used"
  why="suspended: nobody has used it for $((EPOCHSECONDS - UNUSED_SINCE)) s"
fi

freeze_room no
step "Suspending $NAME"
uptime
began=$UPTIME
freeze_begin "$@"
freeze_pause
freeze_memory
freeze_over
freeze_meta disk.img
sync disk.img frozen.new/* frozen.new
checkpoint suspend.synced
mv -T frozen.new frozen
sync .
trap - EXIT
checkpoint suspend.placed
# What is on the disk counts from here on.
cell_end .
checkpoint suspend.ended
event . "$why"
answer BYTES "$(($(stat -c '%b * %B' frozen/memory)))"
answer PAUSED "$FROZEN_FOR"
uptime
answer TOOK $(((UPTIME - began) * 10))
answer SYNCED "$SYNCED"
