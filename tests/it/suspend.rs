//! Suspending a Firecracker machine, against a Firecracker that is its API alone: what is said to it, in which order, and
//! what is left when it refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use crate::common::process::lives;
use crate::environment::{Seen, TestHost};

const MEMORY_MIB: u64 = 128;

/// How the fake writes a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshot {
    Whole,
    Refused,
    Short,
    /// It does not, and does not stop saying so: as one that the guest took over might.
    Flood,
}

/// A machine that runs, as far as mvm can tell: a supervisor, a VMM, and the VMM's API.
pub(crate) struct Machine {
    pub(crate) host: TestHost,
    supervisor: Child,
    pub(crate) vmm: u32,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    pub(crate) fn running(snapshot: Snapshot) -> Self {
        let host = TestHost::bare();
        // Nobody is to look for a guest in this host's own network.
        fs_err::remove_file(host.path("bin/nsenter")).unwrap();
        host.write("bin/nsenter", "#!/bin/sh\nexit 1\n");
        fs_err::set_permissions(host.path("bin/nsenter"), PermissionsExt::from_mode(0o755)).unwrap();
        let spec = format!(
            r#"{{"version":1,"name":"web","image":"debian:bookworm","image_id":"abc","cpus":1,"memory_mib":{MEMORY_MIB},"disk_bytes":67108864,"vmm":"auto","created":1}}"#
        );
        host.write("home/mvm/machines/web/vm.json", &spec);
        host.write("home/mvm/machines/web/run/vm.json", &spec);
        host.write("home/mvm/machines/web/disk.img", &"d".repeat(1 << 20));
        host.write("home/mvm/machines/web/run/as", "firecracker kvm\n");
        host.write("home/mvm/machines/web/run/up", "");
        // As the cell's own: told to end, it ends the VMM, and then nothing of the cell is left.
        let script = "sleep 600 & vmm=$!; trap 'kill $vmm' TERM; echo $vmm >run/pid.new; mv run/pid.new run/pid; \
                      wait $vmm; wait $vmm; rm -f run/cell run/vmm";
        let folder = host.path("home/mvm/machines/web");
        let supervisor = Command::new("bash").args(["-c", script]).current_dir(&folder).spawn().unwrap();
        crate::common::process::wait_until("the VMM", || folder.join("run/pid").exists());
        let vmm: u32 = fs_err::read_to_string(folder.join("run/pid")).unwrap().trim().parse().unwrap();
        for (file, pid) in [("cell", supervisor.id()), ("vmm", vmm)] {
            host.write(&format!("home/mvm/machines/web/run/{file}"), &identity(pid));
        }
        let requests = Arc::default();
        serve(folder, Arc::clone(&requests), snapshot);
        Self { host, supervisor, vmm, requests }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.host.path("home/mvm/machines/web")
    }

    fn suspend(&mut self) -> Seen {
        let seen = self.host.mvm_as_is(&["suspend", "web"]);
        if seen.code == 0 {
            self.supervisor.wait().unwrap();
        }
        seen
    }

    /// What was asked beyond who it is.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| !request.starts_with("GET /")).cloned().collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if lives(self.vmm) {
            crate::common::process::kill("KILL", self.vmm);
            self.supervisor.wait().unwrap();
        }
    }
}

/// PID, start time, boot id: as the supervisor writes it.
fn identity(pid: u32) -> String {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let started = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().to_owned();
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    format!("{pid} {started} {boot}")
}

/// Serves the API in the machine's folder.
fn serve(folder: PathBuf, requests: Arc<Mutex<Vec<String>>>, snapshot: Snapshot) {
    fs_err::create_dir_all(folder.join("run/out")).unwrap();
    let listener = UnixListener::bind(folder.join("run/out/api.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &folder, &requests, snapshot).unwrap();
        }
    });
}

