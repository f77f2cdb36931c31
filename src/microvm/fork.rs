//! Machines that go on from the moment at which another one stands (resources/scripts/microvm/fork.sh).

use super::steps::freezing;
use super::{Frozen, HostFacts, Spec, observed};
use crate::image::seed::Keys;
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

/// Makes the machines `clones`, none of which is there yet, of the memory and disk of `source`, which goes on.
pub fn fork(
    source: &Spec,
    clones: &[Spec],
    kind: Kind,
    host: &HostFacts,
) -> serde_json::Result<Script<Forked>> {
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
        lines.extend([clone.name.as_str().as_bytes(), b" ", &clone.line()?].concat());
    }
    Ok(freezing(script, source, kind, host).payload(lines))
}
