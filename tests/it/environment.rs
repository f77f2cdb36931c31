//! A host of its own for each test: a home, and a PATH of real basic tools and fakes.

use std::fmt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mvm::shell::{Payload, Script};
use tempfile::TempDir;

use crate::common::{is_root, which};

/// What a bare Debian has: the scripts may use these without `doctor` asking for them.
const BASIC: &[&str] = &[
    "bash",
    "basename",
    "cat",
    "chmod",
    "cp",
    "cut",
    "date",
    "dirname",
    "du",
    "env",
    "false",
    "flock",
    "grep",
    "gzip",
    "head",
    "id",
    "install",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mktemp",
    "mv",
    "nproc",
    "nsenter",
    "od",
    "perl",
    "printf",
    "ps",
    "rm",
    "rmdir",
    "sed",
    "setpriv",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "tee",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "uname",
    "uniq",
    "unshare",
    "wc",
];

pub(crate) struct TestHost {
    root: TempDir,
}

impl TestHost {
    /// A host without any of the programs that mvm installs.
    pub(crate) fn bare() -> Self {
        let host = Self { root: tempfile::tempdir().unwrap() };
        for dir in ["bin", "home", "config"] {
            fs_err::create_dir(host.path(dir)).unwrap();
        }
        for tool in BASIC {
            if let Some(real) = which(tool) {
                symlink(real, host.path("bin").join(tool)).unwrap();
            }
        }
        // Tests run as root drop to a user who may still use the folder.
        fs_err::set_permissions(host.root.path(), PermissionsExt::from_mode(0o777)).unwrap();
        fs_err::set_permissions(host.path("home"), PermissionsExt::from_mode(0o777)).unwrap();
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Puts the fakes of testing/fakes on PATH; they append what they are called with to the file `log`.
    pub(crate) fn fake(self, names: &[&str]) -> Self {
        for name in names {
            self.fake_at(name, &format!("bin/{name}"));
        }
        self
    }

    /// Puts a fake of testing/fakes elsewhere.
    pub(crate) fn fake_at(&self, name: &str, path: &str) {
        let to = self.path(path);
        // A link to the real program must not be written through.
        if to.is_symlink() {
            fs_err::remove_file(&to).unwrap();
        }
        fs_err::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("testing/fakes").join(name), &to).unwrap();
        fs_err::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Lets the ordinary user that tests run mvm as write there.
    pub(crate) fn open(&self, path: &str) {
        fs_err::set_permissions(self.path(path), PermissionsExt::from_mode(0o777)).unwrap();
    }

    /// Puts a fake in the place of each program that would change the host itself.
    pub(crate) fn fake_administration(self) -> Self {
        let host = self.fake(&["apt-get", "apt-cache", "sudo"]);
        for name in ["usermod", "chmod", "mknod", "sysctl"] {
            let to = host.path("bin").join(name);
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("testing/fakes/changes-the-host");
            if to.exists() {
                fs_err::remove_file(&to).unwrap();
            }
            fs_err::copy(from, &to).unwrap();
            fs_err::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
        }
        host
    }

    /// Debian's package of a static busybox, whose busybox makes an archive of any input.
    pub(crate) fn fake_busybox_package(self) -> Self {
        for (name, text) in [
            ("apt-get", "#!/bin/bash\n: >busybox-static_1_amd64.deb\n"),
            (
                "dpkg-deb",
                "#!/bin/bash\ncd \"$HOME\" && mkdir -p deb/bin && printf '#!/bin/bash\\nsort\\n' >deb/bin/busybox && tar -c -C deb ./bin/busybox\n",
            ),
        ] {
            let file = self.path("bin").join(name);
            fs_err::write(&file, text).unwrap();
            fs_err::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
        for real in ["find", "chmod"] {
            let link = self.path("bin").join(real);
            if !link.exists() {
                symlink(which(real).unwrap(), link).unwrap();
            }
        }
        self
    }

    /// What the fakes were called with.
    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.path("home/log")).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }

