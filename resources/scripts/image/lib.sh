# What the scripts that make images share.

# give_up KIND MESSAGE: dies, and leaves nothing that takes room; `work` is the folder of what was under way.
give_up() {
  rm -rf "${work:?}" 2>/dev/null || true
  die "$@"
}

# sha256 FILE: its digest in SHA256. OpenSSL uses the processor's own instructions; Debian's sha256sum takes five times as long.
sha256() {
  if hash openssl 2>/dev/null; then
    read -r SHA256 _ < <(openssl dgst -sha256 -r "$1")
  else
    read -r SHA256 _ < <(sha256sum "$1")
  fi
}

# entry FILE: what image.json says of a file.
entry() {
  sha256 "$1"
  printf '"bytes":%s,"sha256":"%s"' "$(stat -c %s "$1")" "$SHA256"
}

# place WORK ID: the folder WORK becomes the image ID, whole, or not at all. The same image once more gives way: its machines find
# the same files under the same name.
place() {
  local images=$MVM_HOME/images
  find "$1" -type f -links 1 -exec chmod 0400 {} +
  sync "$1"/* "$1"
  checkpoint image.synced
  rm -rf "${images:?}/.gone"
  [[ ! -e $images/$2 ]] || mv -T "$images/$2" "$images/.gone"
  mv -T "$1" "$images/$2"
  checkpoint image.placed
  sync "$images"
  rm -rf "${images:?}/.gone"
}
