use std::process::ExitCode;

use super::super::running::{existing, undisturbed};
use super::super::which::Which;
use super::super::{Context, shares};
use crate::error::Result;
use crate::microvm::{MachineName, MountSpec, Scope, State, readable_spec};

const EXAMPLES: &str = "\
Examples:
  mvm mount add .:/work web                  this folder, as /work in the machine web
  mvm mount add ~/data:/data:ro              in the machine default, to be read only";

/// Share a folder with a machine, at once where it runs, and at each start from now on
///
/// The folder in the machine is made where it is missing; what is in it is out of sight as long as the other one is mounted.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Add {
    /// The folder here, the folder there, and whether the machine may only read
    #[arg(value_name = "HOST:GUEST[:ro]")]
    mount: MountSpec,
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(context: &mut Context<'_>, args: &Add) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let added = shares::absolute(std::slice::from_ref(&args.mount))?;
    undisturbed(|strict| add_once(context, name, &added, strict))
}

/// False where the machine was changed by another meanwhile.
fn add_once(
    context: &mut Context<'_>,
    name: &MachineName,
    added: &[MountSpec],
    strict: bool,
) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    if context.settings.dry_run {
        context.ui.data(format!("share {} with {name}", added[0]));
        return Ok(true);
    }
    shares::check_folders(name, added)?;
    let spec = readable_spec(machine)?;
    let mounts = MountSpec::merge(&spec.mounts, added);
    let Some(spec) = shares::write(context, spec, mounts, strict)? else { return Ok(false) };
    let MountSpec { host, guest, .. } = &added[0];
    if matches!(machine.state, State::Running(_)) {
        let statuses = shares::share(context, &spec)?;
        shares::tell(context, name, &statuses, added)?;
        context.ui.say(format!("`{name}` has {} as {guest} now.", host.display()));
    } else {
        context.ui.say(format!("`{name}` has {} as {guest} from its next start on.", host.display()));
    }
    Ok(true)
}
