use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::json;

use super::super::running::existing;
use super::super::{Context, shares};
use crate::error::Result;
use crate::microvm::{Machine, MachineName, MountSpec, Scope, State};
use crate::shares::{self as kept, Request};

/// List shared folders, and how they fare
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    /// The machine's name [default: all machines]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

struct Line {
    machine: MachineName,
    mount: MountSpec,
    state: &'static str,
    why: Option<String>,
}

pub(super) fn run(context: &mut Context<'_>, args: &Ls) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: args.name.as_ref(), probe: false })?;
    if let Some(name) = &args.name {
        existing(context, &observed, name)?;
    }
    let mut lines = Vec::new();
    for machine in &observed.machines {
        lines.extend(lines_of(context, machine)?);
    }
    if args.json {
        let values: Vec<_> = lines.iter().map(as_json).collect();
        context.ui.data(serde_json::to_string_pretty(&values)?);
    } else if lines.is_empty() {
        context.ui.say("No folders are shared; `mvm mount add ./src:/work NAME` shares one.");
    } else {
        context.ui.data(table(&lines));
    }
    Ok(ExitCode::SUCCESS)
}

/// The machine's folders; those of one that runs as its keeper knows them, which is started where it is missing.
fn lines_of(context: &mut Context<'_>, machine: &Machine) -> Result<Vec<Line>> {
    let Ok(spec) = &machine.spec else { return Ok(Vec::new()) };
    let runs = matches!(machine.state, State::Running(_)) && !spec.mounts.is_empty();
    let statuses = if runs {
        match shares::place(&context.settings, &spec.name).ask(&Request::Status)? {
            Some(statuses) => statuses,
            None => shares::share(context, spec)?,
        }
    } else {
        Vec::new()
    };
    let line = |mount: &MountSpec| {
        let status = statuses.iter().find(|status| status.mount == *mount);
        let state = match status.map(|status| status.state) {
            Some(kept::State::Mounted) => "mounted",
            Some(kept::State::Mounting) => "mounting",
            Some(kept::State::Broken) => "broken",
            None if runs => "not mounted",
            None => "stopped",
        };
        let why = status.and_then(|status| status.why.clone());
        Line { machine: spec.name.clone(), mount: mount.clone(), state, why }
    };
    Ok(spec.mounts.iter().map(line).collect())
}

fn table(lines: &[Line]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["MACHINE", "HOST", "GUEST", "MODE", "STATE"]);
    for Line { machine, mount, state, why } in lines {
        let state = why.as_ref().map_or_else(|| (*state).to_owned(), |why| format!("{state}: {why}"));
        table.add_row([
            machine.to_string(),
            mount.host.display().to_string(),
            mount.guest.to_string(),
            mode(mount).to_owned(),
            state,
        ]);
    }
    table.trim_fmt()
}

fn mode(mount: &MountSpec) -> &'static str {
    if mount.read_only { "ro" } else { "rw" }
}

fn as_json(line: &Line) -> serde_json::Value {
    let Line { machine, mount, state, why } = line;
    json!({
        "machine": machine, "host": mount.host, "guest": mount.guest, "mode": mode(mount), "state": state, "why": why,
    })
}
