use std::ffi::OsString;
use std::process::ExitCode;

use super::declared::{bring_up, bring_up_dependencies};
use super::provision::ProvisionArgs;
use super::secrets::Input;
use super::start::{MachineArgs, say_running};
use super::which::Which;
use super::{Context, ssh};
use crate::error::Result;
use crate::microvm::Goal;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm dev                             from nothing to a shell in the machine `default`
  mvm dev web --cpus 4 --memory 4G -p 8080:80
  mvm dev web --image docker.io/library/python:3.12 --user me
  mvm dev web -- make test            one command; its exit code is mvm's";

/// Do whatever is missing, and open a shell in a machine (or run a command in it)
///
/// From any state: it installs, builds, creates, starts or restarts as needed, then hands over to ssh. Without a
/// terminal and without a command it starts the machine and returns.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    provision: ProvisionArgs,
    /// A command to run in the machine; its exit code becomes mvm's. One word alone is a line for the machine's shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Dev) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    bring_up_dependencies(context, name, &args.machine)?;
    let input = if args.command.is_empty() { Input::Free } else { Input::Taken };
    match bring_up(context, Goal::Dev, name, (&args.machine, input), args.provision.again)? {
        None => Ok(ExitCode::SUCCESS),
        Some(reached) if !args.command.is_empty() || Ui::is_interactive() => {
            ssh::enter(context, &reached, name, &args.command)
        }
        Some(_) => {
            say_running(context, name);
            Ok(ExitCode::SUCCESS)
        }
    }
}
