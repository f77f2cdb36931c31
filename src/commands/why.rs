use std::process::ExitCode;

use super::Context;
use super::running::existing;
use crate::config::DEFAULT_MACHINE;
use crate::error::Result;
use crate::microvm::{self, Machine, MachineName, Observed, Remains, Scope, State};
use crate::ui;

/// Say how a machine fares: how far its start came, what it said last, the likely cause, and what mends it
///
/// For a machine that is slow, stuck or dead; also for one that never came up.
#[derive(Debug, clap::Args)]
pub struct Why {
    /// The machine's name
    #[arg(value_name = "NAME", default_value = DEFAULT_MACHINE)]
    name: MachineName,
}

pub fn run(context: &mut Context<'_>, args: &Why) -> Result<ExitCode> {
    let name = &args.name;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let remains = context.run(&microvm::why(name))?;
    let mut lines = vec![format!("{:<12}{}", name.as_str(), state(machine))];
    let mut before = 0.0;
    for (number, (seconds, phase)) in remains.phases.iter().enumerate() {
        let title = if number == 0 { "Start" } else { "" };
        lines.push(format!("{title:<12}{seconds:>6.2} s  +{:<5.2} {phase}", seconds - before));
        before = *seconds;
    }
    for (title, list) in [("Console", &remains.console), ("VMM", &remains.vmm)] {
        for (number, line) in list.iter().enumerate() {
            lines.push(format!("{:<12}{line}", if number == 0 { title } else { "" }));
        }
    }
    lines.push(format!("{:<12}{}", "Host", host(&observed, machine)));
    let (cause, remedy) = verdict(machine, &remains);
    lines.push(format!("{:<12}{cause}", "Cause"));
    lines.push(format!("{:<12}{remedy}", "Remedy"));
    context.ui.data(lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn state(machine: &Machine) -> String {
    match &machine.state {
        State::Stopped(Some(how)) => format!("stopped ({how})"),
        State::Stopped(None) => "stopped".to_owned(),
        State::Booting(running) => format!("booting for {}", ui::duration(running.uptime)),
        State::Running(running) => format!("running for {}", ui::duration(running.uptime)),
        State::Stuck(running) => format!("running for {}, without an answer", ui::duration(running.uptime)),
    }
}

fn host(observed: &Observed, machine: &Machine) -> String {
    let host = &observed.host;
    let used = match machine.memory_used {
        0 => String::new(),
        bytes => format!("; the VMM has {} of memory", ui::size(bytes)),
    };
    format!("{} CPUs, {} of disk free{used}", host.cpus, ui::size(host.free_bytes))
}

/// The likely cause, and the command that mends it. What is certain comes first.
fn verdict(machine: &Machine, remains: &Remains) -> (String, String) {
    let name = &machine.name;
    let dev = format!("mvm dev {name}");
    if let Err(why) = &machine.spec {
        return (why.clone(), format!("mend the file, or `mvm destroy {name}`"));
    }
    if let Some(why) = &remains.init {
        return (why.clone(), format!("{dev}, after what it says"));
    }
    if let Some(panic) = &remains.panic {
        return (panic.clone(), format!("{dev} --memory 2G, or another `--kernel`"));
    }
    if let Some(killed) = &remains.oom {
        return (
            format!("the guest has too little memory: {killed}"),
            format!("mvm stop {name} && {dev} --memory 2G"),
        );
    }
    match &machine.state {
        State::Running(_) => ("it answers".to_owned(), format!("mvm ssh {name}")),
        State::Booting(_) => ("its start is not through".to_owned(), format!("{dev}, which waits for it")),
        State::Stuck(_) => {
            ("the guest's kernel takes no connection: it hangs, or is busy beyond measure".to_owned(), dev)
        }
        State::Stopped(Some(how)) if how != "clean" => (format!("it ended: {how}"), dev),
        State::Stopped(_) if remains.phases.is_empty() => {
            ("it was not started yet, or its VMM said nothing".to_owned(), dev)
        }
        State::Stopped(_) => ("it was stopped in an orderly way".to_owned(), dev),
    }
}
