# lima/clock: sets the VM's clock, which stands still while the host sleeps. Runs as root. Safe to repeat.
# In: NOW (unix seconds).
: "${NOW:?}"
date -s "@$NOW" >/dev/null
answer DONE yes
