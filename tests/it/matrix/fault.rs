//! What befalls a command at one of its steps.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::host::{Host, names_in};
use super::waits_for;
use crate::common::process::{lives, wait_until};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Only mvm itself: what it sent goes on.
    MvmKilled,
    /// mvm, and the script that it sent.
    AllKilled,
    VmmKilled,
    SupervisorKilled,
    PastaKilled,
    /// Every write to a file fails from here on.
    DiskFull,
    /// No program gets memory from here on.
    MemoryShort,
    /// What is being sent breaks off.
    Cut,
    ClockAhead,
    ClockBack,
    /// All that runs ends at once, and the kernel is another one afterwards.
    Reboot,
    /// All that runs ends, and strangers have the PIDs.
    PidReused,
    /// The same command once more.
    TwoAtOnce,
}

impl Fault {
    pub(super) const ALL: [Self; 13] = [
        Self::MvmKilled,
        Self::AllKilled,
        Self::VmmKilled,
        Self::SupervisorKilled,
        Self::PastaKilled,
        Self::DiskFull,
        Self::MemoryShort,
        Self::Cut,
        Self::ClockAhead,
        Self::ClockBack,
        Self::Reboot,
        Self::PidReused,
        Self::TwoAtOnce,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::MvmKilled => "mvm killed",
            Self::AllKilled => "mvm and script killed",
            Self::VmmKilled => "VMM killed",
            Self::SupervisorKilled => "supervisor killed",
            Self::PastaKilled => "pasta killed",
            Self::DiskFull => "disk full",
            Self::MemoryShort => "memory short",
            Self::Cut => "download cut",
            Self::ClockAhead => "clock ahead",
            Self::ClockBack => "clock back",
            Self::Reboot => "host reboot",
            Self::PidReused => "PIDs reused",
            Self::TwoAtOnce => "two at once",
        }
    }

    /// Does the harm while the command waits. False where there is nothing to do harm to.
    pub(super) fn strike(self, host: &Host, struck: &mut Struck) -> bool {
        let at = struck.at;
        match self {
            Self::MvmKilled => struck.kill_mvm(),
            Self::AllKilled => {
                struck.kill_mvm();
                end(at);
            }
            Self::VmmKilled | Self::SupervisorKilled | Self::PastaKilled => {
                let pid = || match self {
                    Self::VmmKilled => host.pid("vmm"),
                    Self::SupervisorKilled => host.pid("cell"),
                    _ => host.pasta(),
                };
                // It may be just beginning.
                waits_for(|| pid().is_some());
                let Some(pid) = pid() else { return false };
                end(pid);
            }
            Self::DiskFull => limit(at, "--fsize=0"),
            Self::MemoryShort => limit(at, "--as=1048576"),
            Self::ClockAhead => set_clock(host, "+2d"),
            Self::ClockBack => set_clock(host, "-2d"),
            Self::Reboot => {
                host.end_all();
                let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
                rewrite(&host.home().join("machines"), boot.trim(), "00000000-0000-0000-0000-000000000000");
            }
            Self::PidReused => {
                let dir = host.machine("web").join("run");
                let texts: Vec<_> = ["cell", "vmm", "master"]
                    .into_iter()
                    .filter_map(|file| Some((file, fs_err::read_to_string(dir.join(file)).ok()?)))
                    .collect();
                if texts.is_empty() {
                    return false;
                }
                host.end_all();
                fs_err::create_dir_all(&dir).unwrap();
                for (file, text) in texts {
                    let rest = text.split_once(' ').map_or("", |(_, rest)| rest);
                    fs_err::write(dir.join(file), format!("{} {rest}", host.stranger.id())).unwrap();
                }
            }
            // Nothing is sent where a machine is worked on; by whoever runs the cells.
            Self::Cut | Self::TwoAtOnce => return false,
        }
        true
    }
}

/// The command that waits, and who waits there: mvm itself or a script.
pub(super) struct Struck<'a> {
    pub(super) mvm: &'a mut Child,
    pub(super) at: u32,
}

impl Struck<'_> {
    fn kill_mvm(&mut self) {
        self.mvm.kill().unwrap();
        self.mvm.wait().unwrap();
    }
}

fn end(pid: u32) {
    if lives(pid) {
        // It may just have ended with another.
        Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
        wait_until("the end of a process", || !lives(pid));
    }
}

fn limit(pid: u32, what: &str) {
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), what]).status().unwrap();
    assert!(status.success(), "prlimit {what}");
}

/// libfaketime reads it whenever somebody asks for the time.
fn set_clock(host: &Host, offset: &str) {
    fs_err::write(host.path("clock"), format!("{offset}\n")).unwrap();
}

/// Another text in all small files below.
fn rewrite(dir: &Path, old: &str, new: &str) {
    for name in names_in(dir) {
        let path = dir.join(name);
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            rewrite(&path, old, new);
        } else if path.is_file() && fs_err::metadata(&path).unwrap().len() < 4096 {
            let Ok(text) = fs_err::read_to_string(&path) else { continue };
            if text.contains(old) {
                fs_err::write(&path, text.replace(old, new)).unwrap();
            }
        }
    }
}
