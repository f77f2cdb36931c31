use std::ffi::OsString;
use std::process::ExitCode;

use super::running::running;
use super::{Context, exec, reach::Reached};
use crate::config::{self, DEFAULT_MACHINE};
use crate::error::{Error, Result};
use crate::microvm::MachineName;
use crate::microvm::session::{self, Session};
use crate::microvm::ssh::{self, Terminal};
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
    if !args.command.is_empty() {
        return run_command(context, name, &args.command);
    }
    let reached = running(context, name)?;
    Err(open_shell(context, &reached, name))
}

/// Enters a machine that runs: a shell, or a command.
pub(super) fn enter(
    context: &mut Context<'_>,
    reached: &Reached,
    name: &MachineName,
    command: &[OsString],
) -> Result<ExitCode> {
    if command.is_empty() {
        Err(open_shell(context, reached, name))
    } else {
        run_command(context, name, command)
    }
}

/// Runs a command over the connection that is kept for the machine; what is the matter is looked at only afterwards.
fn run_command(context: &mut Context<'_>, name: &MachineName, command: &[OsString]) -> Result<ExitCode> {
    let terminal = Ui::is_interactive().then(|| config::terminal().unwrap_or_else(|| "dumb".to_owned()));
    let call = match command {
        [line] => session::shell_line(name, line, terminal.as_deref()),
        words => Session { command: words.to_vec(), input: true, terminal, ..Session::default() }.call(name),
    };
    exec::run_session(context, name, &call)
}

/// Becomes ssh, with a connection of its own; comes back only when that cannot be started.
fn open_shell(context: &mut Context<'_>, reached: &Reached, name: &MachineName) -> Error {
    context.round_trips += 1;
    context.say_round_trips();
    context.ui.settle();
    let terminal = Terminal { interactive: Ui::is_interactive(), kind: config::terminal() };
    let call = context.linux.wrap(ssh::enter(&reached.home, name, reached.pid, &[], &terminal));
    let program = call.argv[0].to_string_lossy().into_owned();
    let source = shell::replace_process(&call);
    Error::failure(format!("cannot start `{program}`: {source}"))
        .hint("run `mvm doctor` to see what is missing")
}
