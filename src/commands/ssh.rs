use std::ffi::OsString;
use std::process::ExitCode;

use super::running::running;
use super::which::Which;
use super::{Context, exec, reach::Reached, shares};
use crate::config;
use crate::error::{Error, Result};
use crate::microvm::session::Session;
use crate::microvm::ssh::{self, Terminal};
use crate::microvm::{MachineName, UserName};
use crate::shell;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm ssh web
  mvm ssh web -u root
  mvm ssh web -- 'cd /srv && make | tee log'   one word alone is a line for the shell";

/// Open a shell in a running machine, or run a command in it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Ssh {
    #[command(flatten)]
    which: Which,
    /// The user to be, by name [default: the machine's user, which is root unless `--user` made one]
    #[arg(long, short, value_name = "USER")]
    user: Option<UserName>,
    /// A command to run in the machine; its exit code becomes mvm's. One word alone is a line for the machine's shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Ssh) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    if !args.command.is_empty() {
        return run_command(context, name, args.user.as_ref(), &args.command);
    }
    let mut reached = running(context, name)?;
    reached.user = args.user.clone().or(reached.user);
    shares::mend(context, name);
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
        run_command(context, name, None, command)
    }
}

/// Runs a command over the connection that is kept for the machine; what is the matter is looked at only afterwards.
fn run_command(
    context: &mut Context<'_>,
    name: &MachineName,
    user: Option<&UserName>,
    command: &[OsString],
) -> Result<ExitCode> {
    let terminal = Ui::is_interactive().then(|| config::terminal().unwrap_or_else(|| "dumb".to_owned()));
    let session = Session {
        command: command.to_vec(),
        user: user.map(UserName::as_str),
        line: command.len() == 1,
        input: true,
        terminal,
        ..Session::default()
    };
    exec::run_session(context, name, &session.call(name))
}

/// Becomes ssh, with a connection of its own; comes back only when that cannot be started.
fn open_shell(context: &mut Context<'_>, reached: &Reached, name: &MachineName) -> Error {
    context.round_trips += 1;
    context.say_round_trips();
    context.ui.settle();
    let user = reached.user.as_ref().map_or("root", UserName::as_str);
    let terminal = Terminal { interactive: Ui::is_interactive(), kind: config::terminal() };
    let call = context.linux.wrap(ssh::enter(&reached.home, name, user, reached.pid, &[], &terminal));
    let program = call.argv[0].to_string_lossy().into_owned();
    let source = shell::replace_process(&call);
    Error::failure(format!("cannot start `{program}`: {source}"))
        .hint("run `mvm doctor` to see what is missing")
}
