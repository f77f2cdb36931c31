use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::json;

use super::Context;
use super::reach::now;
use crate::error::Result;
use crate::microvm::{Machine, Scope, Spec, State, at_next_start};
use crate::{network, ui};

const EXAMPLES: &str = "\
Examples:
  mvm ls
  mvm ls --json | jq -r '.[] | select(.trouble) | .name'
  mvm ls --names | xargs -n 1 mvm stop";

/// List the machines
///
/// Memory and disk are what a machine takes of the host, beside what it may take. One that is broken is listed with what is the
/// matter.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Ls {
    /// Print JSON
    #[arg(long, conflicts_with = "names")]
    json: bool,
    /// Print the names alone, one a line
    #[arg(long)]
    names: bool,
}

pub fn run(context: &mut Context<'_>, args: &Ls) -> Result<ExitCode> {
    let observed = context.look(Scope::default())?;
    let machines = &observed.machines;
    if args.json {
        let values: Vec<_> = machines.iter().map(as_json).collect();
        context.ui.data(serde_json::to_string_pretty(&values)?);
    } else if args.names {
        for machine in machines {
            context.ui.data(&machine.name);
        }
    } else if machines.is_empty() {
        context.ui.say("There are no machines yet; `mvm dev` makes one.");
    } else {
        context.ui.data(table(machines));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a user would want to know of a machine that is not as it should be.
fn trouble(machine: &Machine) -> Option<String> {
    match (&machine.spec, &machine.state) {
        (Err(why), _) => Some(why.clone()),
        (_, State::Stuck(_)) => Some("it does not answer".to_owned()),
        (_, State::Stopped(Some(how))) if how != "clean" => Some(format!("it ended: {how}")),
        _ => None,
    }
}

fn table(machines: &[Machine]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Where all of them reach what there is, nobody needs to be told.
    let restricted =
        machines.iter().any(|machine| machine.spec.as_ref().is_ok_and(|spec| !spec.net.is_open()));
    let mut header = vec!["NAME", "STATE", "IMAGE", "ADDRESS", "CPUS", "MEMORY", "DISK", "PORTS", "AGE"];
    if restricted {
        header.push("NET");
    }
    table.set_header(header);
    let nothing = || "-".to_owned();
    for machine in machines {
        let spec = machine.started_as();
        let running = machine.state.running();
        let state = if machine.spec.is_err() { "broken" } else { machine.state.word() };
        let memory = spec.map_or_else(nothing, |spec| match running {
            Some(_) => format!("{} / {}", ui::size(machine.memory_used), spec.memory_mib),
            None => match &machine.state {
                State::Suspended(frozen) => {
                    format!("{} on disk / {}", ui::size(frozen.bytes), spec.memory_mib)
                }
                _ => spec.memory_mib.to_string(),
            },
        });
        let mut row = vec![
            machine.name.to_string(),
            state.to_owned(),
            spec.map_or_else(nothing, |spec| spec.image.to_string()),
            running.map_or_else(nothing, |_| network::GUEST.to_string()),
            spec.map_or_else(nothing, |spec| spec.cpus.to_string()),
            memory,
            format!("{} / {}", ui::size(machine.disk_used), ui::size(machine.disk_size)),
            machine
                .spec
                .as_ref()
                .ok()
                .map(ports)
                .filter(|ports| !ports.is_empty())
                .map_or_else(nothing, |ports| ports.join(" ")),
            spec.map_or_else(nothing, |spec| ui::duration(now().saturating_sub(spec.created))),
        ];
        if restricted {
            row.push(spec.map_or_else(nothing, |spec| spec.net.brief()));
        }
        table.add_row(row);
    }
    let mut text = table.trim_fmt();
    for machine in machines {
        if let Some(why) = trouble(machine) {
            text.push_str(&format!("\n`{0}`: {why}; `mvm why {0}` tells more", machine.name));
        }
        let pending = at_next_start(machine);
        if !pending.is_empty() {
            text.push_str(&format!("\n`{}` at its next start: {}", machine.name, pending.join(", ")));
        }
    }
    text
}

/// What it publishes while it runs.
fn ports(spec: &Spec) -> Vec<String> {
    spec.ports.iter().map(ToString::to_string).collect()
}

fn as_json(machine: &Machine) -> serde_json::Value {
    let spec = machine.spec.as_ref().ok();
    let running = machine.state.running();
    json!({
        "name": machine.name, "state": machine.state.word(), "trouble": trouble(machine),
        "image": spec.map(|spec| &spec.image), "address": running.map(|_| network::GUEST.to_string()),
        "cpus": machine.started_as().map(|spec| spec.cpus),
        "memory_used_bytes": machine.memory_used,
        "memory_bytes": machine.started_as().map(|spec| spec.memory_mib.bytes()),
        "at_next_start": at_next_start(machine),
        "suspended_bytes": machine.state.suspended().map(|frozen| frozen.bytes),
        "snapshots": machine.snapshots, "disk_used_bytes": machine.disk_used, "disk_bytes": machine.disk_size,
        "ports": spec.map(ports), "net": spec.map(|spec| &spec.net), "created": spec.map(|spec| spec.created), "uptime_seconds": running.map(|running| running.uptime),
    })
}
