use std::process::ExitCode;

use super::{Context, reach::reach};
use crate::config::DEFAULT_MACHINE;
use crate::error::{Error, Result};
use crate::microvm::{Changes, Goal, ImageName, MachineName, Wanted};
use crate::vmm::Release;

const EXAMPLES: &str = "\
Examples:
  mvm setup --yes                     in a script
  mvm setup --image debian:trixie
  mvm setup --firecracker v1.16.1";

/// Do everything short of starting a machine: packages, and the image
///
/// Each step checks before it acts, so it can be run at any time. An image `debian` that an older mvm built is built anew;
/// machines that are there keep theirs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Setup {
    /// The image to prepare: `ubuntu`, `debian`, `debian:trixie`, or one of a registry
    #[arg(long, value_name = "IMAGE", env = "MVM_IMAGE")]
    pub image: Option<ImageName>,
    /// Install this release of Firecracker, such as v1.16.1, and use it from now on
    ///
    /// Without it a supported `firecracker` on PATH is used; where there is KVM and none, mvm installs one.
    #[arg(long, value_name = "RELEASE")]
    pub firecracker: Option<Release>,
}

pub fn run(context: &mut Context<'_>, args: &Setup) -> Result<ExitCode> {
    let name: MachineName = DEFAULT_MACHINE.parse().map_err(Error::failure)?;
    let defaults = context.settings.machine.clone();
    let changes = Changes { image: args.image.clone(), ..Changes::default() };
    let wanted = Wanted::new(Goal::Setup, &name, changes, &defaults);
    // What cannot be built is used as it is.
    let renew = !context.settings.network.offline;
    reach(context, &Wanted { firecracker: args.firecracker.as_ref(), renew, ..wanted })?;
    if !context.settings.dry_run {
        context.ui.say("Everything is set up. `mvm dev` opens a shell in a machine.");
    }
    Ok(ExitCode::SUCCESS)
}
