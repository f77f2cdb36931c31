//! Opening machines' ports on this host, and saying why one cannot be.

use std::io::{ErrorKind, Read, Seek};
use std::time::{Duration, Instant};

use super::{Context, carry};
use crate::error::{Error, Result};
use crate::linux::Door;
use crate::listener::{self, Holder};
use crate::microvm::{
    self, Listen, Machine, MachineName, Observed, Port, PortState, PortStates, Protocol, Scope,
};
use crate::shell::{self, Call};

/// Makes sure that the ports which `machine` is to publish can be opened on this host, before anything is done.
pub(super) fn claim(
    context: &mut Context<'_>,
    name: &MachineName,
    ports: &[Port],
    machine: Option<&Machine>,
) -> Result<()> {
    for port in ports {
        if machine.is_some_and(|machine| is_open(&machine.ports, port)) {
            continue;
        }
        let opened = match listener::try_to_open(port.listen) {
            Err(_) if context.linux.door() == Door::Socket => when_left(name, port.listen),
            opened => opened,
        };
        if let Err(error) = opened {
            let error = explain(context, name, port, &error);
            let remembered = machine
                .and_then(|machine| machine.spec.as_ref().ok())
                .is_some_and(|s| s.ports.contains(port));
            return Err(if remembered {
                error.hint(format!("`mvm port rm {port} {name}` takes it off the machine"))
            } else {
                error
            });
        }
    }
    Ok(())
}

/// Opens a port once what led to it in an earlier run of the machine has ended, which takes the connection to the VM a moment.
fn when_left(name: &MachineName, listen: Listen) -> std::io::Result<()> {
    let (socket, _) = microvm::socket("", name, listen);
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until
        && listener::holder(listen).is_some_and(|holder| holder.command_line().contains(&socket))
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    listener::try_to_open(listen)
}

pub(super) fn is_open(states: &PortStates, port: &Port) -> bool {
    states.get(&port.listen.id()) == Some(&PortState::Open)
}

/// After the Linux side has seen to the ports: brings them here, and says what did not succeed.
pub(super) fn settle(
    context: &mut Context<'_>,
    name: &MachineName,
    home: &str,
    ports: &[Port],
    states: &PortStates,
) -> Vec<Error> {
    let mut failed = Vec::new();
    for port in ports.iter().filter(|port| !is_open(states, port)) {
        // It was free just now, so the system is asked once more.
        failed.push(match (listener::try_to_open(port.listen), states.get(&port.listen.id())) {
            (Err(error), _) => explain(context, name, port, &error),
            (_, Some(PortState::Closed(why))) => not_open(name, port, why),
            _ => not_open(name, port, "its forwarder did not start"),
        });
    }
    failed.extend(bring_here(context, name, home, ports, states));
    failed
}

fn not_open(name: &MachineName, port: &Port, why: &str) -> Error {
    Error::failure(format!("the port {port} of `{name}` is not open: {why}"))
        .hint(format!("`mvm start {name}` tries again; `mvm port ls {name}` shows how it fares"))
}

/// Where the Linux side is another host: what leads here from those ports that are open there, and do not yet.
fn bring_here(
    context: &Context<'_>,
    name: &MachineName,
    home: &str,
    ports: &[Port],
    states: &PortStates,
) -> Vec<Error> {
    let lacking = ports.iter().filter(|port| is_open(states, port)).filter_map(|port| {
        let (socket, lock) = microvm::socket(home, name, port.listen);
        let call = context.linux.carry(port.listen.address, &socket, &lock)?;
        let bring = match port.listen.protocol {
            Protocol::Tcp => Bring::Connections(call),
            Protocol::Udp => {
                let (listen, forwarder) = (port.listen.to_string(), microvm::forwarder(home, name));
                Bring::Datagrams(context.itself(&["port", "carry", &listen, &forwarder, &socket]).ok()?)
            }
        };
        listener::try_to_open(port.listen).is_ok().then_some((port, bring))
    });
    let lacking: Vec<_> = lacking.collect();
    // At once: each is a connection of its own.
    std::thread::scope(|scope| {
        let started: Vec<_> =
            lacking.iter().map(|(port, bring)| (port, scope.spawn(move || bring.begin()))).collect();
        let ended = started.into_iter().filter_map(|(port, thread)| match thread.join() {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(not_open(name, port, &why)),
            Err(_) => Some(not_open(name, port, "ssh was not started")),
        });
        ended.collect()
    })
}

/// What brings a port here.
enum Bring {
    Connections(Call),
    Datagrams(Call),
}

