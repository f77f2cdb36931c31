//! A user who has Lima, and runs mvm.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::set_up::{self, USER, home};
use crate::common::process::Seen;
use crate::host::Host;

pub(crate) struct Lima;

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

/// Runs it, and says how long that took: minutes in emulation, and one should know of which command.
fn timed(program: &str, args: &[&str], command: &mut Command) -> Seen {
    let begun = Instant::now();
    let seen = Seen::new(args, command.output().unwrap());
    eprintln!("{:5.0} s  {program} {}", begun.elapsed().as_secs_f32(), args.join(" "));
    seen
}

#[expect(clippy::unused_self, reason = "there is one once it is set up")]
impl Lima {
    /// Nothing but Lima itself, told to boot the suite's guest, which has the images of `host`. Why not, where that cannot be.
    pub(crate) fn set_up(host: &Host) -> Result<Self, String> {
        set_up::run(&host.home)?;
        let lima = Self;
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
        lima.ok(&["destroy", "--all", "--yes"]);
        Ok(lima)
    }

    pub(crate) fn limactl(&self, args: &[&str]) -> Seen {
        timed("limactl", args, command("limactl").args(args))
    }

    pub(crate) fn mvm_command(&self, args: &[&str]) -> Command {
        let mut command = command("mvm");
        command.args(["--host", "lima"]).args(args);
        command
    }

    pub(crate) fn mvm(&self, args: &[&str]) -> Seen {
        timed("mvm", args, &mut self.mvm_command(args))
    }

    /// Runs mvm, which has to succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Seen {
        let seen = self.mvm(args);
        assert_eq!(seen.code, 0, "{seen}");
        seen
    }

    /// A machine in the status.
    pub(crate) fn machine(&self, name: &str) -> Option<serde_json::Value> {
        let status = self.status();
        status["machines"].as_array()?.iter().find(|machine| machine["name"] == name).cloned()
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
