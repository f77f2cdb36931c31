//! Machines that go on from the moment at which another one stands (resources/scripts/microvm/fork.sh).

use super::keys::NewKeys;
use super::session::FIRST;
use super::steps::{Started, freezing};
use super::{Frozen, HostFacts, Port, Spec, observed};
use crate::image::seed::Keys;
use crate::network;
use crate::script;
use crate::shell::{Answer, Script};
use crate::vmm::Kind;

/// What was made of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forked {
    /// The memory that the new machines go on from.
    pub frozen: Frozen,
    /// Of each of them, in their order.
    pub keys: Vec<Keys>,
    /// How long the machine stood still, in milliseconds.
    pub paused: u64,
    /// Whether the guest wrote out its files before.
    pub synced: bool,
}

/// Makes the machines `clones`, none of which is there yet, of the memory and disk of `source`, which goes on, and whose `ports` are
/// published.
pub fn fork(
    (source, ports): (&Spec, &[Port]),
    (clones, told): (&[Spec], Told),
    kind: Kind,
    host: &HostFacts,
) -> anyhow::Result<Script<Forked>> {
    let read = |answer: &Answer| {
        Ok(Forked {
            frozen: Frozen::read(answer.get::<String>("FROZEN")?.split('\t'), ""),
            keys: answer.all("CLONE").filter_map(|name| observed::keys(answer, name)).collect(),
            paused: answer.get("PAUSED")?,
            synced: answer.text("SYNCED") == Some("yes"),
        })
    };
    let script = script!("microvm/fork" with ["cell/lib", "microvm/lib", "vmm/lib", "vmm/freeze"], read);
    let mut lines = Vec::new();
    for clone in clones {
        let name = clone.name.as_str();
        lines.extend([name.as_bytes(), b" ", &clone.line()?, NewKeys::make(name)?.line()].concat());
    }
    // What waits there in the machine itself is for nobody else to reach.
    let waits = ports.iter().all(|port| port.guest != network::FIRST_PORT);
    let port = if waits { network::FIRST_PORT.to_string() } else { String::new() };
    let entered = if told == Told::AtOnce { "yes" } else { "no" };
    Ok(freezing(script, source, kind, host).input("PORT", port).input("ENTERED", entered).payload(lines))
}

/// How a machine that goes on from another one's memory hears who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// By its start.
    AtOnce,
    /// By whoever runs its first command (`Session::first_call`), where it waits for that.
    First,
}

/// With what the start of a machine needs that was just made, and goes on from another one's memory.
#[must_use]
pub fn told(start: Script<Started>, told: Told) -> Script<Started> {
    let start = start.input("FRESH", "yes");
    match told {
        Told::AtOnce => start.input("ADOPT", FIRST).input("PORT", network::FIRST_PORT.to_string()),
        Told::First => start.input("FIRST", "yes"),
    }
}
