use std::process::ExitCode;

use super::Context;
use crate::config::DEFAULT_MACHINE;
use crate::error::{Error, Result};
use crate::microvm::{self, How, MachineName, Scope};

/// Stop a machine; its disk stays
///
/// The machine shuts down cleanly; when that takes longer than the timeout it is ended by force.
#[derive(Debug, clap::Args)]
pub struct Stop {
    /// The machine's name
    #[arg(value_name = "NAME", default_value = DEFAULT_MACHINE)]
    name: MachineName,
    /// How long a clean shutdown may take, in seconds; 0 ends the machine by force at once
    #[arg(long, short, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=3600))]
    timeout: u32,
}

pub fn run(context: &mut Context<'_>, args: &Stop) -> Result<ExitCode> {
    let name = &args.name;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    if observed.machine(name).is_none() {
        return Err(Error::failure(format!("there is no machine `{name}`"))
            .hint("`mvm status` lists those there are"));
    }
    if context.settings.dry_run {
        context.ui.data(format!("stop the machine {name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let stopped = context.run(&microvm::stop(name, &observed.host.home, args.timeout))?;
    match stopped.how {
        How::WasNotRunning => context.ui.say(format!("The machine `{name}` was not running.")),
        How::Clean => context.ui.say(format!("The machine `{name}` is stopped ({:.1} s).", stopped.seconds)),
        How::Forced if args.timeout == 0 => context.ui.say(format!("The machine `{name}` was ended by force, as asked for.")),
        How::Forced => context.ui.warn(format!(
            "`{name}` did not shut down within {} s and was ended by force; what was not written to its disk is lost \
             (`--timeout` gives it longer)",
            args.timeout
        )),
    }
    Ok(ExitCode::SUCCESS)
}
