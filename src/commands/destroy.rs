use std::process::ExitCode;

use super::Context;
use crate::error::{Error, Result};
use crate::microvm::{self, MachineName, Observed, Scope};
use crate::{config, ui};

/// Remove a machine with its disk, or everything mvm ever made
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Destroy {
    /// The machine's name
    #[arg(value_name = "NAME", group = "what")]
    name: Option<MachineName>,
    /// All machines, images and downloads: everything mvm ever made on this host
    #[arg(long, group = "what")]
    all: bool,
}

pub fn run(context: &mut Context<'_>, args: &Destroy) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: args.name.as_ref(), probe: false })?;
    let (names, question) = match &args.name {
        Some(name) => {
            let Some(machine) = observed.machine(name) else {
                return Err(Error::failure(format!("there is no machine `{name}`"))
                    .hint("`mvm status` lists those there are"));
            };
            let size = ui::size(machine.disk_used);
            (vec![name.clone()], format!("Remove the machine `{name}` and its disk ({size})?"))
        }
        None => (
            observed.machines.iter().map(|machine| machine.name.clone()).collect(),
            question_for_all(&observed),
        ),
    };
    if context.settings.dry_run {
        context.ui.data(question);
        return Ok(ExitCode::SUCCESS);
    }
    if !context.settings.yes {
        if !ui::Ui::can_ask() {
            return Err(Error::usage("nothing was removed: there is no terminal to ask on")
                .hint("give `--yes` to remove it"));
        }
        if !context.ui.ask(&question, false)? {
            context.ui.say("Nothing was removed.");
            return Ok(ExitCode::FAILURE);
        }
    }
    let script = if args.all { microvm::destroy_all(&names) } else { microvm::destroy(&names) };
    let freed = context.run(&script)?;
    context.ui.say(format!("Removed; {} of disk are free again.", ui::size(freed)));
    if args.all {
        context.ui.say("Left in place: packages that setup installed (`mvm doctor` lists what mvm uses).");
        if let Some(path) = config::file_path().filter(|path| path.exists()) {
            context.ui.say(format!("Left in place, being yours: {}.", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn question_for_all(observed: &Observed) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "Remove {}, {} and everything else in {}?",
        count(observed.machines.len(), "machine"),
        count(observed.images.len(), "image"),
        observed.host.home
    )
}
