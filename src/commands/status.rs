use std::ops::ControlFlow;
use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Context, side};
use crate::config::Settings;
use crate::error::Result;
use crate::microvm::{HostFacts, ImageState, Machine, Observed, Scope, State};
use crate::ui::Ui;
use crate::vmm::{Vmm, kvm_trouble};
use crate::{lima, network, ui};

const EXAMPLES: &str = "\
Examples:
  mvm status
  mvm status --json | jq .vmm";

/// Show the Linux side and every machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(context: &mut Context<'_>, args: &Status) -> Result<ExitCode> {
    let observed = context.look(Scope::default())?;
    let instance = context.lima.as_ref().and_then(|vm| vm.instance.as_ref());
    if args.json {
        let mut value = as_json(&context.linux.describe(), &observed);
        value["lima"] = instance.map_or(Value::Null, lima_json);
        context.ui.data(serde_json::to_string_pretty(&value)?);
    } else {
        if let Some(instance) = instance {
            context.ui.data(format!("Lima VM     {}", side::describe(instance)));
        }
        let side = context.linux.describe();
        context.ui.data(as_text(&side, &observed));
    }
    Ok(ExitCode::SUCCESS)
}

/// The status of a Lima VM that does not run, which is all there is to say then.
pub(super) fn of_lima(settings: &Settings, ui: &mut Ui, args: &Status) -> Result<side::Opened> {
    let observed = match side::open_running(settings)? {
        ControlFlow::Continue(side) => return Ok(ControlFlow::Continue(side)),
        ControlFlow::Break(observed) => observed,
    };
    let instance = observed.instance.as_ref();
    // Why nothing can be entered, in the words of the plan.
    let why = lima::plan(&observed, lima::Goal::Enter).err();
    if args.json {
        let value = json!({
            "lima": instance.map(lima_json),
            "lima_trouble": why.as_ref().map(|error| error.source.to_string()),
            "machines": [],
        });
        ui.data(serde_json::to_string_pretty(&value)?);
        return Ok(ControlFlow::Break(ExitCode::SUCCESS));
    }
    if let Some(instance) = instance {
        ui.data(format!("Lima VM     {}", side::describe(instance)));
    } else {
        let why = why.map_or_else(|| "none yet".to_owned(), |error| error.source.to_string());
        ui.data(format!("Lima VM     {why}; `mvm dev` makes everything"));
    }
    if let lima::Nested::No(why) = &observed.host.nested {
        ui.data(format!("Processor   {why}"));
    }
    Ok(ControlFlow::Break(ExitCode::SUCCESS))
}

fn lima_json(instance: &lima::Instance) -> Value {
    json!({
        "status": match &instance.status {
            lima::Status::Running => "running",
            lima::Status::Stopped if instance.is_half_created() => "half created",
            lima::Status::Stopped => "stopped",
            lima::Status::Broken => "broken",
            lima::Status::Unknown(_) => "unknown",
        },
        "errors": instance.errors, "folder": instance.dir, "lima_version": instance.lima_version,
        "cpus": instance.cpus, "memory_bytes": instance.memory, "ssh_port": instance.ssh_port,
        "disk_used_bytes": instance.disk_used(), "disk_size_bytes": instance.disk,
    })
}

/// The VMM that a new machine would get, or why none.
fn vmm_line(host: &HostFacts) -> String {
    match Vmm::choose(crate::microvm::VmmChoice::Auto, host) {
        Ok(vmm) => vmm.why,
        Err(_) => "none yet; run `mvm setup`".to_owned(),
    }
}

fn as_text(side: &str, observed: &Observed) -> String {
    let host = &observed.host;
    let mut lines = vec![
        format!("Linux side  {side}: {}, Linux {}, {}", host.os, host.kernel, host.arch),
        format!("VMM         {}", vmm_line(host)),
    ];
    for image in &observed.images {
        lines.push(match image {
            ImageState::Usable(image) => {
                format!("Image       {} ({}), {}", image.label(), image.id, ui::size(image.bytes()))
            }
            ImageState::Broken(folder, why) => format!("Image       {folder}: broken: {why}"),
        });
    }
    if observed.images.is_empty() {
        lines.push("Image       none yet; run `mvm setup`".to_owned());
    }
    if observed.machines.is_empty() {
        lines.push("Machines    none yet; `mvm dev` makes one".to_owned());
    } else {
        lines.push(String::new());
        lines.push(table(&observed.machines));
    }
    lines.join("\n")
}

