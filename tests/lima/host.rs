//! A user who has Lima, and runs mvm.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::common::process::Seen;
use crate::common::skipped;
use crate::set_up::{self, USER, home};

pub(crate) struct Lima {
    /// There is one Lima VM: tests take turns.
    _turn: MutexGuard<'static, ()>,
}

/// Lima, with the VM `mvm` in whatever state the test before has left it. `None` where that cannot be, which is said.
pub(crate) fn lima() -> Option<Lima> {
    static TURN: Mutex<()> = Mutex::new(());
    static SET_UP: OnceLock<Result<(), String>> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lima = Lima { _turn: turn };
    match SET_UP.get_or_init(|| set_up::run().map(|()| lima.begin())) {
        Ok(()) => Some(lima),
        Err(why) => {
            skipped(&format!("Lima's tests: {why}"));
            None
        }
    }
}

/// Short, since sockets lie in it.
fn lima_home() -> PathBuf {
    home().join("l")
}

/// Lima's folder of the VM.
pub(crate) fn instance() -> PathBuf {
    lima_home().join("mvm")
}

/// A program as the user, with nothing of the tests' own environment.
fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--", program]);
    command
        .env_clear()
        .envs([("USER", USER), ("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", home().display()))])
        .env("HOME", home())
        .env("LIMA_HOME", lima_home())
        .env("MVM_CONFIG", home().join("config.toml"))
        .current_dir(home())
        .stdin(Stdio::null());
    command
}

#[expect(clippy::unused_self, reason = "whoever holds a Lima has the turn")]
impl Lima {
    /// Nothing but Lima itself, told to boot the suite's guest.
    fn begin(&self) {
        let write = |path: &str, text: String| {
            let path = home().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let guest = home().join("guest");
        let guest = guest.display();
        // It comes before what the instance's own file says, so the guest's image is the first to be tried.
        write(
            "l/_config/override.yaml",
            format!(
                "plain: true\n\
                 firmware: {{legacyBIOS: true}}\n\
                 images:\n\
                 - location: {guest}/disk.qcow2\n\
                 \x20 arch: x86_64\n\
                 \x20 kernel:\n\
                 \x20   location: {guest}/kernel\n\
                 \x20   cmdline: console=ttyS0 quiet net.ifnames=0 mitigations=off cryptomgr.notests audit=0\n\
                 \x20 initrd: {{location: {guest}/initrd}}\n"
            ),
        );
        write("config.toml", "[lima]\ncpus = 1\nmemory = \"4G\"\ndisk = \"8G\"\n".to_owned());
        let owned = Command::new("chown").args(["-R", &format!("{USER}:")]).arg(lima_home()).status();
        assert!(owned.unwrap().success());
        // What an earlier run has left, in whatever state.
        self.ok(&["destroy", "--all", "--yes"]);
    }

    pub(crate) fn limactl(&self, args: &[&str]) -> Seen {
        Seen::new(args, command("limactl").args(args).output().unwrap())
    }

    pub(crate) fn mvm_command(&self, args: &[&str]) -> Command {
        let mut command = command("mvm");
        command.args(["--host", "lima"]).args(args);
        command
    }

    pub(crate) fn mvm(&self, args: &[&str]) -> Seen {
        Seen::new(args, self.mvm_command(args).output().unwrap())
    }

    /// Runs mvm, which has to succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Seen {
        let seen = self.mvm(args);
        assert_eq!(seen.code, 0, "{seen}");
        seen
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["status", "--json"]).stdout).unwrap()
    }

    /// The PID in a file of Lima's: `ha` (the host agent), `qemu`.
    pub(crate) fn pid(&self, of: &str) -> u32 {
        let text = fs_err::read_to_string(instance().join(of).with_extension("pid")).unwrap();
        text.trim().parse().unwrap()
    }
}
