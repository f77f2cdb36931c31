use std::process::ExitCode;
use std::sync::mpsc::channel;

use super::Context;
use super::declared::{bring_up, needed, prepare};
use super::provision::ProvisionArgs;
use super::secrets::Input;
use super::start::MachineArgs;
use crate::error::{Error, Kind, Result};
use crate::microvm::{Goal, MachineName, VmmChoice};
use crate::project::Order;

const EXAMPLES: &str = "\
Examples:
  mvm up                                 all machines of mvm.toml
  mvm up web                             this one, and what it depends on
  mvm up --provision                     and run the steps of `provision` that changed";

/// Start the machines of mvm.toml, each after those that it depends on
///
/// Those that do not wait for each other start at the same time. Whatever is missing is done, as `mvm dev` does it; a machine that runs is left as it is. When one does not come up, those that
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

/// How many machines come up at the same time, at most: in software emulation each takes a processor.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2)
}

pub fn run(context: &mut Context<'_>, args: &Up) -> Result<ExitCode> {
    let project = needed(context)?;
    let machines = project.with_dependencies(&args.names)?;
    let flags = MachineArgs::with_vmm(args.vmm);
    let again = args.provision.again;
    if context.settings.dry_run {
        for machine in &machines {
            bring_up(context, Goal::Dev, &machine.name, (&flags, Input::Free), again)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut order = Order::new(&machines);
    let width = machines.iter().map(|machine| machine.name.as_str().len()).max().unwrap_or_default();
    let mut prepared = false;
    let (tell, ended) = channel();
    std::thread::scope(|scope| -> Result<()> {
        let (mut running, mut stop) = (0, None);
        loop {
            for (name, needed) in order.blocked() {
                context.ui.warn(format!("`{name}` is not started: it depends on `{needed}`"));
            }
            let room = if stop.is_none() { at_once() - running } else { 0 };
            let mut ready = order.ready(room);
            let done = if let ([machine], 0) = (ready.as_slice(), running) {
                // Nothing else can begin before this one is up.
                Some((
                    &machine.name,
                    bring_up(context, Goal::Dev, &machine.name, (&flags, Input::Free), again),
                ))
            } else {
                if !prepared && !ready.is_empty() {
                    prepared = true;
                    for machine in &machines {
                        if let Err(error) = prepare(context, machine, &flags) {
                            if is_for_all(&error) {
                                return Err(error);
                            }
                            // It will be told by the machine's own attempt, as whatever else is wrong with it.
                            tracing::debug!(name = %machine.name, ?error, "not prepared");
                        }
                    }
                }
                for machine in ready.drain(..) {
                    running += 1;
                    let (tell, apart, flags) = (tell.clone(), context.apart()?, &flags);
                    let mut ui = context.ui.labelled(format!("{:width$} | ", machine.name.as_str()));
                    scope.spawn(move || {
                        let context = &mut apart.context(&mut ui);
                        let result = bring_up(context, Goal::Dev, &machine.name, (flags, Input::Free), again);
                        let trips = context.round_trips;
                        ui.settle();
                        tell.send((&machine.name, result, trips)).unwrap_or_default();
                    });
                }
                None
            };
            let (name, result) = match done {
                Some(done) => done,
                None if running == 0 => return stop.map_or(Ok(()), Err),
                None => {
                    let (name, result, trips) = ended.recv().map_err(Error::failure)?;
                    running -= 1;
                    context.round_trips += trips;
                    (name, result)
                }
            };
            order.ended(name, result.is_ok());
            match result {
                Ok(_) => context.ui.say(format!("The machine `{name}` runs.")),
                Err(error) if machines.len() == 1 || is_for_all(&error) => stop = stop.or(Some(error)),
                Err(error) => context.ui.error(&error),
            }
        }
    })?;
    let failed = order.failed();
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<_> = failed.iter().map(|name| format!("`{name}`")).collect();
    Err(Error::failure(format!("not all machines are up: {}", names.join(", ")))
        .hint("`mvm up` goes on from here; `mvm why NAME` tells more of one"))
}

/// Whether it is not about one machine alone.
fn is_for_all(error: &Error) -> bool {
    matches!(error.kind, Kind::NeedsAdmin | Kind::Interrupted)
}
