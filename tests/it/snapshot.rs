//! Snapshots: of a machine that runs, against a Firecracker that is its API alone; of one that is stopped; and what a restore leaves
//! that was cut off.

use std::os::unix::fs::MetadataExt;

use crate::common::process::lives;
use crate::environment::TestHost;
use crate::suspend::{Machine, Snapshot};

const WEB: &str = "home/mvm/machines/web";

#[test]
fn a_machine_that_runs_stands_still_and_goes_on() {
    let machine = Machine::running(Snapshot::Whole);
    let seen = machine.host.mvm_as_is(&["snapshot", "create", "web"]);
    assert!(seen.code == 0 && seen.stderr.contains("The snapshot `web@1` is taken"), "{seen}");
    assert!(seen.stderr.contains("stood still for"), "{seen}");
    let requests = machine.requests();
    assert_eq!(requests[0], "PATCH /vm Paused");
    assert!(requests[1].starts_with("PUT /snapshot/create "), "{requests:?}");
    assert_eq!(requests[2..], ["PATCH /vm Resumed"]);
    assert!(lives(machine.vmm));
    let folder = machine.folder();
    assert!(!folder.join("frozen.new").exists() && !folder.join("frozen").exists());
    let taken = folder.join("snapshots/1");
    assert_eq!(fs_err::metadata(&taken).unwrap().mode() & 0o777, 0o700);
    let disk = fs_err::read(taken.join("disk.img")).unwrap();
    assert_eq!(disk, fs_err::read(folder.join("disk.img")).unwrap());
    // Memory and disk belong together, in the copy as well.
    let meta = fs_err::read_to_string(taken.join("frozen/meta")).unwrap();
    let tie = meta.lines().find(|line| line.starts_with("DISK=")).unwrap();
    assert!(fs_err::read_to_string(taken.join("meta")).unwrap().contains(tie), "{meta}");
    let listed = machine.host.mvm_as_is(&["snapshot", "ls", "web", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["of"]), (&"web@1".into(), &"running".into()));
    assert!(listed[0]["memory_bytes"].is_u64(), "{listed}");
    // There is no Firecracker here that could go on from it.
    assert!(listed[0]["trouble"].as_str().unwrap().contains("not installed"), "{listed}");
}

#[test]
fn what_cannot_be_written_leaves_no_snapshot_and_a_machine_that_lives() {
    for (snapshot, why) in [(Snapshot::Refused, "no space left"), (Snapshot::Short, "not whole")] {
        let machine = Machine::running(snapshot);
        let seen = machine.host.mvm_as_is(&["snapshot", "create", "web"]);
        assert!(seen.code == 1 && seen.stderr.contains(why) && seen.stderr.contains("runs on"), "{seen}");
        assert_eq!(machine.requests().last().unwrap(), "PATCH /vm Resumed");
        assert!(lives(machine.vmm) && !machine.folder().join("frozen.new").exists());
        assert_eq!(fs_err::read_dir(machine.folder().join("snapshots")).unwrap().count(), 0);
    }
}

