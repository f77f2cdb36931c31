use std::process::ExitCode;

use serde_json::json;

use super::Context;
use super::declared::needed;
use super::provision;
use crate::error::Result;
use crate::microvm::{MachineName, Observed, Scope, State};
use crate::project::diff::{Difference, difference};
use crate::project::provision::{steps, todo};
use crate::project::{Declared, Project};

/// What tells a difference from a failure.
const DIFFERS: u8 = 5;

const EXAMPLES: &str = "\
Examples:
  mvm diff && echo all is as mvm.toml says
  mvm diff web --json";

/// Show where machines are not as mvm.toml says; nothing is changed
///
/// It ends with 0 where all is as the file says, and with 5 where something differs. Of a machine that runs it also tells which steps
/// of `provision` are not done. Values of `env` are not shown.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Diff {
    /// Only these machines
    #[arg(value_name = "NAME")]
    names: Vec<MachineName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A machine beside the file.
struct Compared<'a> {
    name: &'a MachineName,
    /// What it does; nothing where there is none.
    state: Option<&'static str>,
    difference: Difference,
    /// Steps of its provision that are not done.
    lacking: Vec<String>,
}

impl Compared<'_> {
    fn differs(&self) -> bool {
        !self.difference.is_none() || !self.lacking.is_empty()
    }
}

pub fn run(context: &mut Context<'_>, args: &Diff) -> Result<ExitCode> {
    let project = needed(context)?;
    let machines = project.named(&args.names)?;
    let observed = context.look(Scope::default())?;
    let compared = machines
        .into_iter()
        .map(|machine| compare(context, &project, &observed, machine))
        .collect::<Result<Vec<_>>>()?;
    if args.json {
        let values: Vec<_> = compared.iter().map(as_json).collect();
        context.ui.data(serde_json::to_string_pretty(&values)?);
    } else {
        for machine in &compared {
            context.ui.data(as_text(machine));
        }
    }
    Ok(ExitCode::from(if compared.iter().any(Compared::differs) { DIFFERS } else { 0 }))
}

fn compare<'a>(
    context: &mut Context<'_>,
    project: &Project,
    observed: &Observed,
    declared: &'a Declared,
) -> Result<Compared<'a>> {
    let name = &declared.name;
    let state = observed.machine(name).map(|machine| &machine.state);
    let steps = steps(project.folder(), &declared.provision)?;
    // A machine that is stopped does not tell what its disk remembers.
    let lacking = match state {
        Some(State::Running(_)) if !steps.is_empty() => {
            let todo = todo(&steps, &provision::record(context, name)?, None);
            todo.run.iter().chain(&todo.stale).map(|index| steps[*index].title.clone()).collect()
        }
        _ => Vec::new(),
    };
    Ok(Compared { name, state: state.map(State::word), difference: difference(observed, declared), lacking })
}

fn as_text(machine: &Compared<'_>) -> String {
    let name = machine.name;
    if machine.difference == Difference::Absent {
        return format!("{name}: not there yet; `mvm up` makes it");
    }
    if !machine.differs() {
        return format!("{name}: as the file says ({})", machine.state.unwrap_or_default());
    }
    let mut text = format!("{name} ({}):", machine.state.unwrap_or_default());
    match &machine.difference {
        Difference::Absent => {}
        Difference::Lines(lines) => {
            // A machine that runs takes on ports and folders at once.
            let at_once = |line: &str| ["publishes ", "shares "].iter().any(|verb| line.starts_with(verb));
            text.extend(lines.iter().map(|line| match machine.state {
                Some("stopped") => format!("\n  {line}"),
                _ if at_once(line) => format!("\n  {line}"),
                _ => format!("\n  {line} (from its next start on)"),
            }));
        }
        Difference::Impossible(why, hints) => {
            text.push_str(&format!("\n  cannot be: {why}"));
            text.extend(hints.iter().map(|hint| format!("\n  hint: {hint}")));
        }
    }
    text.extend(machine.lacking.iter().map(|title| format!("\n  provision: not done: {title}")));
    text
}

fn as_json(machine: &Compared<'_>) -> serde_json::Value {
    let (lines, impossible) = match &machine.difference {
        Difference::Absent => (&[][..], None),
        Difference::Lines(lines) => (&lines[..], None),
        Difference::Impossible(why, _) => (&[][..], Some(why)),
    };
    json!({
        "name": machine.name, "state": machine.state.unwrap_or("absent"), "differs": machine.differs(),
        "differences": lines, "impossible": impossible, "provision_not_done": machine.lacking,
    })
}
