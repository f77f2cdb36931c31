use std::process::ExitCode;

use owo_colors::OwoColorize;

use super::Context;
use crate::doctor::checks;
use crate::error::Result;
use crate::microvm::Scope;

/// Check everything mvm needs, and say how to get what is missing
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(context: &mut Context<'_>, args: &Doctor) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: None, probe: true })?;
    let checks = checks(&observed.host);
    if args.json {
        context.ui.data(serde_json::to_string_pretty(&checks)?);
    } else {
        for check in &checks {
            let sign = match (check.ok, check.needed) {
                (true, _) => "✓".green().to_string(),
                (false, true) => "✗".red().to_string(),
                (false, false) => "-".yellow().to_string(),
            };
            let found = if check.found.is_empty() { "not found" } else { &check.found };
            context.ui.data(format!("{sign} {:<18} {found}", check.name));
            if !check.ok {
                context.ui.data(format!("    for:    {}", check.purpose));
                context.ui.data(format!("    remedy: {}", check.remedy));
            }
        }
    }
    let missing = checks.iter().any(|check| check.needed && !check.ok);
    if missing {
        context.ui.say("`mvm setup` does what is missing.");
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
