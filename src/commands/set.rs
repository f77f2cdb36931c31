use std::process::ExitCode;

use super::Context;
use super::running::{existing, undisturbed};
use super::start::Sizes;
use super::which::Which;
use crate::error::Result;
use crate::microvm::{self, Changes, Idle, MachineName, Scope, UserName, grows_now, readable_spec};

const EXAMPLES: &str = "\
Examples:
  mvm set web --cpus 4 --memory 4G       from its next start on
  mvm set web --disk 40G                 now; a disk never shrinks
  mvm set web --idle 30m                 when nobody is connected for so long
  mvm set web --user me                  sessions are `me` then, with sudo";

/// Change what a machine is given: CPUs, memory, disk, user, when it is suspended
///
/// The disk of a machine that runs grows at once. All else it has from its next start on; until then it goes on as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("what").required(true).multiple(true).args(["cpus", "memory", "disk", "user", "idle"]))]
pub struct Set {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    sizes: Sizes,
    /// The user that sessions in it are, made where it is missing, with sudo; `root` for root again
    #[arg(long, value_name = "USER")]
    user: Option<UserName>,
    /// Suspend it by itself when nobody is connected for so long: `90s`, `30m`, `2h`; `off` for never
    #[arg(long, value_name = "TIME")]
    idle: Option<Idle>,
}

pub fn run(context: &mut Context<'_>, args: &Set) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    undisturbed(|strict| set_once(context, name, args, strict))
}

/// False where the machine was changed by another meanwhile.
fn set_once(context: &mut Context<'_>, name: &MachineName, args: &Set, strict: bool) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let changes = Changes { user: args.user.clone(), idle: args.idle, ..args.sizes.changes() };
    let Some(change) = microvm::set(&observed, machine, &changes)? else {
        context.ui.say(format!("The machine `{name}` has that already."));
        return Ok(true);
    };
    let when = match machine.state.running() {
        None if machine.state.suspended().is_some() => {
            format!("from its next start on: `mvm resume {name} && mvm stop {name} && mvm start {name}`")
        }
        None => format!("from its next start on: `mvm start {name}`"),
        Some(_) => format!("from its next start on; for it to be now: `mvm stop {name} && mvm start {name}`"),
    };
    if context.settings.dry_run {
        context.ui.data(format!("set {name}: {}, {when}", change.lines.join(", ")));
        return Ok(true);
    }
    let before = strict.then(|| readable_spec(machine)).transpose()?;
    if !context.run(&microvm::write_change(before, &change)?)? {
        return Ok(false);
    }
    let mut grown = false;
    if let Some(kind) = grows_now(machine, &change) {
        match context.run(&microvm::grow(&change.spec, kind, &observed.host.home))? {
            None => grown = true,
            Some(why) => context.ui.warn(format!("the disk does not grow while the machine runs: {why}")),
        }
    }
    let (now, later): (Vec<&String>, Vec<_>) =
        change.lines.iter().partition(|line| grown && line.starts_with("disk:"));
    for line in now {
        context.ui.say(format!("`{name}`: {line}, now"));
    }
    for line in &later {
        context.ui.say(format!("`{name}`: {line}"));
    }
    if !later.is_empty() {
        context.ui.say(format!("It holds {when}"));
    }
    Ok(true)
}
