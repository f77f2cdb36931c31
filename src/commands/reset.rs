use std::process::ExitCode;

use super::Context;
use super::destroy::refused;
use super::running::existing;
use crate::error::{Error, Result};
use crate::microvm::{self, MachineName, Scope};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm reset web                          asks first
  mvm reset web --yes && mvm dev web     as new, without being asked";

/// Empty a machine's disk: it is as new, under its name, with its keys and settings
///
/// A machine that runs is ended first. The image it was made from stays the same one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Reset {
    /// The machine's name
    #[arg(value_name = "NAME")]
    name: MachineName,
}

pub fn run(context: &mut Context<'_>, args: &Reset) -> Result<ExitCode> {
    let name = &args.name;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let spec = machine.spec.as_ref().map_err(|why| {
        Error::failure(format!("the machine `{name}` is broken: {why}"))
            .hint(format!("mend the file, or remove the machine and its disk with `mvm destroy {name}`"))
    })?;
    let (used, runs) = (ui::size(machine.disk_used), machine.state.running().is_some());
    let ends = if runs { ", which runs and is ended" } else { "" };
    let question = format!("Empty the disk ({used}) of the machine `{name}`{ends}?");
    if let Some(code) = refused(&context.settings, context.ui, &question)? {
        return Ok(code);
    }
    let freed = context.run(&microvm::reset(spec))?;
    context.ui.say(format!(
        "The disk of `{name}` is empty; {} are free again. `mvm dev {name}` starts it.",
        ui::size(freed)
    ));
    Ok(ExitCode::SUCCESS)
}
