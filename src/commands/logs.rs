use std::process::{ExitCode, Stdio};

use super::Context;
use super::exec::attach;
use super::running::existing;
use super::which::Which;
use crate::error::{Error, Result};
use crate::microvm::{Scope, session};

const EXAMPLES: &str = "\
Examples:
  mvm logs web                        what the guest wrote on its console
  mvm logs web -f                     and what it writes from now on
  mvm logs web --events               when it was started, stopped, changed, and how it ended";

/// Show what a machine has said: its console, its VMM, its start; or what was done to it
///
/// What it said is kept from the last start on, so it is there for a machine that has ended or never came up; what was done to it is
/// kept as long as the machine.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Logs {
    #[command(flatten)]
    machine: Which,
    /// Go on with what comes from now on, until Ctrl-C or the machine's end
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    which: Log,
}

#[derive(Debug, Clone, Copy, clap::Args)]
#[group(multiple = false)]
struct Log {
    /// What the guest writes on its console (this is what is shown without a flag)
    #[arg(long)]
    console: bool,
    /// What the VMM and the cell's other processes say
    #[arg(long)]
    vmm: bool,
    /// Only how far the guest's start came, and when
    #[arg(long)]
    init: bool,
    /// What mvm and the machine's supervisor did, and when (UTC)
    #[arg(long)]
    events: bool,
    /// What the steps of mvm.toml's `provision` said, of all times
    #[arg(long)]
    provision: bool,
}

pub fn run(context: &mut Context<'_>, args: &Logs) -> Result<ExitCode> {
    let name = &args.machine.name(context)?;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    existing(context, &observed, name)?;
    let (file, only) = match args.which {
        Log { vmm: true, .. } => ("vmm.log", ""),
        Log { init: true, .. } => ("console.log", "^mvm: "),
        Log { events: true, .. } => ("events.log", ""),
        Log { provision: true, .. } => ("provision.log", ""),
        _ => ("console.log", ""),
    };
    context.round_trips += 1;
    context.ui.settle();
    let call = context.linux.wrap(session::logs(name, file, only, args.follow));
    match attach(&call, Stdio::null(), Stdio::inherit())?.wait()? {
        // Also the user's Ctrl-C, or a pager's end.
        0 | 130 | 141 => Ok(ExitCode::SUCCESS),
        _ if args.which.provision => Err(Error::failure(format!("`{name}` was not provisioned yet"))
            .hint(format!("`provision` in mvm.toml says how; `mvm dev {name}` does it"))),
        _ => Err(Error::failure(format!("`{name}` was never started, so there is no such log yet"))
            .hint(format!("`mvm start {name}` starts it"))),
    }
}
