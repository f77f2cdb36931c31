use std::process::ExitCode;

use super::running::existing;
use super::{Context, shares, side, ssh_config};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::microvm::{self, MachineName, Observed, Scope};
use crate::ui::Ui;
use crate::{config, lima, ui};

const EXAMPLES: &str = "\
Examples:
  mvm destroy web                     asks first
  mvm rm web --yes
  mvm destroy --all                   machines, images, downloads, and the Lima VM";

/// Remove a machine with its disk, or everything mvm ever made
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("what").required(true))]
pub struct Destroy {
    /// The machine's name
    #[arg(value_name = "NAME", group = "what")]
    name: Option<MachineName>,
    /// All machines, images and downloads: everything mvm ever made on this host
    #[arg(long, group = "what")]
    all: bool,
}

impl Destroy {
    pub fn is_all(&self) -> bool {
        self.all
    }
}

pub fn run(context: &mut Context<'_>, args: &Destroy) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: args.name.as_ref(), probe: false })?;
    let (names, question) = match &args.name {
        Some(name) => {
            let machine = existing(context, &observed, name)?;
            let size = ui::size(machine.disk_used);
            let snapshots = match machine.snapshots {
                0 => String::new(),
                count => format!(", with {}", counted(count, "snapshot")),
            };
            (vec![name.clone()], format!("Remove the machine `{name}` and its disk ({size}){snapshots}?"))
        }
        None => (
            observed.machines.iter().map(|machine| machine.name.clone()).collect(),
            question_for_all(&observed),
        ),
    };
    if let Some(code) = refused(&context.settings, context.ui, &question)? {
        return Ok(code);
    }
    for name in &names {
        shares::let_go(context, name);
    }
    let script = if args.all { microvm::destroy_all(&names) } else { microvm::destroy(&names) };
    let freed = context.run(&script)?;
    ssh_config::forget(context.ui, &names);
    shares::forget(context, &names);
    context.ui.say(format!("Removed; {} of disk are free again.", ui::size(freed)));
    if args.all {
        ssh_config::undo(context.ui)?;
        say_left(context.ui);
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks; the exit code when nothing is to be done.
pub(super) fn refused(settings: &Settings, ui: &mut Ui, question: &str) -> Result<Option<ExitCode>> {
    if settings.dry_run {
        ui.data(question);
        return Ok(Some(ExitCode::SUCCESS));
    }
    if !settings.yes {
        if !Ui::can_ask() {
            return Err(Error::usage("nothing was done: there is no terminal to ask on")
                .hint("give `--yes` to do it without being asked"));
        }
        if !ui.ask(question, false)? {
            ui.say("Nothing was done.");
            return Ok(Some(ExitCode::FAILURE));
        }
    }
    Ok(None)
}

/// Removes the Lima VM, with all that is in it; in whatever state it is.
pub fn vm(settings: &Settings, ui: &mut Ui) -> Result<ExitCode> {
    let (observed, limactl) = side::observe()?;
    let Some(instance) = &observed.instance else {
        ui.say(format!("There is no Lima VM `{}`.", lima::NAME));
        return Ok(ExitCode::SUCCESS);
    };
    let used = ui::size(instance.disk_used());
    let question =
        format!("Remove the Lima VM `{}` with its disk ({used}) and all machines in it?", lima::NAME);
    if let Some(code) = refused(settings, ui, &question)? {
        return Ok(code);
    }
    let _lock = Lock::take(&config::state_dir(), lima::LOCK, || {})?;
    for stranger in lima::verify_pids(&instance.dir)? {
        ui.say(format!("Not Lima's process, so not to be ended: {stranger}."));
    }
    // Lima refuses to delete what has no file.
    side::restore(settings, &observed)?;
    ui.step(&format!("Removing the Lima VM `{}`", lima::NAME));
    limactl
        .delete(&mut |event| ui.event(event))
        .map_err(|error| Error::from(error).hint(format!("remove {} by hand", instance.dir.display())))?;
    ui.say(format!("Removed; {used} of disk are free again."));
    ssh_config::undo(ui)?;
    say_left(ui);
    Ok(ExitCode::SUCCESS)
}

fn say_left(ui: &mut Ui) {
    ui.say("Left in place: packages that setup installed (`mvm doctor` lists what mvm uses).");
    if let Some(path) = config::file_path().filter(|path| path.exists()) {
        ui.say(format!("Left in place, being yours: {}.", path.display()));
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn question_for_all(observed: &Observed) -> String {
    format!(
        "Remove {}, {} and everything else in {}?",
        counted(observed.machines.len(), "machine"),
        counted(observed.images.len(), "image"),
        observed.host.home
    )
}
