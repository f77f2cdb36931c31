use std::process::ExitCode;

use crate::commands::Context;
use crate::commands::running::existing;
use crate::error::{Error, Result};
use crate::microvm::snapshot::{self as snapshots, Called, MaybeTagged, Of, Taken};
use crate::microvm::{Machine, MachineName, Observed, Scope};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm snapshot create web                    web@1, web@2 …
  mvm snapshot create web@before-upgrade";

/// Keep a machine as it is now: its disk, and its memory where it runs or is suspended
///
/// A machine that runs goes on; it stands still while it is copied, which is said. Where the file system can (btrfs, XFS), its disk is
/// not copied but shared until either changes; elsewhere what is written of it is copied. Folders of this host that it shares are
/// no part of it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Create {
    /// The machine, and what the snapshot is to be called [default: the next number]
    #[arg(value_name = "NAME[@TAG]")]
    name: MaybeTagged,
}

pub(super) fn run(context: &mut Context<'_>, args: &Create) -> Result<ExitCode> {
    let MaybeTagged { machine: name, tag } = &args.name;
    if let Some(tag) = tag.as_ref().filter(|tag| tag.is_reserved()) {
        return Err(Error::usage(format!("`{tag}` is what `mvm exec --checkpoint` calls its snapshots"))
            .hint("give another tag"));
    }
    let called = tag.clone().map_or(Called::Number, Called::Tag);
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    if context.settings.dry_run {
        context.ui.data(format!("take a snapshot of the machine {name}, which is {}", machine.state.word()));
        return Ok(ExitCode::SUCCESS);
    }
    let taken = take(context, &observed, machine, &called)?;
    say(context, name, &taken);
    Ok(ExitCode::SUCCESS)
}

/// Takes a snapshot of a machine as it is.
pub(in crate::commands) fn take(
    context: &mut Context<'_>,
    observed: &Observed,
    machine: &Machine,
    called: &Called,
) -> Result<Taken> {
    let name = &machine.name;
    let taken = context.run(&snapshots::create(machine, called, &observed.host))?;
    if !taken.synced {
        context.ui.warn(format!(
            "`{name}` did not answer, so it could not be asked to write out its files before: where the snapshot's memory cannot \
             be resumed one day, its disk is that of a machine whose power failed"
        ));
    }
    Ok(taken)
}

fn say(context: &mut Context<'_>, name: &MachineName, taken: &Taken) {
    let Taken { tag, of, disk, memory, paused, took, .. } = taken;
    let disk = ui::size(*disk);
    let what = match memory {
        Some(memory) => format!("{disk} of disk, {} of memory", ui::size(*memory)),
        None => format!("{disk} of disk"),
    };
    let seconds = |milliseconds: u64| std::time::Duration::from_millis(milliseconds).as_secs_f64();
    let how = match of {
        Of::Running => {
            format!("{:.1} s, of which the machine stood still for {:.2} s", seconds(*took), seconds(*paused))
        }
        Of::Suspended | Of::Stopped => format!("{:.1} s; the machine is {}", seconds(*took), of.word()),
    };
    context.ui.say(format!(
        "The snapshot `{name}@{tag}` is taken: {what} ({how}). `mvm snapshot restore {name}@{tag}` goes back to it."
    ));
}
