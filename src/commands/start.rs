use std::path::PathBuf;
use std::process::ExitCode;

use super::declared::bring_up;
use super::provision::ProvisionArgs;
use super::secrets::{Input, SecretArgs};
use super::which::Which;
use super::{Context, images, shares, ssh};
use crate::config::CPUS;
use crate::error::Result;
use crate::microvm::{
    Changes, DiskSize, Goal, Idle, ImageName, MachineName, Memory, MountSpec, Policy, Port, UserName,
    VmmChoice,
};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm start web -d                    without a shell
  mvm start web --memory 4G           with more memory from now on
  mvm start db --image debian:trixie --disk 40G";

/// Start a machine and open a shell in it; a new name makes a new machine
///
/// It expects that `mvm setup` was run, and says what is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Start {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    machine: MachineArgs,
    /// Return when the machine is up, without opening a shell
    #[arg(long, short)]
    detach: bool,
    #[command(flatten)]
    provision: ProvisionArgs,
}

/// What a machine is to have; remembered from one start to the next.
#[derive(Debug, Default, clap::Args)]
pub struct MachineArgs {
    #[command(flatten)]
    sizes: Sizes,
    /// Publish a port of the machine on this host, on loopback unless an address is given; may be repeated
    #[arg(long, short, value_name = "[HOSTADDR:]HOSTPORT:GUESTPORT[/udp]")]
    publish: Vec<Port>,
    /// What runs the machine
    #[arg(long, value_enum, env = "MVM_VMM")]
    vmm: Option<VmmChoice>,
    /// The image of a new machine: `ubuntu`, `debian`, `debian:trixie`, one of a registry, or an imported one
    #[arg(long, value_name = "IMAGE", env = "MVM_IMAGE")]
    image: Option<ImageName>,
    /// The user that sessions in it are, made where it is missing, with sudo; `root` for root again
    #[arg(long, value_name = "USER")]
    user: Option<UserName>,
    /// Suspend it by itself when nobody is connected for so long: `90s`, `30m`, `2h`; `off` for never
    #[arg(long, value_name = "TIME")]
    idle: Option<Idle>,
    #[command(flatten)]
    net: NetArg,
    /// The kernel of a new machine, in the place of its image's: a vmlinux, a bzImage, or an arm64 Image
    ///
    /// All that machines need must be built in: where the kernel carries its configuration, what is missing is named.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// A folder of this host to share, live in both directions; with `:ro` the machine only reads. Can be repeated; remembered
    #[arg(long = "mount", value_name = "HOST:GUEST[:ro]")]
    mounts: Vec<MountSpec>,
    #[command(flatten)]
    pub(super) secrets: SecretArgs,
}

/// What a machine may reach.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NetArg {
    /// What it may reach: `open` for all but what is the host's own, `none`, `learn`, or `allow=` and a list of names (each with all
    /// names below it), addresses and networks, with ports: `allow=example.org,10.1.0.0/16:443` [default for a new machine: open]
    #[arg(long, value_name = "POLICY")]
    pub(super) net: Option<Policy>,
}

/// How much of the host a machine is given.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Sizes {
    /// Virtual CPUs, 1 to 32 [default for a new machine: 2; in software emulation, and where there is one processor, 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(CPUS))]
    cpus: Option<u8>,
    /// Memory, such as 512M or 2G; at least 128M [default for a new machine: 1G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// What the machine's own disk may grow to, such as 20G; it can be raised later [default for a new machine: 10G]
    #[arg(long, value_name = "SIZE")]
    disk: Option<DiskSize>,
}

impl Sizes {
    pub fn changes(self) -> Changes {
        let Self { cpus, memory, disk } = self;
        Changes { cpus, memory, disk, ..Changes::default() }
    }
}

impl MachineArgs {
    pub(super) fn with_vmm(vmm: Option<VmmChoice>) -> Self {
        Self { vmm, ..Self::default() }
    }

    /// What of it is meant for the machines that this one depends on as well.
    pub(super) fn for_another(&self) -> Self {
        Self::with_vmm(self.vmm)
    }

    /// What the flags ask for; an image with the kernel that they name is made first, of the image `declared` where no flag
    /// names one.
    pub fn changes(
        &self,
        context: &mut Context<'_>,
        goal: Goal,
        declared: Option<ImageName>,
    ) -> Result<Changes> {
        let mut changes = Changes {
            image: self.image.clone(),
            vmm: self.vmm,
            user: self.user.clone(),
            idle: self.idle,
            net: self.net.net.clone(),
            ports: self.publish.clone(),
            mounts: shares::absolute(&self.mounts)?,
            ..self.sizes.changes()
        };
        if let Some(path) = &self.kernel {
            changes.image = changes.image.or(declared);
            changes.image_id = images::with_kernel(context, goal, &mut changes.image, path)?;
        }
        Ok(changes)
    }
}

pub fn run(context: &mut Context<'_>, args: &Start) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    match bring_up(context, Goal::Start, name, (&args.machine, Input::Free), args.provision.again)? {
        None => Ok(ExitCode::SUCCESS),
        Some(reached) if !args.detach && Ui::is_interactive() => ssh::enter(context, &reached, name, &[]),
        Some(_) => {
            say_running(context, name);
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
