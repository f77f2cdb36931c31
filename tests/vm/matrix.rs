//! Some cells of the fault matrix (tests/it/matrix) with a real machine: the same places, the same harm.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::is_root;
use crate::host::{Host, any_host, kill, lives, wait_until};

const NAME: &str = "matrix";

/// A command that waits at a place.
struct Waits {
    mvm: Child,
    /// mvm itself, or the script that it sent.
    at: u32,
    passed: PathBuf,
    _dir: tempfile::TempDir,
}

impl Waits {
    fn at(host: &Host, args: &[&str], place: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs_err::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let reached = dir.path().join("reached");
        let mut command = host.mvm_command(args);
        command.env("MVM_CHECKPOINT", format!("{place}={}", reached.display()));
        let mut mvm = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until(place, || reached.exists() || mvm.try_wait().unwrap().is_some());
        let at = fs_err::read_to_string(&reached).unwrap().trim().parse().unwrap();
        Self { mvm, at, passed: dir.path().join("reached.passed"), _dir: dir }
    }

    fn kill_all(&mut self) {
        self.mvm.kill().unwrap();
        self.mvm.wait().unwrap();
        if lives(self.at) {
            kill("KILL", self.at);
        }
    }

    /// Goes on; its exit code.
    fn end(&mut self) -> i32 {
        fs_err::write(&self.passed, "").unwrap();
        self.mvm.wait().unwrap().code().unwrap_or(-1)
    }
}

/// A small file system over a folder, as long as this lives.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn over(dir: &'a Path) -> Self {
        let owner = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(dir).unwrap());
        let options = format!("size=600m,mode=0700,uid={owner},gid={owner}");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "mvm-test"]).arg(dir).status();
        assert!(status.unwrap().success());
        Self(dir)
    }

    fn fill(&self) {
        let line = "dir=$0; set -- $(stat -f -c '%a %S' \"$dir\"); fallocate -l $(($1 * $2)) \"$dir/full\"";
        assert!(Command::new("sh").args(["-c", line]).arg(self.0).status().unwrap().success());
    }

    fn make_room(&self) {
        fs_err::remove_file(self.0.join("full")).unwrap();
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0).status().unwrap();
    }
}

/// Nothing of it hangs, and it runs with what was fsynced last.
fn converges(host: &Host) {
    for args in [&["status"][..], &["ls"], &["why", NAME]] {
        host.ok(args);
    }
    let seen = host.ok(&["dev", NAME, "--", "cat", "/root/file"]);
    assert_eq!(seen.stdout, "fsynced\n", "{seen}");
}

#[test]
fn a_real_machine_survives_what_befalls_it() {
    let host = any_host();
    host.forget(NAME);
    let machines = host.home.join("machines");
    assert!(host.command("mkdir").arg("-p").arg(&machines).status().unwrap().success());
    // Only root may mount one.
    let small = is_root().then(|| Small::over(&machines));
    let start = &["start", NAME, "-d", "--vmm", "qemu", "--memory", "256M", "--disk", "1G"][..];
    let mut pids = Vec::new();
    let mut note = |host: &Host| pids.extend([host.pid(NAME, "cell"), host.pid(NAME, "vmm")]);

    // While it starts.
    let mut waits = Waits::at(&host, start, "start.supervised");
    waits.kill_all();
    host.ok(start);
    host.inside(NAME, "echo fsynced > /root/file; sync");
    note(&host);

    // While it stands still: it goes on.
    let boot = host.inside(NAME, "cat /proc/sys/kernel/random/boot_id");
    let mut waits = Waits::at(&host, &["suspend", NAME], "freeze.paused");
    waits.kill_all();
    converges(&host);
    assert_eq!(host.inside(NAME, "cat /proc/sys/kernel/random/boot_id"), boot);

    // A disk that is full when its memory is to be written.
    if let Some(small) = &small {
        let mut waits = Waits::at(&host, &["suspend", NAME], "freeze.paused");
        small.fill();
        assert_eq!(waits.end(), 1);
        host.ok(&["why", NAME]);
        small.make_room();
        converges(&host);
        assert!(!host.machine(NAME).join("frozen.new").exists());
        note(&host);
    }

    // Its memory is on the disk, and the host goes down: another boot id, and no process.
    let boot = host.inside(NAME, "cat /proc/sys/kernel/random/boot_id");
    let mut waits = Waits::at(&host, &["suspend", NAME], "suspend.placed");
    let (cell, vmm) = (host.pid(NAME, "cell"), host.pid(NAME, "vmm"));
    waits.kill_all();
    kill("KILL", cell);
    wait_until("the end of the cell", || !lives(cell) && !lives(vmm));
    for file in ["cell", "vmm"] {
        let path = host.machine(NAME).join("run").join(file);
        let text = fs_err::read_to_string(&path).unwrap();
        let (before, _) = text.rsplit_once(' ').unwrap();
        fs_err::write(&path, format!("{before} another-boot\n")).unwrap();
    }
    converges(&host);
    assert_eq!(host.inside(NAME, "cat /proc/sys/kernel/random/boot_id"), boot);
    note(&host);

    // The VMM dies while a snapshot is taken: there is none, and the disk is whole.
    let mut waits = Waits::at(&host, &["snapshot", "create", NAME], "freeze.written");
    kill("KILL", host.pid(NAME, "vmm"));
    assert_eq!(waits.end(), 1);
    converges(&host);
    note(&host);
    assert_eq!(host.ok(&["snapshot", "ls", NAME, "--json"]).stdout.trim(), "[]");

    // While it is removed: what is left is nobody's, and the next one is new.
    let mut waits = Waits::at(&host, &["destroy", NAME, "--yes"], "remove.renamed");
    waits.kill_all();
    host.ok(start);
    assert_eq!(host.mvm(&["exec", NAME, "--", "test", "-e", "/root/file"]).code, 1);
    note(&host);
    host.ok(&["destroy", NAME, "--yes"]);

    for pid in pids {
        wait_until("the end of the cells", || !lives(pid));
    }
    let left: Vec<_> = fs_err::read_dir(&machines).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let left: Vec<_> = left.iter().filter(|name| name.to_string_lossy().contains(NAME)).collect();
    assert!(left.is_empty() && !host.home.join("locks").join(NAME).exists(), "{left:?}");
    let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&format!("machines/{NAME}")), "{mounts}");
}

#[test]
fn much_use_leaves_nothing_behind() {
    let host = any_host();
    let soak = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/soak.sh");
    let mut command = host.command("bash");
    command.args(["-s", "--", "2", "2", "20", "30"]).env("MVM", host.program());
    let output = command.stdin(fs_err::File::open(soak).unwrap().into_parts().0).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("4  30 times status"), "{said}");
}
