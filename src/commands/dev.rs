use std::ffi::OsString;
use std::process::ExitCode;

use super::reach::reach;
use super::start::{MachineArgs, say_running};
use super::{Context, ssh};
use crate::config::DEFAULT_MACHINE;
use crate::error::Result;
use crate::microvm::{Goal, MachineName, Wanted};
use crate::ui::Ui;

/// Do whatever is missing, and open a shell in a machine (or run a command in it)
///
/// From any state: it installs, builds, creates, starts or restarts as needed, then hands over to ssh. Without a
/// terminal and without a command it starts the machine and returns.
#[derive(Debug, clap::Args)]
pub struct Dev {
    /// The machine's name: a-z, 0-9 and hyphens
    #[arg(value_name = "NAME", default_value = DEFAULT_MACHINE)]
    name: MachineName,
    #[command(flatten)]
    machine: MachineArgs,
    /// A command to run in the machine; its exit code becomes mvm's. One word alone is a line for the machine's shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Dev) -> Result<ExitCode> {
    let defaults = context.settings.machine.clone();
    let changes = args.machine.changes(context, Goal::Dev)?;
    let wanted = Wanted::new(Goal::Dev, &args.name, changes, &defaults);
    match reach(context, &wanted)? {
        None => Ok(ExitCode::SUCCESS),
        Some(reached) if !args.command.is_empty() || Ui::is_interactive() => {
            ssh::enter(context, &reached, &args.name, &args.command)
        }
        Some(_) => {
            say_running(context, &args.name);
            Ok(ExitCode::SUCCESS)
        }
    }
}
