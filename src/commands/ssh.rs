use std::ffi::OsString;
use std::process::ExitCode;

use super::running::running;
use super::{Context, reach::Reached};
use crate::config::{self, DEFAULT_MACHINE};
use crate::error::{Error, Result};
use crate::microvm::MachineName;
use crate::microvm::ssh::{Terminal, enter};
use crate::shell;
use crate::ui::Ui;

/// Open a shell in a running machine, or run a command in it
#[derive(Debug, clap::Args)]
pub struct Ssh {
    /// The machine's name
    #[arg(value_name = "NAME", default_value = DEFAULT_MACHINE)]
    name: MachineName,
    /// A command to run in the machine; its exit code becomes mvm's. One word alone is a line for the machine's shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Ssh) -> Result<ExitCode> {
    let name = &args.name;
    let reached = running(context, name)?;
    Err(hand_over(context, &reached, name, &args.command))
}

/// Becomes ssh; comes back only when that cannot be started.
pub(super) fn hand_over(
    context: &mut Context<'_>,
    reached: &Reached,
    name: &MachineName,
    command: &[OsString],
) -> Error {
    context.round_trips += 1;
    context.say_round_trips();
    context.ui.settle();
    let terminal = Terminal { interactive: Ui::is_interactive(), kind: config::terminal() };
    let call = context.linux.wrap(enter(&reached.home, name, reached.pid, command, &terminal));
    let program = call.argv[0].to_string_lossy().into_owned();
    let source = shell::replace_process(&call);
    Error::failure(format!("cannot start `{program}`: {source}"))
        .hint("run `mvm doctor` to see what is missing")
}
