//! A machine as it was: its memory and its disk of one moment, taken while it runs.

use std::process::Stdio;

use crate::host::{any_host, kill, wait_until};

#[test]
fn a_machine_goes_back_to_what_it_was() {
    let host = any_host();
    host.forget("past");
    host.forget("later");
    host.forget("other");
    host.ok(&["start", "past", "-d", "--vmm", "qemu", "--memory", "256M"]);
    host.inside(
        "past",
        "nohup sh -c 'i=0; while :; do i=$((i+1)); echo $i > /dev/shm/new; mv /dev/shm/new /dev/shm/count; \
         sleep 0.1; done' > /dev/null 2>&1 & echo first > /root/file",
    );
    let count =
        || host.mvm(&["exec", "past", "--", "cat", "/dev/shm/count"]).stdout.trim().parse().unwrap_or(0);
    wait_until("a first count", || count() > 0);
    let boot = host.inside("past", "cat /proc/sys/kernel/random/boot_id");
    let seen = host.ok(&["snapshot", "create", "past@live"]);
    assert!(seen.stderr.contains("stood still for"), "{seen}");
    // It goes on, and knows nothing of it.
    let taken_at: u64 = count();
    wait_until("it counts on", || count() > taken_at);
    host.inside("past", "echo second > /root/file; rm -r /etc/apt");
    host.ok(&["snapshot", "restore", "past@live", "--yes"]);
    assert_eq!(host.status("past")["state"], "running");
    assert_eq!(
        host.inside("past", "cat /root/file; cat /proc/sys/kernel/random/boot_id; ls -d /etc/apt"),
        format!("first\n{boot}/etc/apt\n")
    );
    let restored_at = count();
    wait_until("its program goes on", || count() > restored_at);
    // What differs is told without entering it; what the guest's kernel had not written yet is in it.
    host.inside("past", "mkdir /root/new; echo 1 > '/root/new/a b'; rm -r /etc/apt; echo >> /etc/passwd; mv /usr/share/misc /opt/misc");
    let seen = host.ok(&["snapshot", "diff", "past@live"]);
    let differs = |line: &str| seen.stdout.lines().any(|seen| seen == line);
    for line in [
        "added    /root/new/a b",
        "removed  /etc/apt/",
        "removed  /etc/apt/sources.list.d/",
        "changed  /etc/passwd",
        "removed  /usr/share/misc/magic",
        "added    /opt/misc/magic",
    ] {
        assert!(differs(line), "{line}: {seen}");
    }
    assert!(!seen.stdout.contains("/root/file") && !seen.stdout.contains("/usr/bin"), "{seen}");
    assert_eq!(host.ok(&["snapshot", "diff", "past@live", "past@live"]).stdout, "");
    host.ok(&["snapshot", "restore", "past@live", "--yes"]);
    // Twice more: before a command that did harm, and the one before that.
    host.ok(&["exec", "--checkpoint", "past", "--", "sh", "-c", "echo third > /root/file"]);
    let seen = host.mvm(&["exec", "--checkpoint", "past", "--", "sh", "-c", "rm -r /usr/share; exit 3"]);
    assert!(seen.code == 3 && seen.stderr.contains("mvm undo past"), "{seen}");
    host.ok(&["undo", "past", "--yes"]);
    assert_eq!(host.inside("past", "cat /root/file; ls -d /usr/share"), "third\n/usr/share\n");
    host.ok(&["undo", "past", "--yes"]);
    assert_eq!(host.inside("past", "cat /root/file"), "first\n");
    assert_eq!(host.mvm(&["undo", "past", "--yes"]).code, 1);
    // Killed at some step of a restore: it is the one or the other, and whole.
    host.inside("past", "echo now > /root/file; sync");
    for lines in [1, 2] {
        let mut restore = host.mvm_command(&["snapshot", "restore", "past@live", "--yes"]);
        let mut restore = restore.stderr(Stdio::piped()).spawn().unwrap();
        let said = std::io::BufReader::new(restore.stderr.take().unwrap());
        assert!(std::io::BufRead::lines(said).nth(lines - 1).is_some());
        for pid in crate::host::all_pids() {
            if crate::host::command_line(pid).contains("snapshot/restore") {
                kill("KILL", pid);
            }
        }
        kill("KILL", restore.id());
        restore.wait().unwrap();
        host.ok(&["start", "past", "-d"]);
        let file = host.inside("past", "cat /root/file");
        assert!(["now\n", "first\n"].contains(&file.as_str()), "{file}");
    }
    // Of one that is stopped it is the disk alone; it goes with the machine, under its new name as well.
    host.ok(&["stop", "past"]);
    host.ok(&["snapshot", "create", "past@off"]);
    host.ok(&["rename", "past", "later"]);
    host.ok(&["snapshot", "restore", "later@live", "--yes"]);
    assert_eq!(host.status("later")["state"], "suspended");
    assert_eq!(host.ok(&["exec", "later", "--", "cat", "/root/file"]).stdout, "first\n");
    assert_eq!(host.inside("later", "cat /proc/sys/kernel/random/boot_id"), boot);
    // Another machine goes on from the same moment, as one of its own; this one is as it was.
    let who =
        "cat /root/file /proc/sys/kernel/random/boot_id /etc/machine-id /run/mvm/host_ed25519.pub; hostname";
    host.ok(&["snapshot", "restore", "later@live", "--as", "other"]);
    assert_eq!(host.status("other")["state"], "suspended");
    host.ok(&["start", "other", "-d"]);
    let (later, other) = (host.inside("later", who), host.inside("other", who));
    for (index, (later, other)) in later.lines().zip(other.lines()).enumerate() {
        assert_eq!(later == other, index < 2, "{later} {other}");
    }
    assert!(other.ends_with("other\n") && other.contains(&boot), "{other}");
    host.ok(&["destroy", "other", "--yes"]);
    // One whose memory does not fit any more boots from its disk.
    let memory = host.machine("later").join("snapshots/live/frozen/memory");
    fs_err::OpenOptions::new().write(true).open(memory).unwrap().set_len(1).unwrap();
    let seen = host.ok(&["snapshot", "restore", "later@live", "--yes"]);
    assert!(seen.stderr.contains("without its memory: its memory is not whole"), "{seen}");
    assert_eq!(host.inside("later", "cat /root/file"), "first\n");
    assert_ne!(host.inside("later", "cat /proc/sys/kernel/random/boot_id"), boot);
    let seen = host.ok(&["snapshot", "restore", "later@live", "--as", "past"]);
    assert!(seen.stderr.contains("has the disk of `later@live` alone"), "{seen}");
    let machine_id = "cat /etc/machine-id";
    host.ok(&["start", "past", "-d"]);
    assert_ne!(host.inside("past", machine_id), host.inside("later", machine_id));
    host.ok(&["destroy", "past", "--yes"]);
    host.ok(&["destroy", "later", "--yes"]);
    assert!(!host.machine("later").exists());
}
