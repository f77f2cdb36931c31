//! A host on which machines run whose VMM is testing/machine/vmm: real scripts, real cells, and guests that are up at once.

use std::cell::Cell;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::process::{Seen, lives, wait_until};
use crate::common::{is_root, skipped, which};
use crate::environment::TestHost;

/// No command takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_mins(3);
pub(super) const IMAGE: &str = "0123456789ab";
/// Of a mark, which has a block of its own in the machine's disk.
const BLOCK: usize = 4096;

/// Which VMM testing/machine/vmm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Vmm {
    Qemu,
    Firecracker,
}

impl Vmm {
    /// Whether this host can be one that has it: Firecracker is taken with KVM only.
    pub(super) fn can_be(self) -> bool {
        if self == Self::Qemu {
            return true;
        }
        is_root() && cfg!(target_arch = "x86_64") && Path::new("/dev/kvm").exists()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "firecracker",
        }
    }
}

/// What a machine is before the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Before {
    Nothing,
    Stopped,
    Running,
    /// Running, after it was suspended.
    Resumed,
    Suspended,
    /// Stopped, with a snapshot of when it ran.
    Kept,
    /// Running, with such a snapshot.
    RunningKept,
    /// Running, after an `exec --checkpoint`.
    Checkpointed,
    /// There is none, but a golden memory.
    Golden,
    /// Stopped, beside what killed commands left of others.
    Littered,
}

pub(super) struct Host {
    on: TestHost,
    vmm: Cell<Vmm>,
    /// Somebody else's process.
    pub(super) stranger: Child,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stranger.kill().unwrap();
        self.stranger.wait().unwrap();
        self.end_all();
    }
}

impl Host {
    /// `None` where cells cannot be, which is said.
    pub(super) fn new() -> Option<Self> {
        let namespaces =
            Command::new("unshare").args(["--user", "--map-root-user", "--net", "true"]).status();
        let needed = ["ip", "mke2fs", "debugfs", "prlimit"];
        if !namespaces.is_ok_and(|status| status.success()) || needed.iter().any(|tool| which(tool).is_none())
        {
            skipped(&format!("the fault matrix: it needs user namespaces, and {}", needed.join(", ")));
            return None;
        }
        let host = TestHost::bare();
        for tool in ["mount", "umount", "readlink", "find", "mksquashfs"] {
            let link = host.path("bin").join(tool);
            if let Some(real) = which(tool).filter(|_| !link.exists()) {
                symlink(real, link).unwrap();
            }
        }
        // What `dev` asks for and nothing here uses.
        for tool in ["mmdebstrap", "mksquashfs", "newuidmap", "xz", "lz4", "zstd", "sudo"] {
            let link = host.path("bin").join(tool);
            if !link.exists() {
                symlink(which("true").unwrap(), link).unwrap();
            }
        }
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("testing/machine");
        let qemu = format!("qemu-system-{}", std::env::consts::ARCH);
        for (fake, name) in [
            ("vmm", qemu.as_str()),
            ("vmm", "firecracker"),
            ("ssh", "ssh"),
            ("pasta", "pasta"),
            ("ip", "ip"),
            ("nft", "nft"),
        ] {
            let to = host.path("bin").join(name);
            fs_err::copy(fakes.join(fake), &to).unwrap();
            fs_err::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
        }
        // The library that sets the clock ends whoever has no /dev/shm: nobody in a cell is to have it.
        fs_err::remove_file(host.path("bin/unshare")).unwrap();
        host.write("bin/unshare", "#!/bin/sh\nunset LD_PRELOAD\nexec /usr/bin/unshare \"$@\"\n");
        fs_err::set_permissions(host.path("bin/unshare"), PermissionsExt::from_mode(0o755)).unwrap();
        host.write("tmp/.keep", "");
        let stranger = Command::new("sleep").arg("86400").spawn().unwrap();
        // A processor that has what KVM takes.
        let processors = fs_err::read_to_string("/proc/cpuinfo").unwrap();
        host.write("cpuinfo", &processors.replace("\nflags\t\t: ", "\nflags\t\t: svm "));
        let host = Self { on: host, vmm: Cell::new(Vmm::Qemu), stranger };
        host.make_image();
        for vmm in [Vmm::Qemu, Vmm::Firecracker].into_iter().filter(|vmm| vmm.can_be()) {
            host.vmm.set(vmm);
            host.make_templates();
        }
        Some(host)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.on.path(name)
    }

    pub(super) fn home(&self) -> PathBuf {
        self.path("home/mvm")
    }

    pub(super) fn machine(&self, name: &str) -> PathBuf {
        self.home().join("machines").join(name)
    }

