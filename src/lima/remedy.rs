//! What to do about what Lima says. Matched by words, since quotes and order differ between its versions.

/// Words that a failure has, and the next step.
const REMEDIES: &[(&str, &str)] = &[
    (
        "nested virtualization",
        "this Mac cannot nest; `mvm destroy --all`, then `mvm setup`, makes a VM without, in which machines are emulated",
    ),
    ("Could not access KVM", "let this user open /dev/kvm: `sudo usermod -aG kvm $USER`, then log in again"),
    (
        "qemu-system",
        "install QEMU: `sudo apt-get install -y qemu-system-x86 qemu-utils` (or your system's package)",
    ),
    ("qemu-img", "install QEMU's tools: `sudo apt-get install -y qemu-utils` (or your system's package)"),
    (
        "could not find firmware",
        "install the firmware: `sudo apt-get install -y ovmf` (or your system's package)",
    ),
    (
        "failed to download",
        "check the network and the proxy, or name an image you have in `[lima] image`; the next run goes on from here",
    ),
    ("expected digest", "the download was damaged: `limactl prune` drops it, then run this again"),
    ("no space left", "make room on this host's disk, then run this again"),
    ("UNIX_PATH_MAX", "name a shorter folder in LIMA_HOME, such as ~/.lima"),
    ("disk shrinking", "give `[lima] disk` at least what the VM has"),
    ("in use by", "`limactl disk unlock` frees a disk that a crash left locked"),
    ("address already in use", "end what listens on that port, or set another one in the VM's lima.yaml"),
    ("requires Lima version", "install a newer Lima: `brew upgrade lima`"),
    (
        "did not receive an event",
        "the VM goes on booting: `mvm dev` waits for it. If it never comes up: `limactl stop -f mvm`, then `mvm dev`; its \
         console is in serial*.log of its folder",
    ),
    ("ha.stderr.log", "the file named there says more; `mvm dev` tries again"),
];

/// The next step after a failure that said `log`.
pub fn remedy(log: &str) -> Option<&'static str> {
    REMEDIES.iter().find(|(words, _)| log.contains(words)).map(|(_, next)| *next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lima_says_has_a_next_step() {
        for (said, next) in [
            ("nested virtualization is not supported on this device", "cannot nest"),
            ("exec: \"qemu-system-x86_64\": executable file not found in $PATH", "install QEMU"),
            ("failed to download \"x\": expected HTTP status 200, got 404", "[lima] image"),
            ("did not receive an event with the `running` status", "goes on booting"),
            ("exiting, status={} (hint: see \"/h/.lima/mvm/ha.stderr.log\")", "says more"),
        ] {
            assert!(remedy(said).unwrap().contains(next), "{said}");
        }
        assert_eq!(remedy("something new"), None);
    }
}
