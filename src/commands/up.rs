use std::process::ExitCode;

use super::Context;
use super::declared::{bring_up, needed};
use super::provision::ProvisionArgs;
use super::start::MachineArgs;
use crate::error::{Error, Kind, Result};
use crate::microvm::{Goal, MachineName, VmmChoice};

const EXAMPLES: &str = "\
Examples:
  mvm up                                 all machines of mvm.toml
  mvm up web                             this one, and what it depends on
  mvm up --provision                     and run the steps of `provision` that changed";

/// Start the machines of mvm.toml, each after those that it depends on
///
/// Whatever is missing is done, as `mvm dev` does it; a machine that runs is left as it is. When one does not come up, those that
/// depend on it are not started; the others are.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Up {
    /// Only these machines, and those that they depend on
    #[arg(value_name = "NAME")]
    names: Vec<MachineName>,
    /// What runs the machines
    #[arg(long, value_enum, env = "MVM_VMM")]
    vmm: Option<VmmChoice>,
    #[command(flatten)]
    provision: ProvisionArgs,
}

pub fn run(context: &mut Context<'_>, args: &Up) -> Result<ExitCode> {
    let project = needed(context)?;
    let machines = project.with_dependencies(&args.names)?;
    let flags = MachineArgs::with_vmm(args.vmm);
    let mut failed: Vec<MachineName> = Vec::new();
    for machine in &machines {
        let name = &machine.name;
        if let Some(needed) = machine.depends_on.iter().find(|needed| failed.contains(needed)) {
            context.ui.warn(format!("`{name}` is not started: it depends on `{needed}`"));
            failed.push(name.clone());
            continue;
        }
        match bring_up(context, Goal::Dev, name, &flags, args.provision.again) {
            Ok(Some(_)) => context.ui.say(format!("The machine `{name}` runs.")),
            Ok(None) => {}
            // What is not about this machine alone.
            Err(error)
                if machines.len() == 1 || matches!(error.kind, Kind::NeedsAdmin | Kind::Interrupted) =>
            {
                return Err(error);
            }
            Err(error) => {
                context.ui.error(&error);
                failed.push(name.clone());
            }
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<_> = failed.iter().map(|name| format!("`{name}`")).collect();
    Err(Error::failure(format!("not all machines are up: {}", names.join(", ")))
        .hint("`mvm up` goes on from here; `mvm why NAME` tells more of one"))
}
