use std::process::ExitCode;

use super::running::existing;
use super::{Context, ssh_config};
use crate::error::Result;
use crate::microvm::{self, MachineName, Scope};

const EXAMPLES: &str = "\
Examples:
  mvm rename web shop
  mvm stop web && mvm rename web shop    one that runs keeps its name";

/// Give a stopped machine another name
///
/// All that is the machine's stays: disk, keys, settings. `ssh mvm-NEW` works where `ssh mvm-OLD` did; the guest has its new host
/// name from the next start on, unless a user of the guest gave it one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Rename {
    /// The machine's name
    #[arg(value_name = "NAME")]
    name: MachineName,
    /// Its new name: a-z, 0-9 and hyphens
    #[arg(value_name = "NEW")]
    new: MachineName,
}

pub fn run(context: &mut Context<'_>, args: &Rename) -> Result<ExitCode> {
    let Rename { name, new } = args;
    let observed = context.look(Scope::default())?;
    let machine = existing(context, &observed, name)?;
    let spec = microvm::rename(&observed, machine, new)?;
    if context.settings.dry_run {
        context.ui.data(format!("rename the machine {name} to {new}"));
        return Ok(ExitCode::SUCCESS);
    }
    context.run(&microvm::move_to(name, new, spec.as_ref())?)?;
    ssh_config::renamed(context, name, new);
    context.ui.say(format!("The machine `{name}` is `{new}` now."));
    Ok(ExitCode::SUCCESS)
}
