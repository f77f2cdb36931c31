use std::ops::ControlFlow;
use std::process::ExitCode;

use owo_colors::OwoColorize;

use super::gc::{self, Item};
use super::{Context, destroy, reach, side, ssh_config};
use crate::bootstrap::Task;
use crate::config::Settings;
use crate::doctor::{self, Check};
use crate::error::Result;
use crate::microvm::{ImageState, MachineName, Observed, Scope};
use crate::ui::{self, Ui};
use crate::{lima, vmm};

const EXAMPLES: &str = "\
Examples:
  mvm doctor
  mvm doctor --fix                    mends what it names, after asking
  mvm doctor --json | jq -r '.[] | select(.ok | not) | .remedy'";

/// Check everything mvm needs, and say how to get what is missing
///
/// With `--fix` it mends what it can: packages, subordinate ids, the group of /dev/kvm, AppArmor's restriction, what killed commands
/// left half-made, keys of `ssh mvm-NAME` that are damaged, stale files of Lima. It asks first. What is left to you it says with the
/// command that does it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    /// Mend what it names, after asking
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const PROBE: Scope<'static> = Scope { machine: None, probe: true };

/// What was found, and what of it can be mended.
struct Found {
    checks: Vec<Check>,
    /// What an administrator does.
    tasks: Vec<Task>,
    debris: Vec<Item>,
    /// Machines whose keys for ssh are damaged.
    access: Vec<MachineName>,
}

pub fn run(context: &mut Context<'_>, args: &Doctor) -> Result<ExitCode> {
    let observed = context.look(PROBE)?;
    let found = examine(context, &observed)?;
    if !args.fix {
        return show(context.ui, args, &found.checks);
    }
    if !mend(context, &observed, &found)? {
        return Ok(ExitCode::FAILURE);
    }
    if context.settings.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let observed = context.look(PROBE)?;
    let found = examine(context, &observed)?;
    show(context.ui, args, &found.checks)
}

fn examine(context: &mut Context<'_>, observed: &Observed) -> Result<Found> {
    let host = &observed.host;
    let items = gc::find(context, observed)?;
    let debris: Vec<Item> = items.into_iter().filter(|item| item.kind.is_debris() && !item.busy).collect();
    let access = ssh_config::damaged(observed);
    let mut specs = observed.machines.iter().filter_map(|machine| machine.spec.as_ref().ok());
    let resolves = specs.any(|spec| spec.net.resolves());
    let mut tasks = doctor::tasks(host, resolves);
    tasks.extend(vmm::kvm_task(host));

    let mut checks = doctor::checks(host);
    let (count, bytes) = gc::weigh(&debris);
    checks.push(minor(
        "left over",
        (count > 0).then(|| format!("{count} of killed commands, {}", ui::size(bytes))),
        "what nothing refers to takes room",
        "mvm gc",
    ));
    for name in &access {
        checks.push(minor(
            &format!("keys of {name}"),
            Some("damaged, or open to others".to_owned()),
            &format!("`ssh mvm-{name}`"),
            &format!("mvm ssh-config {name}"),
        ));
    }
    for machine in &observed.machines {
        if let Err(why) = &machine.spec {
            let (name, remedy) = (&machine.name, format!("mvm destroy {}", machine.name));
            checks.push(minor(&format!("machine {name}"), Some(why.clone()), "can be started", &remedy));
        }
    }
    for image in &observed.images {
        if let ImageState::Broken(folder, why) = image {
            let remedy = format!("mvm image rm {folder}");
            checks.push(minor(
                &format!("image {folder}"),
                Some(why.clone()),
                "machines are made of it",
                &remedy,
            ));
        }
    }
    Ok(Found { checks, tasks, debris, access })
}

/// A check that machines do not depend on.
fn minor(name: &str, trouble: Option<String>, purpose: &str, remedy: &str) -> Check {
    Check {
        name: name.to_owned(),
        ok: trouble.is_none(),
        needed: false,
        remedy: if trouble.is_none() { String::new() } else { remedy.to_owned() },
        found: trouble.unwrap_or_else(|| "none".to_owned()),
        purpose: purpose.to_owned(),
    }
}

/// Mends what can be mended, each thing after asking; false where something was not to be. What needs an administrator comes last,
/// since it may fail.
fn mend(context: &mut Context<'_>, observed: &Observed, found: &Found) -> Result<bool> {
    let mut all = true;
    let (count, bytes) = gc::weigh(&found.debris);
    if count > 0 {
        for Item { path, why, .. } in &found.debris {
            context.ui.say(format!("{why}: {path}"));
        }
        let question = format!("Remove what was left over ({count}, {})?", ui::size(bytes));
        if asked(context, &question)? {
            let freed = gc::remove(context, &found.debris)?;
            context.ui.say(format!("Removed; {} of disk are free again.", ui::size(freed)));
        } else {
            all = false;
        }
    }
    if !found.access.is_empty() {
        let names: Vec<_> = found.access.iter().map(|name| format!("`{name}`")).collect();
        if asked(context, &format!("Write the keys for ssh of {} anew?", names.join(", ")))? {
            ssh_config::write_anew(context, &found.access)?;
        } else {
            all = false;
        }
    }
    if !found.tasks.is_empty() {
        if context.settings.dry_run {
            for task in &found.tasks {
                context.ui.data(format!("as root: {}", task.describe()));
            }
        } else {
            reach::admin(context, observed, found.tasks.clone())?;
            if found.tasks.iter().any(Task::wants_login) {
                context.ui.say("That counts from your next login on.");
            }
        }
    }
    Ok(all || context.settings.dry_run)
}

/// Whether to do it; in a dry run it is only shown.
fn asked(context: &mut Context<'_>, question: &str) -> Result<bool> {
    Ok(destroy::refused(&context.settings, context.ui, question)?.is_none())
}

/// What can be said, and mended, without the inside of a Lima VM that does not run.
pub(super) fn of_lima(settings: &Settings, ui: &mut Ui, args: &Doctor) -> Result<side::Opened> {
    let observed = match side::open_running(settings)? {
        ControlFlow::Continue(side) => return Ok(ControlFlow::Continue(side)),
        ControlFlow::Break(observed) => observed,
    };
    if !args.fix {
        return show(ui, args, &lima::checks(&observed)).map(ControlFlow::Break);
    }
    side::mend_files(settings, ui, &observed)?;
    if settings.dry_run {
        return Ok(ControlFlow::Break(ExitCode::SUCCESS));
    }
    let (observed, _) = side::observe()?;
    show(ui, args, &lima::checks(&observed)).map(ControlFlow::Break)
}

fn show(ui: &mut Ui, args: &Doctor, checks: &[Check]) -> Result<ExitCode> {
    if args.json {
        ui.data(serde_json::to_string_pretty(checks)?);
    } else {
        for check in checks {
            let sign = match (check.ok, check.needed) {
                (true, _) => "✓".green().to_string(),
                (false, true) => "✗".red().to_string(),
                (false, false) => "-".yellow().to_string(),
            };
            let found = if check.found.is_empty() { "not found" } else { &check.found };
            ui.data(format!("{sign} {:<18} {found}", check.name));
            if !check.ok {
                ui.data(format!("    for:    {}", check.purpose));
                ui.data(format!("    remedy: {}", check.remedy));
            }
        }
    }
    let missing = checks.iter().any(|check| check.needed && !check.ok);
    if missing && !args.fix {
        ui.say("`mvm doctor --fix` mends what it can, after asking; `mvm setup` does what is missing, and the image.");
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
