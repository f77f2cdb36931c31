use std::process::ExitCode;

use super::{Context, setup};
use crate::error::Result;

const EXAMPLES: &str = "\
Examples:
  mvm bootstrap
  mvm bootstrap --yes --image debian";

/// Do everything from nothing: what this host needs, then `setup`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Bootstrap {
    #[command(flatten)]
    setup: setup::Setup,
}

pub fn run(context: &mut Context<'_>, args: &Bootstrap) -> Result<ExitCode> {
    // A Linux host needs nothing before its packages.
    setup::run(context, &args.setup)
}
