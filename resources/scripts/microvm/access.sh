# microvm/access: what lets someone into machines from outside. Reads only.
# In: "$@" machines' names.
# Out: MACHINE lines, CLIENT_KEY.NAME (the private key), KNOWN_HOSTS.NAME and SPEC.NAME (vm.json), tabs for line ends.
for name in "$@"; do
  answer MACHINE "$name"
  for fact in CLIENT_KEY:keys/id_ed25519 KNOWN_HOSTS:keys/known_hosts SPEC:vm.json; do
    text=
    { IFS= read -r -d '' text <"$MVM_HOME/machines/$name/${fact#*:}"; } 2>/dev/null || true
    [[ -z $text ]] || answer "${fact%:*}.$name" "${text//$'\n'/$'\t'}"
  done
done
