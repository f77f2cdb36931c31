# shellcheck shell=bash
# What the benches share; sourced at the repository's root. `runs` is how often each thing is measured, `mvm` the program: this tree's, or
# what MVM names.
: "${runs:?}"
[[ -n ${MVM:-} ]] || cargo build --release --quiet
export mvm=${MVM:-$PWD/target/release/mvm}

# now: microseconds.
now() { printf '%s' "${EPOCHREALTIME/./}"; }
# median NUMBERS…
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
# ms MICROSECONDS, ratio A B
ms() { printf '%d.%d ms' $(($1 / 1000)) $(($1 % 1000 / 100)); }
ratio() { printf '%d.%02d' $(($1 / $2)) $(($1 * 100 / $2 % 100)); }

# measure LABEL COMMAND…: the median of its runs in TIME. The command leaves what it took in `took`.
measure() {
  local label=$1 all=() run
  shift
  for ((run = 0; run < runs; run++)); do
    "$@"
    all+=("$took")
  done
  TIME=$(median "${all[@]}")
  printf '   %-58s %s\n' "$label" "$(ms "$TIME")"
}

# timed COMMAND…: for measure, a command as it is.
timed() {
  local began
  began=$(now)
  "$@" >/dev/null 2>&1
  took=$(($(now) - began))
}
