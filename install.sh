#!/bin/sh
# Installs mvm: downloads a release, verifies it, and puts its one program into a folder of yours, as you.
# The form `| sh` is safe with a script that arrives in part: nothing is done before its last line.
#
# MVM_INSTALL_URL names another place for the releases than the project's own page. Below it are
# latest/download/SHA256SUMS, and SHA256SUMS and the archives in download/vX.Y.Z/.
set -eu

# The release workflow writes the repository's name here, in the copy that belongs to a release.
repository='@REPOSITORY@'

usage() {
  cat <<'END'
Usage: install.sh [--version vX.Y.Z] [--dir DIR]
       install.sh --uninstall [--dir DIR]

Installs mvm for you alone; no root is needed.

  --version vX.Y.Z   this release instead of the newest
  --dir DIR          the folder of the program [default: ~/.local/bin]
  --uninstall        removes the program; machines, images and settings stay
  --help             prints this

Environment:
  MVM_INSTALL_URL    where releases are, in the place of the project's own page:
                     URL/latest/download/SHA256SUMS, URL/download/vX.Y.Z/FILE
END
}

say() {
  printf '%s\n' "$*" >&2
}

# fail ERROR HINT [EXIT CODE]
fail() {
  say "error: $1"
  say "hint: $2"
  exit "${3:-1}"
}

has() {
  command -v "$1" >/dev/null 2>&1
}

# Sets `target`: the name that a release's archive for this machine has.
detect() {
  system=$(uname -s)
  cpu=$(uname -m)
  # A shell that Rosetta translates sees an Intel CPU.
  if [ "$system" = Darwin ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null)" = 1 ]; then
    cpu=arm64
  fi
  case $cpu in
    x86_64 | amd64) cpu=x86_64 ;;
    aarch64 | arm64) cpu=aarch64 ;;
    *) system=unknown ;;
  esac
  case $system in
    Linux) target=$cpu-unknown-linux-musl ;;
    Darwin) target=$cpu-apple-darwin ;;
    *)
      fail "there is no mvm for this machine: $(uname -s) on $(uname -m)" \
        'mvm runs on Linux and macOS, on x86_64 and aarch64; on another Linux try to build it from source (README)'
      ;;
  esac
}

# fetch URL FILE HINT
fetch() {
  url=$1 file=$2 hint=$3
  if has curl; then
    set --
    case $url in https:*) set -- --proto '=https' --tlsv1.2 ;; esac
    set -- curl --fail --silent --show-error --location --connect-timeout 30 --retry 2 "$@" --output "$file" "$url"
  elif has wget; then
    set -- wget -q -T 60 -O "$file" "$url"
  else
    fail 'neither curl nor wget is installed' 'install one of them, and run this again'
  fi
  "$@" 2>"$work/said" || fail "$url could not be downloaded: $(tail -n 1 "$work/said")" "$hint"
}

# Prints a file's SHA-256.
digest() {
  if has sha256sum; then
    set -- sha256sum "$1"
  elif has shasum; then
    set -- shasum -a 256 "$1"
  elif has openssl; then
    set -- openssl dgst -sha256 -r "$1"
  else
    fail 'nothing here computes a SHA-256' 'install sha256sum (coreutils), shasum (Perl) or openssl'
  fi
  "$@" | cut -d ' ' -f 1
}

# Who built the archive, by the release workflow's signed word: where `gh` can ask for it.
attest() {
  ask="gh attestation verify $archive --repo $repository"
  if [ -z "$repository" ]; then
    say 'The attestation was not verified: this copy of install.sh belongs to no repository.'
  elif ! has gh; then
    say "The attestation was not verified: gh is not installed (https://cli.github.com). By hand: $ask"
  elif ! gh attestation verify --help >/dev/null 2>&1; then
    say "The attestation was not verified: this gh is too old. By hand: $ask"
  elif ! gh auth status >/dev/null 2>&1; then
    say "The attestation was not verified: gh is not logged in (gh auth login). By hand: $ask"
  elif gh attestation verify "$work/$archive" --repo "$repository" \
    --signer-workflow "$repository/.github/workflows/release.yml" >"$work/said" 2>&1; then
    say "Its attestation is good: built by the release workflow of $repository."
  else
    cat "$work/said" >&2
    fail "$archive has no good attestation of the release workflow of $repository; nothing was installed" \
      'run this again; if it stays so, do not use this archive, and tell the project'
  fi
}

# What to do where the shell would not find the program, or finds another one first.
advise() {
  case ":$PATH:" in
    *":$dir:"*)
      found=$(command -v mvm || :)
      [ "$found" = "$dir/mvm" ] || say "note: \`mvm\` is $found for your shell, since it comes first in PATH"
      return
      ;;
  esac
  say "note: $dir is not in PATH. Add it, and open a new shell:"
  # shellcheck disable=SC2016 # PATH is for the user's shell to expand.
  case ${SHELL##*/} in
    fish) say "  fish_add_path '$dir'" ;;
    zsh) say "  echo 'export PATH=\"$dir:\$PATH\"' >>~/.zshrc" ;;
    bash) say "  echo 'export PATH=\"$dir:\$PATH\"' >>~/.bashrc" ;;
    *) say "  echo 'export PATH=\"$dir:\$PATH\"' >>~/.profile" ;;
  esac
}

