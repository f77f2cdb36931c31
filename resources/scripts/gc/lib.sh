# What is left over, for the scripts that list it and remove it. Paths are below MVM_HOME, where these run.

# held LOCK PATH: whether another mvm is at work on what that lock is for. What a fork makes machines of is locked itself.
held() {
  { [[ -e locks/$1 ]] && ! flock --shared --nonblock "locks/$1" true; } || { [[ $2 == *.fork ]] && ! flock --nonblock "$2" true; }
}

# lives PATH: whether it is of a machine that runs, and so may be in use.
lives() {
  local rest=${1#machines/}
  [[ $rest != "$1" && $rest == */* && $rest != .* ]] && cell_alive "machines/${rest%%/*}"
}

# blocks PATH…: the bytes of disk that each takes, `BYTES<tab>PATH`. What the making of an image leaves may be files of
# subordinate users, whom their namespace alone sees into.
blocks() {
  du -s --block-size=1 "$@" 2>/dev/null || unshare --map-auto --map-root-user du -s --block-size=1 "$@" 2>/dev/null || true
}