impl Bring {
    /// The error is why it does not.
    fn begin(&self) -> std::result::Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        match self {
            Self::Connections(call) => {
                let output = shell::run_into_background(call).map_err(told)?;
                if output.status.success() { Ok(()) } else { Err(output.log.join("; ")) }
            }
            Self::Datagrams(call) => {
                let mut log = tempfile::tempfile().map_err(told)?;
                let said = log.try_clone().and_then(|log| shell::start_detached(call, log)).map_err(told)?;
                if said == carry::LISTENING {
                    return Ok(());
                }
                let mut why = String::new();
                log.rewind().and_then(|()| log.take(4096).read_to_string(&mut why)).map_err(told)?;
                Err(why.trim().replace('\n', "; "))
            }
        }
    }
}

/// The connections by which ports come here end with a broken one of the VM: whichever command looks makes them anew.
pub(super) fn converge(context: &mut Context<'_>, observed: &Observed) {
    if context.linux.door() == Door::Address || context.settings.dry_run {
        return;
    }
    for machine in observed.machines.iter().filter(|machine| machine.state.running().is_some()) {
        let Ok(spec) = &machine.spec else { continue };
        for error in bring_here(context, &machine.name, &observed.host.home, &spec.ports, &machine.ports) {
            context.ui.warn(error.source);
        }
    }
}

/// How a port that is open on the Linux side fares on this host.
pub(super) fn here(context: &Context<'_>, machine: &Machine, home: &str, listen: Listen) -> PortState {
    let closed = |why: String| PortState::Closed(why);
    match machine.ports.get(&listen.id()) {
        None => closed("it was not asked for when the machine was started".to_owned()),
        Some(PortState::Open) if context.linux.door() == Door::Socket => {
            if listener::try_to_open(listen).is_ok() {
                return closed(format!("the connection to {} broke", context.linux.describe()));
            }
            let (socket, _) = microvm::socket(home, &machine.name, listen);
            match listener::holder(listen) {
                Some(holder) if !holder.command_line().contains(&socket) => closed(taken_by(&holder)),
                _ => PortState::Open,
            }
        }
        Some(state) => state.clone(),
    }
}

fn taken_by(holder: &Holder) -> String {
    format!("taken by `{}` (PID {})", holder.name, holder.pid)
}

/// Why a port of this host cannot be opened, and what to do.
fn explain(context: &mut Context<'_>, name: &MachineName, port: &Port, error: &std::io::Error) -> Error {
    let (listen, number) = (port.listen, port.listen.address.port());
    let elsewhere = |from: u16| {
        let free = (from..from.saturating_add(100)).find(|&candidate| {
            let mut other = listen;
            other.address.set_port(candidate);
            listener::try_to_open(other).is_ok()
        });
        let mut other = *port;
        other.listen.address.set_port(free.unwrap_or(from));
        format!("publish it on another port of this host, such as `{other}`")
    };
    match error.kind() {
        ErrorKind::AddrInUse => {
            let another = elsewhere(number.saturating_add(1));
            if let Some((machine, theirs)) = machine_with(context, name, listen) {
                return Error::failure(format!("the port {listen} is taken by the machine `{machine}`"))
                    .hint(another)
                    .hint(format!("`mvm port rm {theirs} {machine}` takes it off that machine"));
            }
            match listener::holder(listen) {
                Some(holder) => Error::failure(format!("the port {listen} is {}", taken_by(&holder)))
                    .hint(format!("end that process, or {another}")),
                None => Error::failure(format!(
                    "the port {listen} is taken by a process that this user may not see"
                ))
                .hint(format!("{another}; as root `{}` tells which process it is", listener::tell(listen))),
            }
        }
        ErrorKind::PermissionDenied => {
            let error = Error::needs_admin(format!("this user may not open the port {listen}"))
                .hint(elsewhere(number.saturating_add(8000)));
            if cfg!(target_os = "linux") {
                error.hint(format!(
                    "or let every user open it: `sudo sysctl -w net.ipv4.ip_unprivileged_port_start={number}`"
                ))
            } else {
                error
            }
        }
        ErrorKind::AddrNotAvailable => Error::failure(format!(
            "this host has no address {}",
            listen.address.ip()
        ))
        .hint(
            "without an address a port is this host's own alone (127.0.0.1); 0.0.0.0 is all of its addresses",
        ),
        _ => Error::failure(format!("the port {listen} cannot be opened: {error}")),
    }
}

/// Which other machine has the port, and as what.
fn machine_with(
    context: &mut Context<'_>,
    name: &MachineName,
    listen: Listen,
) -> Option<(MachineName, Port)> {
    let observed = context.look(Scope::default()).ok()?;
    let others = observed.machines.iter().filter(|machine| machine.name != *name);
    others.filter_map(|machine| Some((machine, machine.spec.as_ref().ok()?))).find_map(|(machine, spec)| {
        let theirs = |port: &&Port| port.listen.overlaps(listen) && is_open(&machine.ports, port);
        spec.ports.iter().find(theirs).map(|port| (machine.name.clone(), *port))
    })
}
