use std::process::ExitCode;

use super::super::{Context, shares};
use crate::error::Result;
use crate::microvm::{MachineName, MountSpec, Scope, UserName, session};
use crate::shares::{self as kept, READY, Runs};
use crate::shell::Call;

/// Serve a running machine's shared folders until it ends; mvm starts this by itself
#[derive(Debug, clap::Args)]
pub(super) struct Keep {
    name: MachineName,
}

struct Machine<'a, 'b> {
    context: &'a mut Context<'b>,
    name: &'a MachineName,
    /// Whose the files are in the machine, where they are not root's.
    user: Option<UserName>,
}

impl kept::Machine for Machine<'_, '_> {
    fn session(&self, mount: &MountSpec) -> Call {
        self.context.linux.wrap(session::share(self.name, mount, self.user.as_ref()))
    }

    fn say_ready(&mut self) {
        self.context.ui.data(READY);
    }

    fn runs(&mut self) -> Runs {
        match self.context.look(Scope { machine: Some(self.name), probe: false }) {
            Err(error) => Runs::Unknown(error.source.to_string()),
            Ok(observed) => match observed.machine(self.name) {
                Some(machine) if machine.state.running().is_some() => {
                    self.user = machine.started_as().and_then(|spec| spec.user.clone());
                    Runs::Yes(machine.spec.as_ref().map(|spec| spec.mounts.clone()).unwrap_or_default())
                }
                _ => Runs::No,
            },
        }
    }
}

pub(super) fn run(context: &mut Context<'_>, args: &Keep) -> Result<ExitCode> {
    // It is to outlive the terminal that it was started from.
    rustix::process::setsid().map(drop).unwrap_or_default();
    std::env::set_current_dir("/")?;
    let place = shares::place(&context.settings, &args.name);
    let mut machine = Machine { context, name: &args.name, user: None };
    kept::keep(&place, &mut machine)?;
    Ok(ExitCode::SUCCESS)
}
