use std::process::ExitCode;

use super::super::running::{existing, undisturbed};
use super::super::which::Which;
use super::super::{Context, shares};
use crate::error::{Error, Result};
use crate::microvm::{GuestPath, MachineName, Scope, State, readable_spec};

/// Share a folder no longer; what is in it stays
///
/// What runs in the machine with its files open gets errors.
#[derive(Debug, clap::Args)]
pub(super) struct Rm {
    /// The folder in the machine
    #[arg(value_name = "GUEST")]
    guest: GuestPath,
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(context: &mut Context<'_>, args: &Rm) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    undisturbed(|strict| remove_once(context, name, &args.guest, strict))
}

/// False where the machine was changed by another meanwhile.
fn remove_once(
    context: &mut Context<'_>,
    name: &MachineName,
    guest: &GuestPath,
    strict: bool,
) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let spec = readable_spec(machine)?;
    let mut left = spec.mounts.clone();
    left.retain(|mount| mount.guest != *guest);
    if left == spec.mounts {
        return Err(Error::failure(format!("`{name}` shares nothing as `{guest}`"))
            .hint(format!("`mvm mount ls {name}` lists what it shares")));
    }
    if context.settings.dry_run {
        context.ui.data(format!("share {guest} of {name} no longer"));
        return Ok(true);
    }
    let Some(spec) = shares::write(context, spec, left, strict)? else { return Ok(false) };
    if matches!(machine.state, State::Running(_)) {
        shares::share(context, &spec)?;
    }
    context.ui.say(format!("`{name}` shares nothing as {guest} any more."));
    Ok(true)
}
