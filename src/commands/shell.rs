use std::ffi::OsString;
use std::process::ExitCode;

use super::Context;
use crate::error::{Error, Result};
use crate::shell::{self, Call};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm shell
  mvm shell -- df -h
  mvm shell -- 'journalctl -b | tail'";

/// Open a shell in the Lima VM, around the machines (or run a command in it)
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Shell {
    /// A command to run there; its exit code becomes mvm's. One word alone is a line for the VM's shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Shell) -> Result<ExitCode> {
    if context.lima.is_none() {
        if !args.command.is_empty() {
            return Err(Error::usage("machines run on this host itself: there is no VM around them")
                .hint("run the command here as it is"));
        }
        context.ui.say("Machines run on this host itself: you are already there.");
        return Ok(ExitCode::SUCCESS);
    }
    let words: &[&str] = match args.command.len() {
        0 => &["bash", "-c", "cd && exec bash -l"],
        1 => &["bash", "-c", "cd && eval \"$1\"", "mvm"],
        _ => &["bash", "-c", "cd && exec \"$@\"", "mvm"],
    };
    let mut call = Call::new(words.iter().copied());
    call.argv.extend(args.command.iter().cloned());
    call.terminal = Ui::is_interactive();
    context.round_trips += 1;
    context.say_round_trips();
    context.ui.settle();
    let source = shell::replace_process(&context.linux.wrap(call));
    Err(Error::failure(format!("cannot enter the Lima VM: {source}"))
        .hint("`limactl shell mvm` is Lima's own way"))
}
