use std::process::ExitCode;

use super::{find, look};
use crate::commands::destroy::refused;
use crate::commands::reach::now;
use crate::commands::running::{existing, resume};
use crate::commands::{Context, shares};
use crate::error::{Error, Result};
use crate::microvm::snapshot::{self as snapshots, Snapshot, SnapshotName};
use crate::microvm::{Machine, MachineName, Observed, Spec, State};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm snapshot restore web@before-upgrade      asks first
  mvm snapshot restore web@1 --yes && mvm dev web
  mvm snapshot restore web@1 --as web2         another machine; `web` stays as it is";

/// Make a machine again what it was when a snapshot was taken; what it is now is lost
///
/// A machine that runs is ended first, and runs again afterwards, from the snapshot's memory where it has one. Names, keys and settings
/// stay as they are. A memory that cannot be resumed any more (after an update of the VMM, say) is left out, which is said: the machine
/// then boots from the snapshot's disk.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restore {
    /// The snapshot
    #[arg(value_name = "NAME@TAG")]
    name: SnapshotName,
    /// As another, new machine, which goes on from the snapshot's memory, or boots from its disk where it has none: its own keys, host
    /// name and machine-id, no ports and no shared folders; this one stays as it is
    #[arg(long = "as", value_name = "OTHER")]
    other: Option<MachineName>,
}

pub(super) fn run(context: &mut Context<'_>, args: &Restore) -> Result<ExitCode> {
    let name = &args.name;
    let (observed, kept) = look(context, &name.machine)?;
    let snapshot = find(&kept, name)?;
    if let Some(other) = &args.other {
        return as_another(context, &observed, snapshot, other);
    }
    let machine = existing(context, &observed, &name.machine)?;
    let age = ui::duration(observed.host.now.saturating_sub(snapshot.at));
    let question = format!("Restore `{name}`, {age} old? {}", what_is_lost(machine));
    if let Some(code) = refused(&context.settings, context.ui, &question)? {
        return Ok(code);
    }
    go_back(context, &observed, snapshot, false)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes another machine of a snapshot.
fn as_another(
    context: &mut Context<'_>,
    observed: &Observed,
    snapshot: &Snapshot,
    other: &MachineName,
) -> Result<ExitCode> {
    let name = &snapshot.name;
    if *other == name.machine {
        return Err(Error::usage(format!("`{name}` is of `{other}` itself"))
            .hint("leave out `--as` to restore it in place, or give another name"));
    }
    readable(snapshot)?;
    let spec = snapshot
        .spec
        .as_ref()
        .map_err(|why| Error::failure(format!("`{name}` cannot be restored: {why}")))?;
    // They are the other one's, as long as it has them.
    let left: Vec<_> = [("ports", !spec.ports.is_empty()), ("shared folders", !spec.mounts.is_empty())]
        .into_iter()
        .filter_map(|(what, has)| has.then_some(what))
        .collect();
    let spec =
        Spec { name: other.clone(), created: now(), ports: Vec::new(), mounts: Vec::new(), ..spec.clone() };
    if context.settings.dry_run {
        context.ui.data(format!("make the machine {other} of the snapshot {name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let unfit = snapshot.unfit(&observed.host);
    let memory = snapshot.frozen.is_some() && unfit.is_none();
    let lost = unfit.or(context.run(&snapshots::clone(name, &spec, memory)?)?);
    if let Some(why) = &lost {
        context.ui.warn(format!("`{other}` has the disk of `{name}` alone, without its memory: {why}"));
    }
    if !left.is_empty() {
        context.ui.say(format!(
            "`{other}` has no {}: they are those of `{}`.",
            left.join(" and "),
            name.machine
        ));
    }
    let next = if memory && lost.is_none() {
        format!("`mvm resume {other}` goes on from its memory.")
    } else {
        format!("`mvm start {other}` boots it.")
    };
    context.ui.say(format!("The machine `{other}` is made of `{name}`. {next}"));
    Ok(ExitCode::SUCCESS)
}

fn readable(snapshot: &Snapshot) -> Result<()> {
    let name = &snapshot.name;
    snapshot.readable().map_err(|why| {
        Error::failure(format!("`{name}` cannot be restored: {why}")).hint("nothing was changed")
    })
}

/// What is lost of a machine that is restored.
pub(in crate::commands) fn what_is_lost(machine: &Machine) -> String {
    let name = &machine.name;
    match machine.state {
        State::Stopped(_) => format!("What is on the disk of `{name}` now is lost."),
        State::Suspended(_) => format!("What is on the disk of `{name}` now is lost, and its memory."),
        _ => format!("`{name}` runs: it is ended, and what is on its disk now is lost."),
    }
}

/// Makes a machine what the snapshot is, which is `used_up` or stays; one that ran runs again afterwards.
pub(in crate::commands) fn go_back(
    context: &mut Context<'_>,
    observed: &Observed,
    snapshot: &Snapshot,
    used_up: bool,
) -> Result<()> {
    let Snapshot { name, frozen, .. } = snapshot;
    let machine = &name.machine;
    readable(snapshot)?;
    let ran = observed.machine(machine).is_some_and(|machine| machine.state.running().is_some());
    let unfit = snapshot.unfit(&observed.host);
    let memory = frozen.is_some() && unfit.is_none();
    if ran {
        shares::let_go(context, machine);
    }
    let restored = context.run(&snapshots::restore(name, &observed.host.home, memory, used_up));
    if restored.is_err()
        && ran
        && let Some(Ok(spec)) = observed.machine(machine).map(|machine| &machine.spec)
    {
        // Where it runs on, it is to have its folders.
        let back = shares::share(context, spec);
        tracing::debug!(?back, "the shared folders again");
    }
    let lost = unfit.or(restored?);
    if let Some(why) = &lost {
        context.ui.warn(format!("the disk of `{name}` alone is restored, without its memory: {why}"));
    }
    if ran {
        resume(context, machine)?;
    }
    let now = match (ran, memory && lost.is_none()) {
        (true, true) => format!("It runs again, from where it was: `mvm ssh {machine}`."),
        (true, false) => format!("It runs again: `mvm ssh {machine}`."),
        (false, true) => format!("`mvm resume {machine}` goes on from its memory."),
        (false, false) => format!("`mvm start {machine}` boots it."),
    };
    context.ui.say(format!("The machine `{machine}` is what it was in `{name}`. {now}"));
    Ok(())
}
