use std::process::ExitCode;
use std::str::FromStr;

use clap::Subcommand;
use comfy_table::{Table, presets};
use serde_json::json;

use super::running::{existing, undisturbed};
use super::which::Which;
use super::{Context, carry, ports};
use crate::error::{Error, Result};
use crate::microvm::{
    self, Listen, Machine, MachineName, Port as Published, PortState, Publication, Scope, Spec,
    readable_spec, refuse_port_conflict,
};

const EXAMPLES: &str = "\
Examples:
  mvm port add 8080:80 web               http://localhost:8080 is the machine's port 80
  mvm port add 127.0.0.1:5353:53/udp     of the machine `default`
  mvm port add 0.0.0.0:8080:80 web       for other hosts as well
  mvm port rm 8080 web";

/// Ports of machines that are published on this host
///
/// They are open while their machine runs, and come back with it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Port {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(Add),
    Rm(Rm),
    Ls(Ls),
    #[command(hide = true)]
    Carry(carry::Carry),
}

/// Publish a port, at once where the machine runs
#[derive(Debug, clap::Args)]
struct Add {
    /// [HOSTADDR:]HOSTPORT:GUESTPORT[/tcp|udp]; one number alone is both ports; without an address it is 127.0.0.1
    #[arg(value_name = "PORT")]
    port: Published,
    #[command(flatten)]
    which: Which,
}

/// Take a port away, at once where the machine runs
#[derive(Debug, clap::Args)]
struct Rm {
    /// The port of this host, such as 8080, 5353/udp, 0.0.0.0:8080; or as it was given
    #[arg(value_name = "PORT")]
    port: OnHost,
    #[command(flatten)]
    which: Which,
}

/// List the ports of all machines, or of one, and whether they are open
#[derive(Debug, clap::Args)]
struct Ls {
    /// The machine's name [default: all machines]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A port of the host, however much of it was given.
#[derive(Debug, Clone)]
struct OnHost(Listen);

impl FromStr for OnHost {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        text.parse().or_else(|_| text.parse().map(|port: Published| port.listen)).map(Self)
    }
}

pub fn run(context: &mut Context<'_>, args: &Port) -> Result<ExitCode> {
    match &args.command {
        Command::Add(args) => add(context, args),
        Command::Rm(args) => rm(context, args),
        Command::Ls(args) => ls(context, args),
        Command::Carry(args) => carry::run(context, args),
    }
}

fn add(context: &mut Context<'_>, args: &Add) -> Result<ExitCode> {
    let port = args.port;
    let name = args.which.name(context)?;
    undisturbed(|strict| add_once(context, &name, port, strict))
}

fn rm(context: &mut Context<'_>, args: &Rm) -> Result<ExitCode> {
    let OnHost(listen) = args.port;
    let name = args.which.name(context)?;
    undisturbed(|strict| rm_once(context, &name, listen, strict))
}

/// False where the machine was changed by another meanwhile.
fn add_once(context: &mut Context<'_>, name: &MachineName, port: Published, strict: bool) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    let spec = readable_spec(machine)?;
    let wanted = Published::merge(&spec.ports, &[port]);
    refuse_port_conflict(&wanted)?;
    let runs = machine.state.running().is_some();
    if wanted == spec.ports && (!runs || ports::is_open(&machine.ports, &port)) {
        context.ui.say(format!("`{name}` publishes {port} already."));
        return Ok(true);
    }
    // What a machine that does not run is to publish may well be another's now.
    if runs {
        ports::claim(context, name, &[port], Some(machine))?;
    }
    if context.settings.dry_run {
        context.ui.data(format!("publish {port} of the machine {name}"));
        return Ok(true);
    }
    let new = Spec { ports: wanted, ..spec.clone() };
    let change = format!("publishes {port}");
    let script = microvm::publish(strict.then_some(spec), &new, &change, context.linux.door())?;
    match context.run(&script)? {
        Publication::Stale => return Ok(false),
        Publication::Later => context.ui.say(format!("`{name}` publishes {port} from its next start on.")),
        Publication::Now(states) => {
            let failed = ports::settle(context, name, &observed.host.home, &[port], &states);
            if let Some(error) = failed.into_iter().next() {
                return Err(error);
            }
            context.ui.say(format!("{} leads to the port {} of `{name}`.", port.listen, port.guest));
        }
    }
    Ok(true)
}

