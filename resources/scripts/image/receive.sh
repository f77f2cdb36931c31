# image/receive: takes one file of the image `ubuntu`. Safe to repeat: it appears by one rename, whole and right.
# In: FILE (kernel|base), SHA256, stdin the file.
: "${FILE:?}" "${SHA256:?}"
work=$MVM_HOME/images/.ubuntu.partial
lock .images
mkdir -p "$work"
new=$work/$FILE.new
cat >"$new" || give_up no-space "cannot write $new"
checkpoint receive.written
wanted=$SHA256
sha256 "$new"
[[ $SHA256 == "$wanted" ]] || give_up cut "the file did not arrive whole: its SHA-256 is $SHA256 instead of $wanted"
mv -T "$new" "$work/$FILE"