#[test]
fn a_machine_that_was_resumed_writes_onto_a_copy_of_what_it_was_resumed_from() {
    let machine = Machine::running(Snapshot::Whole);
    machine.host.write("bin/firecracker", "#!/bin/sh\necho 'Firecracker v1.16.1'\n");
    fs_err::set_permissions(
        machine.host.path("bin/firecracker"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    machine.host.write(&format!("{WEB}/run/thawed/memory"), "base");
    let seen = machine.host.mvm_as_is(&["snapshot", "create", "web"]);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(machine.requests()[1], "PUT /snapshot/create Diff");
    let memory = fs_err::read(machine.folder().join("snapshots/1/frozen/memory")).unwrap();
    assert!(memory.starts_with(b"base"), "what did not change is in it");
    // What changes from here on would be missing there.
    let base = machine.folder().join("run/thawed/memory");
    assert!(!base.exists() || fs_err::metadata(&base).unwrap().len() == memory.len() as u64);
}

fn host() -> TestHost {
    let host = TestHost::bare();
    host.machine("web");
    host
}

fn ok(host: &TestHost, args: &[&str]) -> String {
    let shown = host.mvm_as_is(args);
    assert_eq!(shown.code, 0, "{shown}");
    shown.stderr
}

#[test]
fn the_disk_of_a_stopped_machine_is_kept_and_restored() {
    let host = host();
    let said = ok(&host, &["snapshot", "create", "web@first"]);
    assert!(said.contains("the machine is stopped"), "{said}");
    host.write(&format!("{WEB}/disk.img"), "changed");
    ok(&host, &["snapshot", "create", "web"]);
    // Without a terminal nothing is lost unasked.
    let seen = host.mvm_as_is(&["snapshot", "restore", "web@first"]);
    assert!(seen.code == 2 && host.read(&format!("{WEB}/disk.img")) == "changed", "{seen}");
    let asked = host.mvm_as_is(&["snapshot", "restore", "web@first", "--dry-run"]);
    assert!(asked.stdout.contains("What is on the disk of `web` now is lost"), "{asked}");
    ok(&host, &["snapshot", "restore", "web@first", "--yes"]);
    assert_eq!(host.read(&format!("{WEB}/disk.img")), "written");
    // It stays, for the next time; and goes along with the machine.
    ok(&host, &["rename", "web", "shop"]);
    let listed = host.mvm_as_is(&["snapshot", "ls"]).stdout;
    assert!(listed.contains("shop@first") && listed.contains("shop@1"), "{listed}");
    ok(&host, &["snapshot", "restore", "shop@1", "--yes"]);
    assert_eq!(host.read("home/mvm/machines/shop/disk.img"), "changed");
    for (other, code, why) in [("shop", 2, "leave out `--as`"), ("a b", 2, "a name is")] {
        let seen = host.mvm_as_is(&["snapshot", "restore", "shop@first", "--as", other]);
        assert!(seen.code == code && seen.stderr.contains(why), "{seen}");
    }
    let asked = host.mvm_as_is(&["destroy", "shop", "--dry-run"]).stdout;
    assert!(asked.contains("with 2 snapshots?"), "{asked}");
    ok(&host, &["snapshot", "rm", "shop@1", "--yes"]);
    for (args, why) in [
        (&["snapshot", "restore", "shop@1", "--yes"][..], "there is no snapshot `shop@1`"),
        (&["snapshot", "restore", "shop@frist", "--yes"], "did you mean `shop@first`?"),
        (&["snapshot", "create", "shop@first"], "there is a snapshot `shop@first` already"),
        (&["undo", "shop", "--yes"], "no checkpoint"),
    ] {
        let seen = host.mvm_as_is(args);
        assert!(seen.code == 1 && seen.stderr.contains(why), "{seen}");
    }
}

#[test]
fn a_snapshot_that_was_damaged_is_refused() {
    let host = host();
    ok(&host, &["snapshot", "create", "web"]);
    let taken = format!("{WEB}/snapshots/1");
    for (file, text, why) in [
        ("disk.img", "writtem", "was changed since it was taken"),
        ("disk.img", "", "has lost its disk"),
        ("meta", "FORMAT=2\n", "newer mvm"),
    ] {
        host.write(&format!("{WEB}/disk.img"), "now");
        host.write(&format!("{taken}/{file}"), text);
        let seen = host.mvm_as_is(&["snapshot", "restore", "web@1", "--yes"]);
        assert!(seen.code == 1 && seen.stderr.contains(why), "{file}: {seen}");
        assert_eq!(host.read(&format!("{WEB}/disk.img")), "now");
    }
}

#[test]
fn a_restore_that_was_cut_off_is_brought_to_its_end() {
    // As it stands after each of its steps.
    let (old, new) = (["frozen/meta", "frozen/memory"], ["restore/frozen/meta", "restore/frozen/memory"]);
    for (before, restored) in [
        (&old[..], &["restore/disk.img", new[0], new[1]][..]),
        (&[], &["disk.img", new[0], new[1]]),
        (&[], &["disk.img", old[0], old[1], "restore/vm.json"]),
    ] {
        let host = host();
        for (files, text) in [(before, "old"), (restored, "restored")] {
            for file in files {
                host.write(&format!("{WEB}/{file}"), text);
            }
        }
        let listed = host.mvm_as_is(&["ls", "--json"]).stdout;
        assert!(listed.contains("suspended"), "{restored:?}: {listed}");
        // Whatever is done to it next: here, a snapshot of it.
        ok(&host, &["snapshot", "create", "web"]);
        assert_eq!(host.read(&format!("{WEB}/snapshots/1/disk.img")), "restored");
        assert_eq!(host.read(&format!("{WEB}/snapshots/1/frozen/meta")), "restored");
        assert!(!host.path(WEB).join("restore").exists());
    }
    // Before the rename nothing of it counts.
    let host = host();
    host.write(&format!("{WEB}/restore.new/disk.img"), "half");
    ok(&host, &["snapshot", "create", "web"]);
    assert_eq!(host.read(&format!("{WEB}/snapshots/1/disk.img")), "written");
}