    fn make_image(&self) {
        let dir = format!("home/mvm/images/{IMAGE}");
        let text = "\0".repeat(BLOCK);
        let digest = mvm::digest::Sha256::of(text.as_bytes());
        let entry = format!(r#""bytes":{BLOCK},"sha256":"{digest}""#);
        for file in ["kernel", "base", "initrd"] {
            self.on.write(&format!("{dir}/{file}"), &text);
        }
        self.on.write(
            &format!("{dir}/image.json"),
            &format!(
                r#"{{"version":1,"id":"{IMAGE}","name":"debian","suite":"bookworm","arch":"{}","created":1,"recipe":{},"kernel":{{"version":"6.1",{entry}}},"base":{{"format":"squashfs",{entry}}},"initrd":{{{entry}}}}}"#,
                std::env::consts::ARCH,
                mvm::image::debian::RECIPE,
            ),
        );
    }

    /// mvm, as its user would run it.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_mvm"), args)
    }

    pub(super) fn program(&self, program: &str, args: &[&str]) -> Command {
        // As where nobody is told to die of a full disk: there a write fails.
        let mut command = Command::new("perl");
        if self.vmm.get() == Vmm::Firecracker {
            command = Command::new("/usr/bin/unshare");
            command.args([
                "--mount",
                "--",
                "sh",
                "-c",
                "mount --bind cpuinfo /proc/cpuinfo; exec \"$@\"",
                "sh",
                "perl",
            ]);
        }
        command.args(["-e", "$SIG{XFSZ} = 'IGNORE'; exec @ARGV", program]).args(args);
        command
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("MVM_HOME", self.home())
            .env("TMPDIR", self.path("tmp"))
            .env("MVM_VMM", self.vmm.get().name())
            .stdin(Stdio::null());
        command
    }

    pub(super) fn mvm(&self, args: &[&str]) -> Result<Seen, String> {
        let mut command = self.command(args);
        Ok(Seen::new(args, end(start(&mut command), &args.join(" "))?))
    }

    /// Runs mvm, which has to succeed.
    pub(super) fn ok(&self, args: &[&str]) -> Result<Seen, String> {
        let seen = self.mvm(args)?;
        if seen.code == 0 { Ok(seen) } else { Err(seen.to_string()) }
    }

    /// The machines that mvm can be told about.
    pub(super) fn machines(&self) -> Vec<String> {
        names_in(&self.home().join("machines")).into_iter().filter(|name| !name.starts_with('.')).collect()
    }

    /// The machine `web` in each state but running ones, to be copied.
    fn make_templates(&self) {
        let ok = |args: &[&str]| self.ok(args).unwrap();
        let keep = |name: &str| {
            let to = self.templates().join(name);
            fs_err::create_dir_all(&to).unwrap();
            copy(&self.machine("web"), &to);
        };
        let _ = ok(&["start", "web", "-d", "--disk", "64M", "--memory", "128M"]);
        let _ = ok(&["stop", "web"]);
        let block = self.path("block");
        fs_err::write(&block, mark("first")).unwrap();
        let disk = self.machine("web").join("disk.img");
        debugfs(&["-w", "-R", &format!("write {} kept", block.display())], &disk);
        keep("stopped");
        let _ = ok(&["start", "web", "-d"]);
        let _ = ok(&["suspend", "web"]);
        keep("suspended");
        let _ = ok(&["start", "web", "-d"]);
        let _ = ok(&["snapshot", "create", "web@kept"]);
        let _ = ok(&["stop", "web"]);
        keep("kept");
        let _ = ok(&["destroy", "web", "--yes"]);
    }

    fn templates(&self) -> PathBuf {
        self.path("templates").join(self.vmm.get().name())
    }

    /// Nothing but the image, and the machine `web` as wanted; what its guest has fsynced last is the mark `last`.
    pub(super) fn prepare(&self, vmm: Vmm, before: Before) -> Result<(), String> {
        self.vmm.set(vmm);
        for dir in ["machines", "locks", "golden"] {
            fs_err::remove_dir_all(self.home().join(dir)).ok();
        }
        for name in names_in(&self.home().join("images")) {
            if name != IMAGE {
                fs_err::remove_dir_all(self.home().join("images").join(name)).map_err(|e| e.to_string())?;
            }
        }
        for name in names_in(&self.path("tmp")) {
            fs_err::remove_dir_all(self.path("tmp").join(&name))
                .or_else(|_| fs_err::remove_file(self.path("tmp").join(name)))
                .ok();
        }
        fs_err::remove_dir_all(self.path("at")).ok();
        fs_err::create_dir_all(self.path("at")).unwrap();
        let template = match before {
            Before::Nothing => return Ok(()),
            Before::Golden => {
                let _ = self.ok(&["run", "--quiet", "--", "true"])?;
                // It is put into its place in the background.
                wait_until("the golden memory", || {
                    names_in(&self.home().join("golden")).iter().any(|name| !name.starts_with('.'))
                });
                return Ok(());
            }
            Before::Stopped | Before::Running | Before::Checkpointed | Before::Littered => "stopped",
            Before::Suspended | Before::Resumed => "suspended",
            Before::Kept | Before::RunningKept => "kept",
        };
        fs_err::create_dir_all(self.machine("")).unwrap();
        copy(&self.templates().join(template).join("web"), &self.machine(""));
        if matches!(before, Before::Running | Before::RunningKept | Before::Resumed | Before::Checkpointed) {
            let _ = self.ok(&["start", "web", "-d"])?;
        }
        if before == Before::Checkpointed {
            let _ = self.ok(&["exec", "--checkpoint", "web", "--", "true"])?;
        }
        if before == Before::Littered {
            for left in ["locks", "machines/.old.new/keys", "machines/.other.gone/snapshots", "golden/.new"] {
                fs_err::create_dir_all(self.home().join(left)).map_err(|e| e.to_string())?;
            }
            fs_err::write(self.home().join("locks/gone"), "").map_err(|e| e.to_string())?;
        }
        if before != Before::Suspended {
            self.write_mark("last");
        }
        Ok(())
    }