    /// A machine as `mvm start` leaves it, which has not been started.
    pub(crate) fn machine(&self, name: &str) {
        let spec = format!(
            r#"{{"version":1,"name":"{name}","image":"debian:bookworm","image_id":"abc","cpus":2,"memory_mib":512,"disk_bytes":{},"vmm":"auto","created":1}}"#,
            128 << 20
        );
        let known = format!("mvm-{name} ssh-ed25519 KEY\n");
        for (file, text) in [
            ("vm.json", spec.as_str()),
            ("disk.img", "written"),
            ("keys/id_ed25519", "private\n"),
            ("keys/id_ed25519.pub", "public\n"),
            ("keys/host_ed25519", "private\n"),
            ("keys/host_ed25519.pub", "ssh-ed25519 KEY\n"),
            ("keys/known_hosts", &known),
        ] {
            self.write(&format!("home/mvm/machines/{name}/{file}"), text);
        }
    }

    /// Runs a script as on a Linux side of its own.
    pub(crate) fn send<T>(&self, script: &Script<T>) -> Output {
        let call = script.call(true);
        let stdin = match call.stdin {
            Some(Payload::File(path)) => fs_err::File::open(path).unwrap().into_parts().0.into(),
            _ => Stdio::null(),
        };
        let mut command = Command::new(self.path("bin/env"));
        command.args(&call.argv[1..]).env_clear();
        command
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("MVM_HOME", self.path("home/mvm"));
        command.stdin(stdin).output().unwrap()
    }

    /// Runs mvm as an ordinary user without a terminal.
    pub(crate) fn mvm(&self, args: &[&str]) -> Seen {
        self.run(args, true, "")
    }

    /// As [`TestHost::mvm`], in a folder of the host's.
    pub(crate) fn mvm_in(&self, folder: &str, args: &[&str]) -> Seen {
        self.run(args, true, folder)
    }

    /// As [`TestHost::mvm_as_is`], with all there is to trace.
    pub(crate) fn mvm_traced(&self, args: &[&str]) -> Seen {
        self.run_with(args, false, "", &[("MVM_LOG", "trace")])
    }

    /// Runs mvm as whoever runs the tests.
    pub(crate) fn mvm_as_is(&self, args: &[&str]) -> Seen {
        self.run(args, false, "")
    }

    pub(crate) fn mvm_as_is_in(&self, folder: &str, args: &[&str]) -> Seen {
        self.run(args, false, folder)
    }

    fn run(&self, args: &[&str], ordinary: bool, folder: &str) -> Seen {
        self.run_with(args, ordinary, folder, &[])
    }

    fn run_with(&self, args: &[&str], ordinary: bool, folder: &str, variables: &[(&str, &str)]) -> Seen {
        let mut command = if ordinary && is_root() {
            let mut command = Command::new(which("setpriv").expect("util-linux is there"));
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(self.binary());
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_mvm"))
        };
        let output = command
            .args(args)
            .current_dir(self.path(folder))
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("MVM_HOME", self.path("home/mvm"))
            .env("FAKES", self.path("home"))
            .env("LIMA_HOME", self.path("home/lima"))
            .env("COLUMNS", "100")
            .envs(variables.iter().copied())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        Seen::new(output, self.root.path())
    }

    /// mvm where an ordinary user can reach it.
    pub(crate) fn binary(&self) -> PathBuf {
        let copy = self.path("mvm");
        if !copy.exists() {
            // By another process: a file that this one writes while another test forks is busy.
            let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_mvm")).arg(&copy).status().unwrap();
            assert!(status.success());
        }
        copy
    }
}

/// What a user sees.
#[must_use = "assert on what was seen"]
pub(crate) struct Seen {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Seen {
    fn new(output: Output, root: &Path) -> Self {
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(root.to_str().unwrap(), "[HOST]");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
