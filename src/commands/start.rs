use std::process::ExitCode;

use super::reach::reach;
use super::{Context, ssh};
use crate::config::DEFAULT_MACHINE;
use crate::error::Result;
use crate::microvm::{Changes, DiskSize, Goal, ImageName, MachineName, Memory, VmmChoice, Wanted};
use crate::ui::Ui;

/// Start a machine and open a shell in it; a new name makes a new machine
///
/// It expects that `mvm setup` was run, and says what is missing.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// The machine's name: a-z, 0-9 and hyphens
    #[arg(value_name = "NAME", default_value = DEFAULT_MACHINE)]
    pub name: MachineName,
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Return when the machine is up, without opening a shell
    #[arg(long, short)]
    pub detach: bool,
}

/// What a machine is to have; remembered from one start to the next.
#[derive(Debug, clap::Args)]
pub struct MachineArgs {
    /// Virtual CPUs, 1 to 32 [default for a new machine: 2; in software emulation 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    cpus: Option<u8>,
    /// Memory, such as 512M or 2G; at least 128M [default for a new machine: 1G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// What the machine's own disk may grow to, such as 20G; it can be raised later [default for a new machine: 10G]
    #[arg(long, value_name = "SIZE")]
    disk: Option<DiskSize>,
    /// What runs the machine
    #[arg(long, value_enum, env = "MVM_VMM")]
    vmm: Option<VmmChoice>,
    /// The image of a new machine: `ubuntu`, `debian`, `debian:trixie`, one of a registry, or an imported one
    #[arg(long, value_name = "IMAGE", env = "MVM_IMAGE")]
    image: Option<ImageName>,
}

impl MachineArgs {
    pub fn changes(&self) -> Changes {
        let Self { cpus, memory, disk, vmm, ref image } = *self;
        Changes { image: image.clone(), cpus, memory, disk, vmm }
    }
}

pub fn run(context: &mut Context<'_>, args: &Start) -> Result<ExitCode> {
    let defaults = context.settings.machine.clone();
    let wanted = Wanted::new(Goal::Start, &args.name, args.machine.changes(), &defaults);
    match reach(context, &wanted)? {
        None => Ok(ExitCode::SUCCESS),
        Some(reached) if !args.detach && Ui::is_interactive() => {
            ssh::enter(context, &reached, &args.name, &[])
        }
        Some(_) => {
            say_running(context, &args.name);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// For those who have no terminal to enter it with.
pub fn say_running(context: &mut Context<'_>, name: &MachineName) {
    context.ui.say(format!(
        "The machine `{name}` runs. Enter it with `mvm ssh {name}`; end it with `mvm stop {name}`."
    ));
}
