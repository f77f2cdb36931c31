//! Who runs mvm, and where: root, and an ordinary user that the suite makes. Set up once, through `mvm setup --yes`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};

pub(crate) use crate::common::process::{Seen, command_line, kill, lives, wait_until};
use crate::common::{install, is_root, skipped};

/// The ordinary user that the suite makes; one for each place.
const USER: &str = "mvm-test";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

/// Tests of real machines run as many at once as the host emulates well, at most two, each in homes of its own.
static PLACES: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static PLACE_IS_FREE: Condvar = Condvar::new();

struct Place(usize);

impl Place {
    fn take() -> Self {
        static FIRST: Once = Once::new();
        FIRST.call_once(|| {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            places().extend((0..processors.clamp(1, 2)).rev());
        });
        let mut free = places();
        loop {
            if let Some(place) = free.pop() {
                return Self(place);
            }
            free = PLACE_IS_FREE.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// `name`, in a place.
fn of_place(name: &str, place: usize) -> String {
    if place == 0 { name.to_owned() } else { format!("{name}-{}", place + 1) }
}

impl Drop for Place {
    fn drop(&mut self) {
        places().push(self.0);
        PLACE_IS_FREE.notify_one();
    }
}

fn places() -> MutexGuard<'static, Vec<usize>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Host {
    pub(crate) who: Who,
    user: String,
    pub(crate) home: PathBuf,
    mvm: PathBuf,
    _place: Place,
}

/// The host as `who` sees it, set up; `None` where that cannot be, which is said.
pub(crate) fn host(who: Who) -> Option<Host> {
    /// What became of the set-up, by home.
    type SetUps = Vec<(PathBuf, Result<(), String>)>;
    static SET_UPS: Mutex<SetUps> = Mutex::new(Vec::new());
    let place = Place::take();
    if who == Who::Root && !is_root() {
        skipped("the tests as root: run them as root");
        return None;
    }
    let user = of_place(USER, place.0);
    let host = Host { who, home: home(who, place.0), mvm: binary(who, &user), user, _place: place };
    let mut set_ups = SET_UPS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = set_ups.iter().find(|(home, _)| *home == host.home).map(|(_, result)| result.clone());
    let result = known.unwrap_or_else(|| {
        let others: Vec<_> = set_ups.iter().map(|(home, _)| home.clone()).collect();
        let result = host.set_up(&others);
        set_ups.push((host.home.clone(), result.clone()));
        result
    });
    drop(set_ups);
    if let Err(why) = result {
        panic!("{why}");
    }
    Some(host)
}

/// For tests that one user is enough for.
pub(crate) fn any_host() -> Host {
    host(Who::User).unwrap()
}

fn home(who: Who, place: usize) -> PathBuf {
    match who {
        Who::Root => Path::new(env!("CARGO_TARGET_TMPDIR")).join(of_place("root", place)),
        Who::User if is_root() => Path::new("/home").join(of_place(USER, place)).join(".local/share/mvm"),
        Who::User => Path::new(env!("CARGO_TARGET_TMPDIR")).join(of_place("user", place)),
    }
}

fn binary(who: Who, user: &str) -> PathBuf {
    match who {
        Who::User if is_root() => Path::new("/home").join(user).join("mvm"),
        _ => env!("CARGO_BIN_EXE_mvm").into(),
    }
}

impl Host {
    fn set_up(&self, others: &[PathBuf]) -> Result<(), String> {
        if is_root() {
            install(&[("sudo", "sudo"), ("ip", "iproute2"), ("nft", "nftables"), ("ps", "procps")]);
        }
        if self.who == Who::User && is_root() {
            make_user(&self.user);
        }
        self.copy_images(others);
        let setup = self.mvm(&["setup", "--yes"]);
        if setup.code == 0 { Ok(()) } else { Err(format!("mvm setup failed: {setup}")) }
    }

    /// What was built in one of `homes` need not be built again.
    fn copy_images(&self, homes: &[PathBuf]) {
        let Some(from) = homes.iter().find(|home| home.join("images").exists()) else { return };
        if self.home.join("images").exists() {
            return;
        }
        let mut pack = Command::new("tar")
            .arg("-C")
            .arg(from)
            .args(["-c", "images"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut unpack = self.command("sh");
        unpack
            .args(["-c", "umask 077; mkdir -p \"$1\" && tar --no-same-owner -x -C \"$1\"", "sh"])
            .arg(&self.home);
        let unpacked = unpack.stdin(pack.stdout.take().unwrap()).status().unwrap();
        assert!(unpacked.success() && pack.wait().unwrap().success(), "the images cannot be copied");
    }

    /// A command as this user, with nothing of the tests' own environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = if self.who == Who::User && is_root() {
            let mut command = Command::new("setpriv");
            let home = format!("/home/{}", self.user);
            command.args(["--reuid", &self.user, "--regid", &self.user, "--init-groups", "--"]).arg(program);
            command.env_clear().env("HOME", &home).env("USER", &self.user).current_dir(home);
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

    /// Runs mvm where PATH has this script first, under the name of a program.
    pub(crate) fn mvm_with(&self, program: &str, script: &str, args: &[&str]) -> Seen {
        let bin = self.home.join("bin-of-a-test");
        fs_err::create_dir_all(&bin).unwrap();
        let file = bin.join(program);
        fs_err::write(&file, script).unwrap();
        for path in [&bin, &file] {
            fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
        let seen = Seen::new(args, self.mvm_command(args).env("PATH", path).output().unwrap());
        fs_err::remove_dir_all(&bin).unwrap();
        seen
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

fn make_user(user: &str) {
    let line = r#"id "$1" >/dev/null 2>&1 || useradd -m -s /bin/bash "$1"
        echo "$1 ALL=(ALL) NOPASSWD: ALL" >"/etc/sudoers.d/$1"; chmod 0440 "/etc/sudoers.d/$1"
        cp "$2" "/home/$1/mvm.new"; chmod 0755 "/home/$1/mvm.new"; mv -f "/home/$1/mvm.new" "/home/$1/mvm""#;
    let output =
        Command::new("bash").args(["-ec", line, "bash", user, env!("CARGO_BIN_EXE_mvm")]).output().unwrap();
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
