//! The machine that a command is about: there, and running, or why not and what helps.

use std::process::ExitCode;

use super::reach::{Reached, reach};
use super::{Context, shares};
use crate::error::{Error, Result};
use crate::microvm::{self, Changes, Goal, Machine, MachineName, Observed, Scope, State, Wanted};
use crate::suggest::closest;

/// Looks at the machine `name`, which has to run; one that is suspended is resumed.
pub(super) fn running(context: &mut Context<'_>, name: &MachineName) -> Result<Reached> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let not = |what: &str| Error::not_running(format!("the machine `{name}` {what}"));
    match &machine.state {
        State::Suspended(_) => resume(context, name),
        State::Running(_) if let Some(reached) = Reached::of(&observed, machine) => Ok(reached),
        State::Stopped(_) | State::Running(_) => {
            Err(not("is not running").hint(format!("start it with `mvm start {name}` or `mvm dev {name}`")))
        }
        State::Booting(_) => Err(not("is still booting")
            .hint(format!("`mvm dev {name}` waits for it; `mvm why {name}` shows how far it is"))),
        State::Stuck(_) => Err(not("runs, but does not answer")
            .hint(format!("`mvm why {name}` shows what is the matter; `mvm dev {name}` restarts it"))),
    }
}

/// Resumes those of the machines that are suspended; whether there were any.
pub(super) fn wake<'a>(
    context: &mut Context<'_>,
    names: impl IntoIterator<Item = &'a MachineName>,
) -> Result<bool> {
    let suspended = context.run(&microvm::suspended(names))?;
    for name in &suspended {
        resume(context, &name.parse().map_err(Error::failure)?)?;
    }
    Ok(!suspended.is_empty())
}

/// Resumes a machine that is suspended.
pub(super) fn resume(context: &mut Context<'_>, name: &MachineName) -> Result<Reached> {
    let defaults = context.settings.machine.clone();
    let wanted = Wanted::new(Goal::Start, name, Changes::default(), &defaults);
    let reached = reach(context, &wanted)?
        .ok_or_else(|| Error::not_running(format!("the machine `{name}` is suspended")))?;
    shares::bring(context, &wanted, &reached)?;
    Ok(reached)
}

/// The machine `name` among what was seen.
pub(super) fn existing<'a>(
    context: &mut Context<'_>,
    observed: &'a Observed,
    name: &MachineName,
) -> Result<&'a Machine> {
    match observed.machine(name) {
        Some(machine) => Ok(machine),
        None => Err(missing(context, name)),
    }
}

/// That there is no such machine, and which was meant.
fn missing(context: &mut Context<'_>, name: &MachineName) -> Error {
    let error = Error::failure(format!("there is no machine `{name}`"));
    let Ok(observed) = context.look(Scope::default()) else {
        return error;
    };
    let names = observed.machines.iter().map(|machine| machine.name.as_str());
    match closest(name.as_str(), names) {
        Some(close) => error.hint(format!("did you mean `{close}`? `mvm ls` lists those there are")),
        None => error.hint(format!("`mvm dev {name}` makes it; `mvm ls` lists those there are")),
    }
}

/// Two that change the same machine at the same moment: the later one looks again, unless `once` is not strict. (A vm.json that was
/// written by hand never looks as it was read.)
pub(super) fn undisturbed(mut once: impl FnMut(bool) -> Result<bool>) -> Result<ExitCode> {
    for _ in 0..5 {
        if once(true)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    once(false).map(|_| ExitCode::SUCCESS)
}
