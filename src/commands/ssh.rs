use std::ffi::OsString;
use std::process::ExitCode;

use super::{Context, reach::Reached};
use crate::config::{self, DEFAULT_MACHINE};
use crate::error::{Error, Result};
use crate::microvm::ssh::{Terminal, enter};
use crate::microvm::{MachineName, Scope, State};
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
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let Some(machine) = observed.machine(name) else {
        return Err(Error::failure(format!("there is no machine `{name}`"))
            .hint(format!("`mvm dev {name}` makes it; `mvm status` lists those there are")));
    };
    let failure = |what: &str| Error::failure(format!("the machine `{name}` {what}"));
    match &machine.state {
        State::Running(running) => {
            let reached = Reached { home: observed.host.home.clone(), pid: running.pid };
            Err(hand_over(context, &reached, name, &args.command))
        }
        State::Stopped(_) => {
            Err(failure("is not running")
                .hint(format!("start it with `mvm start {name}` or `mvm dev {name}`")))
        }
        State::Booting(_) => Err(failure("is still booting").hint(format!("`mvm dev {name}` waits for it"))),
        State::Stuck(_) => {
            Err(failure("runs, but does not answer").hint(format!("`mvm dev {name}` restarts it")))
        }
    }
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
