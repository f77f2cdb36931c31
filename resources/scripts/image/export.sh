# image/export: writes an image to standard output, after the mark that each script begins with, as a tar of its files: the small
# ones first, since whoever reads it looks for them there.
# In: ID, TOOLS (tools, or nothing).
: "${ID:?}" "${TOOLS?}"
cd "$MVM_HOME/images/$ID"
exec tar --format=gnu --owner=0 --group=0 -cf - image.json kernel initrd ${TOOLS:+"$TOOLS"} base >&3
