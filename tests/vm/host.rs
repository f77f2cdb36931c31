//! Who runs mvm, and where: root, and an ordinary user that the suite makes. Set up once, through `mvm setup --yes`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};

pub(crate) use crate::common::process::{Seen, command_line, kill, lives, wait_until};
use crate::common::{install, is_root, skipped};

/// The ordinary user that the suite makes.
const USER: &str = "mvm-test";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

pub(crate) struct Host {
    who: Who,
    pub(crate) home: PathBuf,
    mvm: PathBuf,
    /// Real machines take turns: two cores emulate one at a time well.
    _turn: MutexGuard<'static, ()>,
}

/// The host as `who` sees it, set up; `None` where that cannot be, which is said.
pub(crate) fn host(who: Who) -> Option<Host> {
    static TURN: Mutex<()> = Mutex::new(());
    static SET_UP: [OnceLock<Result<(), String>>; 2] = [OnceLock::new(), OnceLock::new()];
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if who == Who::Root && !is_root() {
        skipped("the tests as root: run them as root");
        return None;
    }
    let host = Host { who, home: home(who), mvm: binary(who), _turn: turn };
    let set_up = SET_UP[usize::from(who == Who::User)].get_or_init(|| host.set_up());
    if let Err(why) = set_up {
        panic!("{why}");
    }
    Some(host)
}

/// For tests that one user is enough for.
pub(crate) fn any_host() -> Host {
    host(Who::User).unwrap()
}

fn home(who: Who) -> PathBuf {
    match who {
        Who::Root => Path::new(env!("CARGO_TARGET_TMPDIR")).join("root"),
        Who::User if is_root() => Path::new("/home").join(USER).join(".local/share/mvm"),
        Who::User => Path::new(env!("CARGO_TARGET_TMPDIR")).join("user"),
    }
}

fn binary(who: Who) -> PathBuf {
    match who {
        Who::User if is_root() => Path::new("/home").join(USER).join("mvm"),
        _ => env!("CARGO_BIN_EXE_mvm").into(),
    }
}

impl Host {
    fn set_up(&self) -> Result<(), String> {
        if is_root() {
            install(&[("sudo", "sudo"), ("ip", "iproute2"), ("nft", "nftables"), ("ps", "procps")]);
        }
        if self.who == Who::User && is_root() {
            make_user();
        }
        let setup = self.mvm(&["setup", "--yes"]);
        if setup.code == 0 { Ok(()) } else { Err(format!("mvm setup failed: {setup}")) }
    }

    /// A command as this user, with nothing of the tests' own environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = if self.who == Who::User && is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--"]).arg(program);
            command
                .env_clear()
                .env("HOME", format!("/home/{USER}"))
                .env("USER", USER)
                .current_dir(format!("/home/{USER}"));
            command
        } else {
            let mut command = Command::new(program);
            let home = std::env::var_os("HOME").unwrap_or_else(|| "/".into());
            command.env_clear().env("HOME", home).env("MVM_HOME", &self.home);
            command
        };
        // An ordinary user's PATH has no sbin.
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
        command
    }

    /// The binary under test.
    pub(crate) fn program(&self) -> &Path {
        &self.mvm
    }

    pub(crate) fn mvm_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(&self.mvm);
        command.args(args);
        command
    }

    pub(crate) fn mvm(&self, args: &[&str]) -> Seen {
        Seen::new(args, self.mvm_command(args).output().unwrap())
    }

    /// What a shell line has to begin with, for mvm to be this user's as in [`Host::command`].
    pub(crate) fn home_variable(&self) -> String {
        match self.who {
            Who::User if is_root() => String::new(),
            _ => format!("MVM_HOME='{}' ", self.home.display()),
        }
    }

    /// Runs mvm, which has to succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Seen {
        let seen = self.mvm(args);
        assert_eq!(seen.code, 0, "{seen}");
        seen
    }

    /// Runs a shell line in a machine, which has to succeed; its standard output.
    pub(crate) fn inside(&self, machine: &str, line: &str) -> String {
        self.ok(&["ssh", machine, "--", "sh", "-c", line]).stdout
    }

    /// What `mvm status --json` says of a machine.
    pub(crate) fn status(&self, machine: &str) -> serde_json::Value {
        let seen = self.ok(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
        let machines = status["machines"].as_array().unwrap();
        machines.iter().find(|entry| entry["name"] == machine).cloned().unwrap_or_default()
    }

    pub(crate) fn machine(&self, name: &str) -> PathBuf {
        self.home.join("machines").join(name)
    }

    /// The PID in `run/cell` (the supervisor) or `run/vmm`.
    pub(crate) fn pid(&self, machine: &str, of: &str) -> u32 {
        let text = fs_err::read_to_string(self.machine(machine).join("run").join(of)).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }

    /// The PID of a machine's pasta.
    pub(crate) fn pasta(&self, machine: &str) -> Option<u32> {
        let supervisor = self.pid(machine, "cell");
        children(supervisor).into_iter().find(|pid| command_line(*pid).starts_with("pasta"))
    }

    /// Removes a machine that an earlier run may have left.
    pub(crate) fn forget(&self, machine: &str) {
        self.mvm(&["destroy", machine, "--yes"]);
    }
}

fn make_user() {
    let line = format!(
        "id {USER} >/dev/null 2>&1 || useradd -m -s /bin/bash {USER}; \
         echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}; chmod 0440 /etc/sudoers.d/{USER}; \
         cp '{}' /home/{USER}/mvm.new; chmod 0755 /home/{USER}/mvm.new; mv -f /home/{USER}/mvm.new /home/{USER}/mvm",
        env!("CARGO_BIN_EXE_mvm")
    );
    let output = Command::new("bash").args(["-ec", &line]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn all_pids() -> Vec<u32> {
    let entries = fs_err::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process's children, and theirs.
pub(crate) fn descendants(parent: u32) -> Vec<u32> {
    children(parent).into_iter().flat_map(|pid| [vec![pid], descendants(pid)].concat()).collect()
}

fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent_of =
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).and_then(|pid| pid.parse().ok());
        parent_of == Some(parent)
    };
    all_pids().into_iter().filter(is_child).collect()
}
