use std::ops::ControlFlow;
use std::process::ExitCode;

use owo_colors::OwoColorize;

use super::{Context, side};
use crate::config::Settings;
use crate::doctor::{Check, checks};
use crate::error::Result;
use crate::lima;
use crate::microvm::Scope;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm doctor
  mvm doctor --json | jq -r '.[] | select(.ok | not) | .remedy'";

/// Check everything mvm needs, and say how to get what is missing
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(context: &mut Context<'_>, args: &Doctor) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: None, probe: true })?;
    show(context.ui, args, &checks(&observed.host))
}

/// What can be said without the inside of a Lima VM that does not run.
pub(super) fn of_lima(settings: &Settings, ui: &mut Ui, args: &Doctor) -> Result<side::Opened> {
    match side::open_running(settings)? {
        ControlFlow::Continue(side) => Ok(ControlFlow::Continue(side)),
        ControlFlow::Break(observed) => show(ui, args, &lima::checks(&observed)).map(ControlFlow::Break),
    }
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
    if missing {
        ui.say("`mvm setup` does what is missing.");
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