uninstall() {
  if [ ! -f "$dir/mvm" ]; then
    fail "there is no mvm in $dir" \
      "name the folder it is in with --dir (\`command -v mvm\` tells); what Homebrew installed goes with \`brew uninstall mvm\`"
  fi
  rm -f "$dir/mvm" || fail "$dir/mvm could not be removed" 'run this as the user who installed it'
  say "mvm is removed from $dir."
  home=${MVM_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/mvm}
  if [ -d "$home" ]; then
    say "note: machines and images stay in $home. To remove them as well, install mvm again, run \`mvm destroy --all\`, and uninstall it."
  fi
}

install_release() {
  case $repository in @*) repository= ;; esac
  base=${MVM_INSTALL_URL:-${repository:+https://github.com/$repository/releases}}
  base=${base%/}
  [ -n "$base" ] || fail 'this copy of install.sh does not know where releases are' \
    'take install.sh from a release page, or set MVM_INSTALL_URL'
  detect
  work=$(mktemp -d) || fail 'no temporary folder could be made' 'free some space, or set TMPDIR to a folder of yours'

  page=$base/latest/download
  [ "$version" = latest ] || page=$base/download/$version
  fetch "$page/SHA256SUMS" "$work/SHA256SUMS" \
    "see which releases there are: $base; another place can be named with MVM_INSTALL_URL"
  grep -Eq '^[0-9a-f]{64}  [^ ]+$' "$work/SHA256SUMS" || fail "$page/SHA256SUMS is no list of checksums" \
    'a proxy or a login page may have answered instead; open the address in a browser'
  line=$(grep -E "^[0-9a-f]{64}  mvm-v[0-9][0-9A-Za-z.+-]*-$target\\.tar\\.gz\$" "$work/SHA256SUMS" | head -n 1)
  [ -n "$line" ] || fail "the release at $page has no mvm for $target" "take another release with --version: $base"
  archive=${line#*  }
  release=${archive#mvm-}
  release=${release%-"$target".tar.gz}
  if [ "$version" != latest ] && [ "$version" != "$release" ]; then
    fail "$page holds $release, not $version" "take another release with --version: $base"
  fi

  if [ "$("$dir/mvm" --version 2>/dev/null || :)" = "mvm ${release#v}" ]; then
    say "mvm $release is in $dir already."
    advise
    return
  fi
  say "Downloading mvm $release for $target"
  # By its version: the newest release may be another one by now.
  fetch "$base/download/$release/$archive" "$work/$archive" 'run this again; another place can be named with MVM_INSTALL_URL'
  sum=$(digest "$work/$archive")
  [ "$sum" = "${line%% *}" ] || fail \
    "$base/download/$release/$archive is not what it should be: its SHA-256 is $sum, not ${line%% *}; nothing was installed" \
    'run this again; if it stays so, tell the project'
  attest
  tar -xzf "$work/$archive" -C "$work" "${archive%.tar.gz}/mvm" || fail "$archive holds no mvm" 'tell the project'

  if ! { mkdir -p "$dir" && staged=$(mktemp "$dir/.mvm.XXXXXX"); } 2>"$work/said"; then
    fail "$dir cannot be written to: $(tail -n 1 "$work/said")" 'name a folder of yours with --dir'
  fi
  { cp "$work/${archive%.tar.gz}/mvm" "$staged" && chmod 755 "$staged"; } 2>"$work/said" ||
    fail "mvm could not be written to $dir: $(tail -n 1 "$work/said")" 'free some space, or name another folder with --dir'
  said=$("$staged" --version 2>&1 || :)
  [ "$said" = "mvm ${release#v}" ] || fail "the downloaded mvm does not run here: $said" \
    'where programs may not run from that folder (noexec), name another one with --dir'
  # One rename: whoever starts mvm meanwhile has the old one or the new one.
  mv -f "$staged" "$dir/mvm" || fail "$dir/mvm could not be replaced" 'name another folder with --dir'
  staged=
  say "mvm $release is installed in $dir."
  advise
}

main() {
  version=latest dir='' action=install_release work='' staged=''
  while [ $# -gt 0 ]; do
    case $1 in
      --version | --dir)
        [ -n "${2:-}" ] || fail "$1 wants a value" 'install.sh --help shows the form' 2
        if [ "$1" = --dir ]; then dir=$2; else version=$2; fi
        shift
        ;;
      --uninstall) action=uninstall ;;
      --help | -h)
        usage
        exit
        ;;
      *) fail "unknown argument: $1" 'install.sh --help shows the form' 2 ;;
    esac
    shift
  done
  case $version in
    latest | v[0-9]*) ;;
    [0-9]*) version=v$version ;;
    *) fail "$version is no version" 'versions look like v1.2.3' 2 ;;
  esac
  [ -n "${HOME:-}" ] || fail 'HOME is not set' 'set HOME to your own folder'
  dir=${dir:-$HOME/.local/bin}
  case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
  [ ! -d "$dir/mvm" ] || fail "$dir/mvm is a folder" 'name another folder with --dir'
  trap 'rm -rf ${work:+"$work"} ${staged:+"$staged"}' EXIT
  trap 'exit 130' INT
  trap 'exit 143' HUP TERM
  "$action"
}

main "$@"
