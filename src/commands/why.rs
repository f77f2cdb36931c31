use std::process::ExitCode;

use serde_json::json;

use super::Context;
use super::reach::now;
use super::running::existing;
use super::which::Which;
use crate::error::Result;
use crate::microvm::{self, Diagnosis, Machine, Observed, Remains, Scope, State, diagnose, stands};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm why web                         for a machine that is slow, stuck or dead
  mvm why web --json | jq -r .remedy";

/// Say how a machine fares, the likely cause of its trouble, and what mends it
///
/// It shows how far the machine's start came, and what it said last.
///
/// For a machine that is slow, stuck or dead; also for one that never came up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Why {
    #[command(flatten)]
    which: Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(context: &mut Context<'_>, args: &Why) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let remains = context.run(&microvm::why(name))?;
    let diagnosis = diagnose(&observed, machine, &remains);
    let text = if args.json {
        serde_json::to_string_pretty(&as_json(&observed, machine, &remains, &diagnosis))?
    } else {
        as_text(&observed, machine, &remains, &diagnosis)
    };
    context.ui.data(text);
    Ok(ExitCode::SUCCESS)
}

fn as_text(observed: &Observed, machine: &Machine, remains: &Remains, diagnosis: &Diagnosis) -> String {
    let mut lines = vec![format!("{:<12}{}", machine.name.as_str(), state(machine))];
    let mut before = 0.0;
    for (number, (seconds, phase)) in remains.phases.iter().enumerate() {
        let title = if number == 0 { "Start" } else { "" };
        lines.push(format!("{title:<12}{seconds:>6.2} s  +{:<5.2} {phase}", seconds - before));
        before = *seconds;
    }
    if let Some(stands) = stands(machine, remains) {
        lines.push(format!("{:<12}{stands}", "Stands"));
    }
    for (title, list) in [("Events", &remains.events), ("Console", &remains.console), ("VMM", &remains.vmm)] {
        for (number, line) in list.iter().enumerate() {
            lines.push(format!("{:<12}{line}", if number == 0 { title } else { "" }));
        }
    }
    lines.push(format!("{:<12}{}", "Host", host(observed, machine, remains)));
    lines.push(format!("{:<12}{}", "Cause", diagnosis.cause));
    lines.push(format!("{:<12}{}", "Remedy", diagnosis.remedy));
    lines.join("\n")
}

fn state(machine: &Machine) -> String {
    match &machine.state {
        State::Stopped(Some(how)) => format!("stopped ({how})"),
        State::Stopped(None) => "stopped".to_owned(),
        State::Suspended(frozen) => format!("suspended {}", frozen.describe(now())),
        State::Booting(running) => format!("booting for {}", ui::duration(running.uptime)),
        State::Running(running) => format!("running for {}", ui::duration(running.uptime)),
        State::Stuck(running) => format!("running for {}, without an answer", ui::duration(running.uptime)),
    }
}

/// The host's part: what it has left, and what the VMM takes of it.
fn host(observed: &Observed, machine: &Machine, remains: &Remains) -> String {
    let host = &observed.host;
    let mut text = format!(
        "{} CPUs with a load of {:.1}, {} of memory available, {} of disk free",
        host.cpus,
        remains.load,
        ui::size(remains.available_bytes),
        ui::size(host.free_bytes)
    );
    if let Some((running, (_, cpu))) = machine.state.running().zip(remains.process) {
        let (vmm, memory) = (&running.vmm, ui::size(machine.memory_used));
        let how = if running.accelerated { "with KVM" } else { "in software" };
        text.push_str(&format!("; {vmm} {how} has {memory} of memory, and had {cpu:.0} s of CPU"));
    }
    text
}

fn as_json(
    observed: &Observed,
    machine: &Machine,
    remains: &Remains,
    diagnosis: &Diagnosis,
) -> serde_json::Value {
    let phases = remains.phases.iter().map(|(seconds, phase)| json!({"phase": phase, "seconds": seconds}));
    json!({
        "name": machine.name, "state": machine.state.word(), "how": state(machine),
        "cause": diagnosis.cause, "remedy": diagnosis.remedy,
        "stands": stands(machine, remains), "phases": phases.collect::<Vec<_>>(),
        "events": remains.events, "console": remains.console, "vmm": remains.vmm,
        "host": {
            "cpus": observed.host.cpus, "load": remains.load, "memory_available_bytes": remains.available_bytes,
            "disk_free_bytes": observed.host.free_bytes,
        },
        "vmm_memory_bytes": machine.memory_used,
        "vmm_cpu_seconds": remains.process.map(|(_, cpu)| cpu),
    })
}