/// As [`add_once`].
fn rm_once(context: &mut Context<'_>, name: &MachineName, listen: Listen, strict: bool) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let spec = readable_spec(existing(context, &observed, name)?)?;
    let Some(port) = named(&spec.ports, listen) else {
        let error = Error::failure(format!("`{name}` publishes no port {listen}"));
        let all: Vec<_> = spec.ports.iter().map(ToString::to_string).collect();
        return Err(if all.is_empty() {
            error.hint("`mvm port ls` lists those that machines publish")
        } else {
            error.hint(format!("it publishes {}", all.join(", ")))
        });
    };
    if context.settings.dry_run {
        context.ui.data(format!("take {port} off the machine {name}"));
        return Ok(true);
    }
    let left = spec.ports.iter().copied().filter(|other| *other != port).collect();
    let new = Spec { ports: left, ..spec.clone() };
    let change = format!("publishes {port} no more");
    let script = microvm::publish(strict.then_some(spec), &new, &change, context.linux.door())?;
    if context.run(&script)? == Publication::Stale {
        return Ok(false);
    }
    context.ui.say(format!("`{name}` publishes {port} no more."));
    Ok(true)
}

/// The one that is meant: exactly, or the only one of that number.
fn named(ports: &[Published], listen: Listen) -> Option<Published> {
    let alike = |port: &&Published| {
        port.listen.protocol == listen.protocol && port.listen.address.port() == listen.address.port()
    };
    let mut found = ports.iter().filter(alike);
    match ports.iter().find(|port| port.listen == listen) {
        Some(port) => Some(*port),
        None if listen.address.ip().is_loopback() => found.next().filter(|_| found.next().is_none()).copied(),
        None => None,
    }
}

fn ls(context: &mut Context<'_>, args: &Ls) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: args.name.as_ref(), probe: false })?;
    if let Some(name) = &args.name {
        existing(context, &observed, name)?;
    }
    let home = &observed.host.home;
    let mut rows = Vec::new();
    for machine in &observed.machines {
        let ports = machine.spec.as_ref().map_or(&[][..], |spec| &spec.ports);
        rows.extend(ports.iter().map(|port| (machine, *port, state(context, machine, home, port))));
    }
    if args.json {
        let values: Vec<_> =
            rows.iter().map(|(machine, port, state)| as_json(machine, port, state.as_ref())).collect();
        context.ui.data(serde_json::to_string_pretty(&values)?);
    } else if rows.is_empty() {
        context.ui.say("No ports are published; `mvm port add 8080:80 NAME` publishes one.");
    } else {
        context.ui.data(table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing while the machine does not run.
fn state(context: &Context<'_>, machine: &Machine, home: &str, port: &Published) -> Option<PortState> {
    machine.state.running().map(|_| ports::here(context, machine, home, port.listen))
}

type Row<'a> = (&'a Machine, Published, Option<PortState>);

fn table(rows: &[Row<'_>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["MACHINE", "HOST", "GUEST", "STATE"]);
    for (machine, port, state) in rows {
        table.add_row([
            machine.name.to_string(),
            port.listen.to_string(),
            port.guest.to_string(),
            match state {
                None => machine.state.word().to_owned(),
                Some(PortState::Open) => "open".to_owned(),
                Some(PortState::Closed(why)) => format!("closed: {why}"),
            },
        ]);
    }
    table.trim_fmt()
}

fn as_json(machine: &Machine, port: &Published, state: Option<&PortState>) -> serde_json::Value {
    let (word, why) = match state {
        None => (machine.state.word(), None),
        Some(PortState::Open) => ("open", None),
        Some(PortState::Closed(why)) => ("closed", Some(why)),
    };
    json!({
        "machine": machine.name, "protocol": port.listen.protocol,
        "host_address": port.listen.address.ip(), "host_port": port.listen.address.port(),
        "guest_port": port.guest, "state": word, "why": why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_by_as_much_as_tells_it() {
        let ports = ["8080:80", "0.0.0.0:9090:90", "53:53/udp", "127.0.0.1:7:7", "0.0.0.0:7:7"]
            .map(|p| p.parse().unwrap());
        let found = |text: &str| {
            named(&ports, text.parse::<OnHost>().unwrap().0).map(|port| port.to_string()).unwrap_or_default()
        };
        for (text, port) in [
            ("8080", "8080:80"),
            ("8080:80", "8080:80"),
            ("9090", "0.0.0.0:9090:90"),
            ("0.0.0.0:9090", "0.0.0.0:9090:90"),
            ("53/udp", "53:53/udp"),
            ("7", "7:7"),
            ("53", ""),
            ("10.0.0.1:8080", ""),
            ("8081", ""),
        ] {
            assert_eq!(found(text), port, "{text}");
        }
    }
}
