use std::process::ExitCode;

use super::Context;
use super::declared::needed;
use super::stop::stop;
use crate::error::Result;
use crate::microvm::{MachineName, Scope};

const EXAMPLES: &str = "\
Examples:
  mvm down
  mvm down web db --timeout 60";

/// Stop the machines of mvm.toml, each before those that it depends on; their disks stay
///
/// `mvm up` starts them again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Down {
    /// Only these machines, and those that depend on them
    #[arg(value_name = "NAME")]
    names: Vec<MachineName>,
    /// How long a clean shutdown of each may take, in seconds; 0 ends the machines by force at once
    #[arg(long, short, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=3600))]
    timeout: u32,
}

pub fn run(context: &mut Context<'_>, args: &Down) -> Result<ExitCode> {
    let project = needed(context)?;
    let machines = project.with_dependents(&args.names)?;
    let observed = context.look(Scope::default())?;
    let running = machines.iter().rev().filter(|machine| {
        observed.machine(&machine.name).is_some_and(|machine| machine.state.running().is_some())
    });
    let names: Vec<MachineName> = running.map(|machine| machine.name.clone()).collect();
    if names.is_empty() {
        context.ui.say("None of the machines runs.");
    }
    for name in &names {
        stop(context, &observed.host.home, name, args.timeout)?;
    }
    Ok(ExitCode::SUCCESS)
}