    /// As the guest does: into its file, and to the disk.
    fn write_mark(&self, text: &str) {
        use std::os::unix::fs::FileExt;
        let disk = self.machine("web").join("disk.img");
        let blocks = debugfs(&["-R", "blocks kept"], &disk);
        let block: u64 = blocks.trim().parse().unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(disk).unwrap();
        file.file().write_all_at(&mark(text), block * BLOCK as u64).unwrap();
        file.sync_all().unwrap();
    }

    /// What the machine's disk has of it.
    pub(super) fn read_mark(&self, machine: &str) -> String {
        let text = debugfs(&["-R", "cat kept"], &self.machine(machine).join("disk.img"));
        text.trim_end_matches('\0').to_owned()
    }

    /// The first word of a file in the machine's run/.
    pub(super) fn pid(&self, of: &str) -> Option<u32> {
        let text = fs_err::read_to_string(self.machine("web").join("run").join(of)).ok()?;
        text.split(' ').next()?.parse().ok().filter(|pid| lives(*pid))
    }

    pub(super) fn pasta(&self) -> Option<u32> {
        self.processes()
            .into_iter()
            .find(|(_, words)| words.contains("/bin/pasta --config-net"))
            .map(|(pid, _)| pid)
    }

    /// All processes that have to do with this host: PID and command line.
    pub(super) fn processes(&self) -> Vec<(u32, String)> {
        let root = self.path("").to_string_lossy().trim_end_matches('/').to_owned();
        let pids = names_in(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
        let is_ours = |pid: &u32| {
            let text = |file: &str| {
                String::from_utf8_lossy(&fs_err::read(format!("/proc/{pid}/{file}")).unwrap_or_default())
                    .into_owned()
            };
            let folder = fs_err::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            folder.starts_with(&root) || text("cmdline").contains(&root) || text("environ").contains(&root)
        };
        let words = |pid| (pid, crate::common::process::command_line(pid));
        pids.filter(|pid: &u32| lives(*pid)).filter(is_ours).map(words).collect()
    }

    /// Another one, where a cell may have ended it.
    pub(super) fn renew_stranger(&mut self) {
        if !lives(self.stranger.id()) {
            self.stranger.wait().unwrap();
            self.stranger = Command::new("sleep").arg("86400").spawn().unwrap();
        }
    }

    /// As a loss of power does.
    pub(super) fn end_all(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > deadline {
                return;
            }
            for (pid, _) in left {
                Command::new("kill")
                    .args(["-KILL", &pid.to_string()])
                    .stderr(Stdio::null())
                    .status()
                    .unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn mark(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(BLOCK, 0);
    bytes
}

fn debugfs(args: &[&str], disk: &Path) -> String {
    let output = Command::new(which("debugfs").unwrap()).args(args).arg(disk).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder into another one, with its times, which tie a memory to its disk.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--sparse=always"]).args([from, to]).status().unwrap();
    assert!(status.success(), "{} cannot be copied", from.display());
}

pub(super) fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// With its outputs in files: what it leaves behind does not keep anybody waiting.
pub(super) fn start(command: &mut Command) -> (Child, [std::fs::File; 2]) {
    let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    command.stdout(files[0].try_clone().unwrap()).stderr(files[1].try_clone().unwrap());
    (command.spawn().unwrap(), files)
}

/// Waits for its end. One that hangs is ended, and an error.
pub(super) fn end((mut child, files): (Child, [std::fs::File; 2]), what: &str) -> Result<Output, String> {
    use std::io::{Read, Seek};
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let [stdout, stderr] = files.map(|mut file| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
        bytes
    });
    let Some(status) = status else {
        child.kill().unwrap();
        child.wait().unwrap();
        return Err(format!("`{what}` hangs; it said: {}", String::from_utf8_lossy(&stderr)));
    };
    Ok(Output { status, stdout, stderr })
}
