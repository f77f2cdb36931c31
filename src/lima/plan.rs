//! Decides what to do about Lima: a pure function from what is there and how far a command goes.

use std::path::PathBuf;

use super::install::How;
use super::limactl::Installed;
use super::list::{self, Instance, Status};
use super::{Host, NAME, OLDEST, Os};
use crate::error::{Error, Result};

/// How far a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The VM must run already.
    Enter,
    /// A VM that was set up is started.
    Start,
    /// The VM is created, but Lima must be there.
    Setup,
    /// Whatever is missing.
    Everything,
}

/// What is there.
#[derive(Debug, Clone)]
pub struct Observed {
    pub host: Host,
    pub installed: Installed,
    pub instance: Option<Instance>,
    /// Lima's folder.
    pub lima_home: PathBuf,
    /// How Lima would be installed.
    pub how: How,
}

/// One thing to do; after each, what is there is looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Install(How),
    Create,
    Start {
        why: String,
    },
    Repair {
        why: String,
    },
    /// Its file is written again; its disk stays as it is.
    Restore,
}

impl Step {
    /// For the user, and for `--dry-run`.
    pub fn describe(&self) -> String {
        match self {
            Self::Install(how) => format!("install Lima {}", how.describe()),
            Self::Create => format!("create the Lima VM `{NAME}`"),
            Self::Start { why } => format!("start the Lima VM `{NAME}`: {why}"),
            Self::Repair { why } => format!("repair the Lima VM `{NAME}`: {why}"),
            Self::Restore => format!("write the file of the Lima VM `{NAME}` again, which is gone"),
        }
    }
}

/// The steps until the VM runs; none when it does.
pub fn plan(observed: &Observed, goal: Goal) -> Result<Vec<Step>> {
    match &observed.installed {
        Installed::Missing => {
            return match goal {
                Goal::Everything => Ok(vec![
                    Step::Install(observed.how),
                    Step::Create,
                    Step::Start { why: "it is new".to_owned() },
                ]),
                _ => Err(Error::not_set_up("Lima is not installed (no `limactl` on PATH)")
                    .hint("`mvm bootstrap` installs it and does the rest; so does `mvm dev`")),
            };
        }
        Installed::TooOld(version) => {
            return Err(Error::failure(format!("Lima {version} is too old: mvm needs {OLDEST} or later"))
                .hint(match observed.how {
                    How::Homebrew => "run `brew upgrade lima`, then this again",
                    How::Release => "install a newer release of Lima, then run this again",
                }));
        }
        Installed::Refuses(said) => return Err(refused(said)),
        Installed::Usable(_) => {}
    }
    let Some(instance) = &observed.instance else {
        return match goal {
            Goal::Setup | Goal::Everything => {
                list::check_home(&observed.lima_home, observed.host.os).map_err(|why| {
                    Error::failure(why).hint("name a shorter folder in LIMA_HOME, such as ~/.lima")
                })?;
                Ok(vec![Step::Create, Step::Start { why: "it is new".to_owned() }])
            }
            _ => Err(Error::not_set_up(format!("there is no Lima VM `{NAME}` yet"))
                .hint("run `mvm setup`, or `mvm dev`, which does everything")),
        };
    };
    let errors = || match instance.errors.join("; ") {
        none if none.is_empty() => "Lima does not say why".to_owned(),
        errors => errors,
    };
    match &instance.status {
        Status::Running => Ok(Vec::new()),
        _ if instance.has_lost_its_file() => match goal {
            Goal::Enter => Err(Error::failure(format!(
                "the Lima VM `{NAME}` has lost its file {}",
                instance.file().display()
            ))
            .hint("`mvm dev` writes it again and starts the VM")),
            _ => Ok(vec![Step::Restore, Step::Start { why: "its file is back".to_owned() }]),
        },
        Status::Stopped if instance.is_half_created() => match goal {
            Goal::Setup | Goal::Everything => {
                Ok(vec![Step::Start { why: "its creation was cut off and goes on".to_owned() }])
            }
            _ => Err(Error::not_set_up(format!("the creation of the Lima VM `{NAME}` did not come to its end"))
                .hint("`mvm setup` goes on with it")),
        },
        Status::Stopped => match goal {
            Goal::Enter => Err(Error::not_running(format!("the Lima VM `{NAME}` is stopped"))
                .hint("`mvm dev` or `mvm start` starts it, and a machine in it")),
            _ => Ok(vec![Step::Start { why: "it is stopped".to_owned() }]),
        },
        Status::Broken => match goal {
            Goal::Enter => Err(Error::failure(format!("the Lima VM `{NAME}` is broken: {}", errors()))
                .hint("`mvm dev` repairs it")),
            _ => Ok(vec![Step::Repair { why: errors() }]),
        },
        Status::Unknown(_) => Err(Error::failure(format!("Lima cannot read the VM `{NAME}`: {}", errors())).hint(
            format!(
                "a newer Lima may be needed; or mend {}/lima.yaml; `limactl delete -f {NAME}` removes the VM with all \
                 machines in it",
                instance.dir.display()
            ),
        )),
    }
}

/// Lima's own refusals, and what to do (cmd/limactl/main.go).
fn refused(said: &str) -> Error {
    let error = Error::failure(format!("limactl does not run here: {}", said.trim()));
    if said.contains("root user") {
        error.hint("run mvm as an ordinary user; on Linux, leave out `--host lima` to use this host itself")
    } else if said.contains("rosetta") {
        error.hint(
            "this limactl is for Intel Macs: install the native one with /opt/homebrew/bin/brew install lima",
        )
    } else {
        error.hint("try `limactl --version`; reinstall Lima if it does not run")
    }
}

/// For `doctor`: whether the host can run Lima's VM, in a word.
pub(super) fn vm_type(os: Os) -> &'static str {
    match os {
        Os::MacOs(..) => "vz",
        Os::Linux => "qemu",
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
