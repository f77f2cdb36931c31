//! What a machine may reach, while it runs: changed, and read.

use super::observed::{Machine, Observed};
use super::plan::{Goal, Step, Wanted, not_set_up, readable_spec};
use super::{MachineName, Spec};
use crate::bootstrap::Task;
use crate::doctor;
use crate::error::Result;
use crate::network::traffic::{self, Flow};
use crate::network::{self, DNS, Policy};
use crate::script;
use crate::shell::{Answer, AnswerError, Script};

/// What brings a machine that runs or is suspended to the policy that is wanted; nothing where it has that.
pub(super) fn steps(observed: &Observed, machine: &Machine, wanted: &Wanted<'_>) -> Result<Vec<Step>> {
    let Some(net) = &wanted.changes.net else { return Ok(Vec::new()) };
    let spec = readable_spec(machine)?;
    if spec.net == *net {
        return Ok(Vec::new());
    }
    let tasks = lacking(observed, net);
    if !tasks.is_empty() && wanted.goal == Goal::Start {
        return Err(not_set_up(&tasks));
    }
    let mut steps: Vec<_> =
        Some(tasks).filter(|tasks| !tasks.is_empty()).map(Step::Admin).into_iter().collect();
    steps.push(Step::Restrict(Spec { net: net.clone(), ..spec.clone() }));
    Ok(steps)
}

/// What an administrator has to do before a policy can hold.
fn lacking(observed: &Observed, net: &Policy) -> Vec<Task> {
    if net.resolves() { doctor::tasks(&observed.host, true) } else { Vec::new() }
}

/// That what a policy needs is there.
pub fn refuse_without_resolver(observed: &Observed, net: &Policy) -> Result<()> {
    let tasks = lacking(observed, net);
    if tasks.is_empty() { Ok(()) } else { Err(not_set_up(&tasks)) }
}

/// What became of a change of what a machine may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// Nothing: the machine was changed by another meanwhile.
    Stale,
    /// It does not run, and has it at its next start.
    Later,
    Now,
}

/// Has the network policy of `spec` hold, at once where the machine runs; only where it still is as `before` says. `change` is for its
/// events.
pub fn restrict(before: Option<&Spec>, spec: &Spec, change: &str) -> anyhow::Result<Script<Restriction>> {
    let read = |answer: &Answer| {
        Ok(match answer.text("RUNS") {
            None => Restriction::Stale,
            Some("yes") => Restriction::Now,
            Some(_) => Restriction::Later,
        })
    };
    Ok(script!("microvm/net" with ["cell/lib", "microvm/lib"], read)
        .input("NAME", spec.name.as_str())
        .input("CHANGE", change)
        .input("DNS", DNS.to_string())
        .input("RULES", network::rules(&spec.net)?)
        .input("RESOLVER", network::resolver(&spec.net).unwrap_or_default())
        .payload(spec.lines(before)?))
}

/// What the machine reached, and what it was refused, since its start; nothing where it does not run.
pub fn traffic(name: &MachineName) -> Script<Option<Vec<Flow>>> {
    let read = |answer: &Answer| {
        if answer.text("RUNS") != Some("yes") {
            return Ok(None);
        }
        let listing = answer.text("LISTING").unwrap_or_default();
        let flows = traffic::read(listing, answer.all("NOTED"))
            .map_err(|value| AnswerError::Invalid { key: "LISTING".to_owned(), value })?;
        Ok(Some(flows))
    };
    script!("microvm/traffic" with ["cell/lib"], read).input("NAME", name.as_str())
}
