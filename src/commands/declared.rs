//! Bringing a machine to what its flags and the project's file say.

use std::sync::Arc;

use super::reach::{Reached, reach};
use super::secrets::{Input, hand_over};
use super::start::MachineArgs;
use super::{Context, shares};
use crate::config::MachineDefaults;
use crate::error::{Error, Result};
use crate::microvm::{Goal, MachineName, Wanted};
use crate::project::provision::{self, Again};
use crate::project::{Declared, FILE, Project};

/// The machine as the project's file declares it, if it does.
pub(super) fn declared(
    context: &Context<'_>,
    name: &MachineName,
) -> Result<Option<(Arc<Project>, Declared)>> {
    let project = context.project()?;
    Ok(project.and_then(|project| project.machine(name).cloned().map(|machine| (project, machine))))
}

/// The project, for commands that are about nothing else.
pub(super) fn needed(context: &Context<'_>) -> Result<Arc<Project>> {
    context.project()?.ok_or_else(|| {
        Error::usage(format!("there is no {FILE} in this folder, nor in one above it")).hint(format!(
            "write one: `image = \"debian\"` is enough for a machine; `mvm schema` tells all that {FILE} may say"
        ))
    })
}

/// Starts the machine, or finds it running, and provisions it. `None` after a dry run.
pub(super) fn bring_up(
    context: &mut Context<'_>,
    goal: Goal,
    name: &MachineName,
    (flags, input): (&MachineArgs, Input),
    again: Option<Again>,
) -> Result<Option<Reached>> {
    let file = declared(context, name)?;
    let named = file.as_ref().map_or(&[][..], |(_, machine)| &machine.secrets);
    if context.settings.dry_run {
        let names = flags.secrets.names();
        for name in names.iter().copied().chain(named.iter().map(|secret| secret.name.as_str())) {
            context.ui.data(format!("hand over the secret {name}"));
        }
    }
    let secrets =
        if context.settings.dry_run { Vec::new() } else { flags.secrets.read_with(named, input)? };
    // What cannot be read is told before anything is started.
    let steps = match &file {
        Some((project, machine)) => provision::steps(project.folder(), &machine.provision)?,
        None => Vec::new(),
    };
    let defaults = context.settings.machine.clone();
    let wanted = wanted(context, goal, name, flags, file.as_ref().map(|(_, machine)| machine), &defaults)?;
    let reached = reach(context, &wanted)?;
    if let Some(reached) = &reached {
        // What provisions it may come from there.
        shares::bring(context, &wanted, reached)?;
        hand_over(context, name, None, &secrets)?;
        super::provision::run(context, name, &steps, again)?;
    }
    Ok(reached)
}

fn wanted<'a>(
    context: &mut Context<'_>,
    goal: Goal,
    name: &'a MachineName,
    flags: &MachineArgs,
    file: Option<&Declared>,
    defaults: &'a MachineDefaults,
) -> Result<Wanted<'a>> {
    let image = file.and_then(|machine| machine.changes.image.clone());
    let wanted = Wanted::new(goal, name, flags.changes(context, goal, image)?, defaults);
    Ok(match file {
        Some(machine) => wanted.declared(&machine.changes),
        None => wanted,
    })
}

/// Does what the machine needs and others may need as well: packages, its image, a VMM.
pub(super) fn prepare(context: &mut Context<'_>, machine: &Declared, flags: &MachineArgs) -> Result<()> {
    let defaults = context.settings.machine.clone();
    let wanted = wanted(context, Goal::Dev, &machine.name, flags, Some(machine), &defaults)?;
    reach(context, &Wanted { common_only: true, ..wanted }).map(drop)
}

/// Brings up what the machine `name` depends on, with the VMM that was asked for.
pub(super) fn bring_up_dependencies(
    context: &mut Context<'_>,
    name: &MachineName,
    flags: &MachineArgs,
) -> Result<()> {
    let Some((project, _)) = declared(context, name)? else { return Ok(()) };
    for machine in project.with_dependencies(std::slice::from_ref(name))? {
        if machine.name != *name {
            bring_up(context, Goal::Dev, &machine.name, (&flags.for_another(), Input::Free), None)?;
        }
    }
    Ok(())
}
