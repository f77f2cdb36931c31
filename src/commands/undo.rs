use std::process::ExitCode;

use super::Context;
use super::destroy::refused;
use super::running::existing;
use super::snapshot::{go_back, look, what_is_lost};
use super::which::Which;
use crate::error::{Error, Result};
use crate::microvm::snapshot::last_checkpoint;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm exec --checkpoint web -- apt-get full-upgrade -y
  mvm undo web                           asks first
  mvm undo web --yes                     once more: to the checkpoint before that";

/// Make a machine again what it was before the last `mvm exec --checkpoint`
///
/// That checkpoint is used up, so the next `undo` goes to the one before it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Undo {
    #[command(flatten)]
    which: Which,
}

pub fn run(context: &mut Context<'_>, args: &Undo) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let (observed, kept) = look(context, name)?;
    let Some(checkpoint) = last_checkpoint(&kept) else {
        return Err(Error::failure(format!("the machine `{name}` has no checkpoint to go back to"))
            .hint(format!("`mvm exec --checkpoint {name} -- CMD` makes one before it runs CMD")));
    };
    let machine = existing(context, &observed, name)?;
    let age = ui::duration(observed.host.now.saturating_sub(checkpoint.at));
    let question =
        format!("Go back to before the last `mvm exec --checkpoint`, {age} ago? {}", what_is_lost(machine));
    if let Some(code) = refused(&context.settings, context.ui, &question)? {
        return Ok(code);
    }
    go_back(context, &observed, checkpoint, true)?;
    Ok(ExitCode::SUCCESS)
}
