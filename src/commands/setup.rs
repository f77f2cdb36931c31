use std::process::ExitCode;

use super::{Context, reach::reach};
use crate::config::DEFAULT_MACHINE;
use crate::error::{Error, Result};
use crate::microvm::{Changes, Goal, ImageName, MachineName, Wanted};

/// Do everything short of starting a machine: packages, and the image
///
/// Each step checks before it acts, so it can be run at any time.
#[derive(Debug, clap::Args)]
pub struct Setup {
    /// The image to prepare: `debian`, `debian:trixie`
    #[arg(long, value_name = "IMAGE", env = "MVM_IMAGE")]
    pub image: Option<ImageName>,
}

pub fn run(context: &mut Context<'_>, args: &Setup) -> Result<ExitCode> {
    let name: MachineName = DEFAULT_MACHINE.parse().map_err(Error::failure)?;
    let defaults = context.settings.machine.clone();
    let changes = Changes { image: args.image, ..Changes::default() };
    reach(context, &Wanted { goal: Goal::Setup, name: &name, changes, defaults: &defaults })?;
    if !context.settings.dry_run {
        context.ui.say("Everything is set up. `mvm dev` opens a shell in a machine.");
    }
    Ok(ExitCode::SUCCESS)
}
