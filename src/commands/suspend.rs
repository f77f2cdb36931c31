use std::process::ExitCode;

use super::running::existing;
use super::which::Which;
use super::{Context, shares};
use crate::error::{Error, Result};
use crate::microvm::{self, Scope, State};
use crate::ui;
use crate::vmm::Kind;

const EXAMPLES: &str = "\
Examples:
  mvm suspend web
  mvm resume web";

/// Write a machine's memory to disk; it goes on from there when it is next wanted
///
/// Programs go on as if nothing had happened, after a restart of this host as well. Before it is frozen the machine writes out its
/// files, so that none is lost where its memory cannot be resumed (after an update of the VMM, say): then it boots from its disk,
/// which is said.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Suspend {
    #[command(flatten)]
    which: Which,
}

pub fn run(context: &mut Context<'_>, args: &Suspend) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let not = |what: &str| Error::not_running(format!("the machine `{name}` {what}"));
    let running = match &machine.state {
        State::Suspended(frozen) => {
            context.ui.say(format!(
                "The machine `{name}` is suspended already, {}.",
                frozen.describe(observed.host.now)
            ));
            return Ok(ExitCode::SUCCESS);
        }
        State::Stopped(_) => return Err(not("is not running").hint("only what runs can be suspended")),
        State::Booting(_) => {
            return Err(not("is still booting").hint(format!("wait for it with `mvm start {name} -d`")));
        }
        State::Running(running) | State::Stuck(running) => running,
    };
    let spec = machine.spec.as_ref().map_err(|why| {
        Error::failure(format!("the machine `{name}` is broken: {why}")).hint("mend its vm.json first")
    })?;
    if context.settings.dry_run {
        context.ui.data(format!("suspend the machine {name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let kind = Kind::read(&running.vmm).ok_or_else(|| {
        Error::failure(format!("the machine `{name}` runs with a VMM that mvm does not know"))
    })?;
    // A folder's server could not be frozen with it.
    shares::withdraw(context, name);
    // `mvm set` may have given it another memory, for its next start.
    let runs_with = machine.started_as().unwrap_or(spec);
    let suspended = context.run(&microvm::suspend(runs_with, kind, &observed.host));
    if suspended.is_err() {
        // It runs on, and how it failed is what is told.
        let back = shares::share(context, spec);
        tracing::debug!(?back, "the shared folders again");
    }
    let suspended = suspended?;
    if !suspended.synced {
        context.ui.warn(format!(
            "`{name}` did not answer, so it could not be asked to write out its files before it was frozen"
        ));
    }
    context.ui.say(format!(
        "The machine `{name}` is suspended: {} of memory are on disk ({:.1} s, of which it stood still for {:.2} s). \
         `mvm resume {name}` goes on.",
        ui::size(suspended.bytes),
        seconds(suspended.took),
        seconds(suspended.paused)
    ));
    Ok(ExitCode::SUCCESS)
}

/// A time in milliseconds.
fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}
