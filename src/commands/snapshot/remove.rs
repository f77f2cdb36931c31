use std::process::ExitCode;

use super::{find, look};
use crate::commands::Context;
use crate::commands::destroy::refused;
use crate::error::Result;
use crate::microvm::snapshot::{self as snapshots, SnapshotName};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm snapshot rm web@before-upgrade     asks first
  mvm snapshot rm web@1 --yes";

/// Remove a snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rm {
    /// The snapshot
    #[arg(value_name = "NAME@TAG")]
    name: SnapshotName,
}

pub(super) fn run(context: &mut Context<'_>, args: &Rm) -> Result<ExitCode> {
    let name = &args.name;
    let (_, kept) = look(context, &name.machine)?;
    let size = ui::size(find(&kept, name)?.bytes());
    if let Some(code) =
        refused(&context.settings, context.ui, &format!("Remove the snapshot `{name}` ({size})?"))?
    {
        return Ok(code);
    }
    context.run(&snapshots::remove(name))?;
    context.ui.say(format!("The snapshot `{name}` is removed."));
    Ok(ExitCode::SUCCESS)
}