fn table(machines: &[Machine]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "STATE", "ADDRESS", "IMAGE", "CPUS", "MEMORY", "DISK", "UP", "PID"]);
    for machine in machines {
        let (image, cpus, memory) = match &machine.spec {
            Ok(spec) => (spec.image.to_string(), spec.cpus.to_string(), spec.memory_mib.to_string()),
            Err(_) => ("?".to_owned(), "?".to_owned(), "?".to_owned()),
        };
        let running = machine.state.running();
        table.add_row([
            machine.name.to_string(),
            machine.state.word().to_owned(),
            running.map_or_else(|| "-".to_owned(), |_| network::GUEST.to_string()),
            image,
            cpus,
            machine
                .state
                .suspended()
                .map_or(memory.clone(), |frozen| format!("{} on disk / {memory}", ui::size(frozen.bytes))),
            format!("{} / {}", ui::size(machine.disk_used), ui::size(machine.disk_size)),
            running.map_or_else(|| "-".to_owned(), |running| ui::duration(running.uptime)),
            running.map_or_else(|| "-".to_owned(), |running| running.pid.to_string()),
        ]);
    }
    let mut text = table.trim_fmt();
    for machine in machines {
        let name = &machine.name;
        if let Err(why) = &machine.spec {
            text.push_str(&format!("\n`{name}` is broken: {why}; `mvm destroy {name}` removes it"));
        }
        match &machine.state {
            State::Stopped(Some(how)) if how != "clean" => {
                text.push_str(&format!("\n`{name}` ended last time: {how}"));
            }
            State::Stuck(_) => {
                text.push_str(&format!("\n`{name}` runs, but does not answer; `mvm dev {name}` restarts it"));
            }
            _ => {}
        }
    }
    text
}

fn as_json(side: &str, observed: &Observed) -> Value {
    let host = &observed.host;
    let images = observed.images.iter().map(|image| match image {
        ImageState::Usable(image) => json!({
            "id": image.id, "name": image.name, "suite": image.suite, "usable": true,
            "bytes": image.bytes(),
        }),
        ImageState::Broken(folder, why) => json!({"id": folder, "usable": false, "why": why}),
    });
    let machines = observed.machines.iter().map(|machine| {
        let spec = machine.spec.as_ref().ok();
        let running = machine.state.running();
        json!({
            "name": machine.name,
            "state": machine.state.word(),
            "ended": match &machine.state { State::Stopped(how) => how.clone(), _ => None },
            "broken": machine.spec.as_ref().err(),
            "address": running.map(|_| network::GUEST.to_string()),
            "image": spec.map(|spec| &spec.image),
            "image_id": spec.map(|spec| &spec.image_id),
            "cpus": spec.map(|spec| spec.cpus),
            "memory_mib": spec.map(|spec| spec.memory_mib.mib()),
            "net": spec.map(|spec| &spec.net),
            "suspended_bytes": machine.state.suspended().map(|frozen| frozen.bytes),
            "disk_used_bytes": machine.disk_used,
            "disk_size_bytes": machine.disk_size,
            "vmm": running.map(|running| &running.vmm),
            "kvm": running.map(|running| running.accelerated),
            "uptime_seconds": running.map(|running| running.uptime),
            "pid": running.map(|running| running.pid),
        })
    });
    json!({
        "linux_side": {
            "kind": side, "os": host.os, "kernel": host.kernel, "arch": host.arch,
            "cpus": host.cpus, "memory_mib": host.memory_mib, "home": host.home, "free_bytes": host.free_bytes,
        },
        "vmm": {
            "chosen": vmm_line(host),
            "firecracker": host.firecracker.as_ref().map(|program| &program.version),
            "qemu": host.qemu.as_ref().map(|program| &program.version),
            "kvm": kvm_trouble(host.kvm).is_none(),
            "kvm_trouble": kvm_trouble(host.kvm),
        },
        "images": images.collect::<Vec<_>>(),
        "machines": machines.collect::<Vec<_>>(),
    })
}
