use std::ffi::OsString;
use std::process::{ExitCode, Stdio};

use super::running::{existing, running, wake};
use super::secrets::{Input, SecretArgs, hand_over};
use super::which::Which;
use super::{Context, shares, snapshot};
use crate::config;
use crate::error::{Error, Result};
use crate::microvm::session::{NOT_REACHED, SUSPENDED, Session};
use crate::microvm::snapshot::Called;
use crate::microvm::{MachineName, Scope, is_variable_name};
use crate::shell::{Attached, Call};

const EXAMPLES: &str = "\
Examples:
  mvm exec web -- uname -a
  mvm exec -it web -- bash
  mvm exec -i web -- psql mydb < dump.sql
  mvm exec --checkpoint web -- apt-get full-upgrade -y      and `mvm undo web` goes back
  mvm exec --secret API_TOKEN web -- sh -c 'deploy --token-file /run/secrets/API_TOKEN'
  mvm exec -u www-data -w /srv -e DEBUG=1 web -- ./manage.py check

Exit codes: the command's own, 128+N when signal N ended it; 4 when the machine is not running, 255 when the connection
failed. A shell's words need a shell: mvm exec web -- sh -c 'echo $HOME | rev'";

/// Run a command in a running machine, quickly: one connection is kept for each machine
///
/// The arguments reach the command exactly as given: no shell reads them on the way. Its output comes back as it is,
/// standard output and standard error apart. Ctrl-C, or the end of mvm, ends the command as well.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Exec {
    #[command(flatten)]
    which: Which,
    /// Pass standard input on; without it the command's input is empty
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal (and with it its input)
    #[arg(long, short)]
    tty: bool,
    /// Take a snapshot of the machine first: `mvm undo` goes back to it
    #[arg(long)]
    checkpoint: bool,
    #[command(flatten)]
    env: EnvArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    /// The machine's user to run it as, by name or number [default: the machine's user, which is root unless `--user` made one]
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What surrounds a command.
#[derive(Debug, clap::Args)]
pub struct EnvArgs {
    /// Set an environment variable of the command
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = clap::builder::TypedValueParser::try_map(clap::builder::OsStringValueParser::new(), variable))]
    pub env: Vec<OsString>,
    /// The folder to run it in [default: the user's home]
    #[arg(long, short, value_name = "DIR")]
    pub workdir: Option<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Exec) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let input = args.interactive || args.tty;
    let secrets = args.secrets.read(if input { Input::Taken } else { Input::Free })?;
    let session = Session {
        command: args.command.clone(),
        env: args.env.env.clone(),
        dir: args.env.workdir.as_deref(),
        user: args.user.as_deref(),
        line: false,
        input,
        terminal: args.tty.then(|| config::terminal().unwrap_or_else(|| "dumb".to_owned())),
        log: None,
    };
    if args.checkpoint {
        checkpoint(context, name)?;
    }
    hand_over(context, name, args.user.as_deref(), &secrets)?;
    run_session(context, name, &session.call(name))
}

/// Keeps the machine as it is, for `mvm undo`.
fn checkpoint(context: &mut Context<'_>, name: &MachineName) -> Result<()> {
    let scope = Scope { machine: Some(name), probe: false };
    let mut observed = context.look(scope)?;
    let state = &existing(context, &observed, name)?.state;
    if state.running().is_none() {
        // One that is suspended goes on first: it is to run afterwards as well.
        running(context, name)?;
        observed = context.look(scope)?;
    }
    let machine = existing(context, &observed, name)?;
    let taken = snapshot::take(context, &observed, machine, &Called::Checkpoint)?;
    let stood = std::time::Duration::from_millis(taken.paused).as_secs_f64();
    context.ui.say(format!(
        "Before that: `{name}@{}` (`{name}` stood still for {stood:.2} s); `mvm undo {name}` goes back.",
        taken.tag
    ));
    Ok(())
}

/// Runs a session with mvm's own streams; its exit code is the command's.
pub(super) fn run_session(context: &mut Context<'_>, name: &MachineName, call: &Call) -> Result<ExitCode> {
    shares::mend(context, name);
    let mut code = run_call(context, call)?;
    // A command may end so as well: then the machine is not suspended. One with a short `--idle` may be again, where the host is slow.
    for _ in 0..5 {
        if code != SUSPENDED || !wake(context, [name])? {
            break;
        }
        code = run_call(context, call)?;
    }
    if code == NOT_REACHED {
        // A command may end so as well: then the machine is as it should be.
        running(context, name)?;
    }
    Ok(exit_code(code))
}

/// Runs a session once, with mvm's own streams.
pub(super) fn run_call(context: &mut Context<'_>, call: &Call) -> Result<i32> {
    context.round_trips += 1;
    context.ui.settle();
    Ok(attach(&context.linux.wrap(call.clone()), Stdio::inherit(), Stdio::inherit())?.wait()?)
}

pub(super) fn attach(call: &Call, stdin: Stdio, stdout: Stdio) -> Result<Attached> {
    Attached::start(call, stdin, stdout).map_err(|source| {
        let program = call.program();
        Error::failure(format!("cannot start `{program}`: {source}"))
            .hint("run `mvm doctor` to see what is missing")
    })
}

pub(super) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// `NAME=VALUE`, the name one that a shell knows.
fn variable(pair: OsString) -> std::result::Result<OsString, String> {
    let bytes = pair.as_encoded_bytes();
    let name = bytes.split(|byte| *byte == b'=').next().unwrap_or_default();
    if is_variable_name(name) && name.len() < bytes.len() {
        Ok(pair)
    } else {
        Err("give `NAME=VALUE`, the name of letters, digits and `_`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        for good in ["A=", "A=b c", "_x1=a=b\n"] {
            assert!(variable(good.into()).is_ok(), "{good}");
        }
        for bad in ["", "A", "=b", "1A=b", "A-B=c", "A B=c"] {
            assert!(variable(bad.into()).is_err(), "{bad}");
        }
    }
}
