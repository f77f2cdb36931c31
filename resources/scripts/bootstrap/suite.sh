# bootstrap/suite: from which suite packages can be installed beside what is there. Reads only, needs no root.
# In: "$@", package names. Out: SUITE when it is not the default one.
# Packages of one source must have one version: a qemu-utils from backports keeps stable's qemu-system-x86 out.
simulate() { apt-get --simulate --no-install-recommends install "$@" 2>&1; }

# Without lists there is nothing to look at yet; the installation brings them.
for package in "$@"; do
  apt-cache show "$package" >/dev/null 2>&1 || {
    answer LISTS missing
    exit 0
  }
done
if ! trouble=$(simulate "$@"); then
  suite=
  while read -r candidate; do
    if simulate -t "$candidate" "$@" >/dev/null; then
      suite=$candidate
      break
    fi
  done < <(apt-cache policy | sed -n 's/.*[ ,]a=\([a-z0-9-]*-backports\)[ ,].*/\1/p' | sort -u)
  if [[ -z $suite ]]; then
    while IFS= read -r line; do printf '%s\n' "$line" >&2; done <<<"$trouble"
    reason=$(grep -m 3 -E 'Depends|Breaks|Conflicts|E: ' <<<"$trouble" | tr -s ' \n' ' ') || reason=$trouble
    die apt-conflict "apt cannot install $* beside what is installed: $reason"
  fi
  answer SUITE "$suite"
fi
