use std::process::ExitCode;

use super::running::existing;
use super::which::Which;
use super::{Context, shares};
use crate::error::Result;
use crate::microvm::{self, How, MachineName, Scope};

const EXAMPLES: &str = "\
Examples:
  mvm stop web
  mvm stop web --timeout 60           for one that has much to write
  mvm stop web -t 0                   by force, at once";

/// Stop a machine; its disk stays
///
/// The machine shuts down cleanly; when that takes longer than the timeout it is ended by force. Of one that is suspended the
/// memory is removed: what its programs had not written to files is gone then (`mvm resume` first, to end them in order).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Stop {
    #[command(flatten)]
    which: Which,
    /// How long a clean shutdown may take, in seconds; 0 ends the machine by force at once
    #[arg(long, short, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=3600))]
    timeout: u32,
}

pub fn run(context: &mut Context<'_>, args: &Stop) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    existing(context, &observed, name)?;
    stop(context, &observed.host.home, name, args.timeout)?;
    Ok(ExitCode::SUCCESS)
}

/// Stops the machine `name`, cleanly within `timeout` seconds or else by force, and says how that went.
pub(super) fn stop(context: &mut Context<'_>, home: &str, name: &MachineName, timeout: u32) -> Result<()> {
    if context.settings.dry_run {
        context.ui.data(format!("stop the machine {name}"));
        return Ok(());
    }
    shares::let_go(context, name);
    let stopped = context.run(&microvm::stop(name, home, timeout))?;
    match stopped.how {
        How::WasNotRunning => context.ui.say(format!("The machine `{name}` was not running.")),
        How::Discarded => context.ui.say(format!(
            "The machine `{name}` was suspended: its memory is discarded, its disk stays."
        )),
        How::Clean => context.ui.say(format!("The machine `{name}` is stopped ({:.1} s).", stopped.seconds)),
        How::Forced if timeout == 0 => context.ui.say(format!("The machine `{name}` was ended by force, as asked for.")),
        How::Forced => context.ui.warn(format!(
            "`{name}` did not shut down within {timeout} s and was ended by force; what was not written to its disk is lost \
             (`--timeout` gives it longer)"
        )),
    }
    Ok(())
}
