//! A machine whose memory waits on the disk: it goes on from there, or from its disk alone where that is all that fits.

use std::os::unix::fs::{FileExt, MetadataExt};

use crate::host::{Host, Who, host, kill, wait_until};

/// A number that a program in the machine counts up in its memory.
fn count(host: &Host) -> u64 {
    host.ok(&["exec", "sleepy", "--", "cat", "/dev/shm/count"]).stdout.trim().parse().unwrap()
}

fn a_machine_sleeps(who: Who) {
    let Some(host) = host(who) else { return };
    host.forget("sleepy");
    host.ok(&["start", "sleepy", "-d", "--vmm", "qemu", "--memory", "256M"]);
    host.inside(
        "sleepy",
        "nohup sh -c 'i=0; while :; do i=$((i+1)); echo $i > /dev/shm/new; mv /dev/shm/new /dev/shm/count; \
         sleep 0.1; done' > /dev/null 2>&1 & echo on-disk > /root/file",
    );
    wait_until("a first count", || {
        host.mvm(&["exec", "sleepy", "--", "test", "-s", "/dev/shm/count"]).code == 0
    });
    let boot = host.inside("sleepy", "cat /proc/sys/kernel/random/boot_id");
    let before = count(&host);
    let (vmm, folder) = (host.pid("sleepy", "vmm"), host.machine("sleepy"));
    host.ok(&["suspend", "sleepy"]);
    assert!(!crate::host::lives(vmm));
    assert_eq!(host.status("sleepy")["state"], "suspended");
    let memory = folder.join("frozen/memory");
    assert_eq!(fs_err::metadata(&memory).unwrap().mode() & 0o777, 0o600);
    let seen = host.ok(&["why", "sleepy"]);
    assert!(seen.stdout.contains("mvm resume sleepy"), "{seen}");
    // Whatever is to be done in it wakes it; the clock is right by then.
    let seen = host.ok(&["exec", "sleepy", "--", "date", "+%s"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let off = seen.stdout.trim().parse::<u64>().unwrap().abs_diff(now);
    // Between the two clocks lies the end of the session.
    assert!(off < 30, "the guest's clock is off by {off} s");
    assert!(count(&host) >= before, "the program went on counting");
    assert_eq!(host.inside("sleepy", "cat /proc/sys/kernel/random/boot_id"), boot);
    if who == Who::Root {
        // The rest is the same for all.
        host.ok(&["destroy", "sleepy", "--yes"]);
        return;
    }
    // A suspension that was killed in the middle leaves it paused; the next command wakes it.
    host.ok(&["suspend", "sleepy"]);
    host.ok(&["resume", "sleepy"]);
    fs_err::create_dir(folder.join("frozen.new")).unwrap();
    {
        use std::io::Write;
        let mut qmp = fs_err::OpenOptions::new().write(true).open(folder.join("run/qmp.in")).unwrap();
        qmp.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"stop\"}\n").unwrap();
    }
    wait_until("a machine that stands still", || host.status("sleepy")["state"] == "not answering");
    host.ok(&["start", "sleepy", "-d"]);
    assert_eq!(host.inside("sleepy", "cat /proc/sys/kernel/random/boot_id"), boot);
    assert!(!folder.join("frozen.new").exists());
    // A disk that was changed meanwhile, a memory that was: neither is ever resumed, and no file is lost.
    for changed in ["disk.img", "frozen/memory"] {
        host.ok(&["suspend", "sleepy"]);
        let file = fs_err::OpenOptions::new().read(true).write(true).open(folder.join(changed)).unwrap();
        let mut byte = [0];
        file.file().read_exact_at(&mut byte, 4096).unwrap();
        file.file().write_all_at(&byte, 4096).unwrap();
        drop(file);
        let seen = host.ok(&["exec", "sleepy", "--", "cat", "/root/file"]);
        assert_eq!(seen.stdout, "on-disk\n", "{seen}");
        assert!(seen.stderr.contains("changed meanwhile"), "{changed}: {seen}");
        assert_ne!(host.inside("sleepy", "cat /proc/sys/kernel/random/boot_id"), boot);
    }
    // Killed while suspended, or stopped: the disk is left.
    kill("KILL", host.pid("sleepy", "cell"));
    wait_until("the end of the machine", || host.status("sleepy")["state"] == "stopped");
    host.ok(&["destroy", "sleepy", "--yes"]);
}

#[test]
fn a_machine_sleeps_as_root() {
    a_machine_sleeps(Who::Root);
}

#[test]
fn a_machine_sleeps_as_an_ordinary_user() {
    a_machine_sleeps(Who::User);
}