fn answer(
    mut stream: UnixStream,
    folder: &std::path::Path,
    requests: &Mutex<Vec<String>>,
    snapshot: Snapshot,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let target: Vec<_> = first.split(' ').take(2).collect();
    let what = body["state"].as_str().or(body["snapshot_type"].as_str()).unwrap_or_default();
    requests.lock().unwrap().push(format!("{} {what}", target.join(" ")));
    let reply = |stream: &mut UnixStream, status: &str, body: &str| {
        write!(stream, "HTTP/1.1 {status} \r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    match target[..] {
        ["GET", "/version"] => reply(&mut stream, "200", r#"{"firecracker_version":"1.16.1"}"#),
        ["GET", _] => reply(&mut stream, "200", "{}"),
        ["PUT", "/snapshot/create"] if snapshot == Snapshot::Flood => {
            write!(
                stream,
                "HTTP/1.1 400 \r\nContent-Length: 99999\r\n\r\n{{\"fault_message\":\"\x1b]0;owned\x07"
            )?;
            // Until nobody reads it any more.
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
            Ok(())
        }
        ["PUT", "/snapshot/create"] if snapshot == Snapshot::Refused => {
            reply(&mut stream, "400", r#"{"fault_message":"Create snapshot error: no space left"}"#)
        }
        ["PUT", "/snapshot/create"] => {
            let path = |key: &str| folder.join(body[key].as_str().unwrap());
            let memory = fs_err::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path("mem_file_path"))?;
            let whole = MEMORY_MIB << 20;
            memory.set_len(if snapshot == Snapshot::Whole { whole } else { whole / 2 })?;
            fs_err::write(path("snapshot_path"), "state")?;
            reply(&mut stream, "204", "")
        }
        _ => reply(&mut stream, "204", ""),
    }
}

#[test]
fn the_memory_is_written_while_the_machine_stands_still_and_then_it_ends() {
    let mut machine = Machine::running(Snapshot::Whole);
    let seen = machine.suspend();
    assert!(seen.code == 0 && seen.stderr.contains("The machine `web` is suspended"), "{seen}");
    let requests = machine.requests();
    assert_eq!(requests[0], "PATCH /vm Paused");
    assert!(requests[1].starts_with("PUT /snapshot/create "), "{requests:?}");
    assert_eq!(requests.len(), 2, "nothing wakes it again: {requests:?}");
    assert!(!lives(machine.vmm));
    let frozen = machine.folder().join("frozen");
    assert_eq!(fs_err::metadata(&frozen).unwrap().mode() & 0o777, 0o700);
    let meta = fs_err::read_to_string(frozen.join("meta")).unwrap();
    assert!(meta.contains("VMM_VERSION=1.16.1\nAS=firecracker kvm\n"), "{meta}");
    for left in ["run", "api.sock", "frozen.new"] {
        assert!(!machine.folder().join(left).exists(), "{left} is left");
    }
    let status = machine.host.mvm_as_is(&["ls", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status[0]["state"], "suspended");
    assert!(status[0]["suspended_bytes"].is_u64(), "{status}");
    // Once more: it is so already. A stop discards it, and says so.
    let seen = machine.host.mvm_as_is(&["suspend", "web"]);
    assert!(seen.code == 0 && seen.stderr.contains("suspended already"), "{seen}");
    let seen = machine.host.mvm_as_is(&["stop", "web"]);
    assert!(seen.code == 0 && seen.stderr.contains("its memory is discarded"), "{seen}");
    assert!(!frozen.exists());
}

#[test]
fn what_cannot_be_written_whole_lets_the_machine_live() {
    for (snapshot, why) in
        [(Snapshot::Refused, "no space left"), (Snapshot::Short, "not whole (67108864 bytes)")]
    {
        let mut machine = Machine::running(snapshot);
        let seen = machine.suspend();
        assert!(seen.code == 1 && seen.stderr.contains(why) && seen.stderr.contains("runs on"), "{seen}");
        assert_eq!(machine.requests().last().unwrap(), "PATCH /vm Resumed");
        assert!(lives(machine.vmm));
        for left in ["frozen", "frozen.new"] {
            assert!(!machine.folder().join(left).exists(), "{left} is left");
        }
    }
}

/// A VMM that the guest took over fills neither mvm's memory nor steers the terminal.
#[test]
fn a_vmm_that_floods_is_not_listened_to_without_end() {
    let mut machine = Machine::running(Snapshot::Flood);
    let seen = machine.suspend();
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("xxxx") && seen.stderr.len() < 2_000, "{} bytes: {seen}", seen.stderr.len());
    assert!(!seen.stderr.contains(['\x1b', '\x07']), "{seen}");
    assert!(lives(machine.vmm) && !machine.folder().join("frozen").exists());
}

#[test]
fn a_machine_that_was_resumed_writes_only_what_changed() {
    let mut machine = Machine::running(Snapshot::Whole);
    machine.host.write("bin/firecracker", "#!/bin/sh\necho 'Firecracker v1.16.1'\n");
    fs_err::set_permissions(machine.host.path("bin/firecracker"), PermissionsExt::from_mode(0o755)).unwrap();
    machine.host.write("home/mvm/machines/web/run/thawed/memory", "");
    let base = machine.folder().join("run/thawed/memory");
    fs_err::OpenOptions::new().write(true).open(&base).unwrap().set_len(MEMORY_MIB << 20).unwrap();
    let inode = fs_err::metadata(&base).unwrap().ino();
    let seen = machine.suspend();
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(machine.requests(), ["PATCH /vm Paused", "PUT /snapshot/create Diff"]);
    assert_eq!(fs_err::metadata(machine.folder().join("frozen/memory")).unwrap().ino(), inode);
}

#[test]
fn a_suspension_that_was_killed_in_the_middle_can_be_repeated() {
    let mut machine = Machine::running(Snapshot::Whole);
    // As it stands when everything but the VMM is killed.
    machine.host.write("home/mvm/machines/web/frozen.new/memory", "half");
    let seen = machine.host.mvm_as_is(&["ls"]);
    assert!(!seen.stdout.contains("suspended"), "{seen}");
    let seen = machine.suspend();
    assert_eq!(seen.code, 0, "{seen}");
    let memory = machine.folder().join("frozen/memory");
    assert_eq!(fs_err::metadata(memory).unwrap().len(), MEMORY_MIB << 20);
}
