use std::process::ExitCode;

use super::running::{self, existing};
use super::which::Which;
use super::{Context, start};
use crate::error::{Error, Result};
use crate::microvm::{Scope, State};

const EXAMPLES: &str = "\
Examples:
  mvm resume web
  mvm exec web -- uptime          resumes it as well";

/// Let a suspended machine go on from its memory
///
/// Its clock is set before anybody enters. `mvm start`, `dev`, `ssh`, `exec` and `cp` resume a machine by themselves.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Resume {
    #[command(flatten)]
    which: Which,
}

pub fn run(context: &mut Context<'_>, args: &Resume) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    // The usual case, in one look less.
    if !context.settings.dry_run && running::wake(context, [name])? {
        start::say_running(context, name);
        return Ok(ExitCode::SUCCESS);
    }
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    match &machine.state {
        State::Suspended(_) => {}
        State::Stopped(_) => {
            return Err(Error::not_running(format!("the machine `{name}` is stopped, not suspended"))
                .hint(format!("`mvm start {name}` boots it")));
        }
        // It was left paused, perhaps.
        _ if machine.half_suspended => {}
        _ => {
            context.ui.say(format!("The machine `{name}` runs already."));
            return Ok(ExitCode::SUCCESS);
        }
    }
    if context.settings.dry_run {
        context.ui.data(format!("resume the machine {name}"));
        return Ok(ExitCode::SUCCESS);
    }
    running::resume(context, name)?;
    start::say_running(context, name);
    Ok(ExitCode::SUCCESS)
}
