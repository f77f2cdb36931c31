//! When a machine that was just started reached what.

use super::MachineName;
use crate::script;
use crate::shell::{Answer, AnswerError, Script};

/// In microseconds since 1970, by the Linux side's clock.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timeline {
    /// When its VMM was started.
    pub vmm: u64,
    /// When it answered.
    pub up: u64,
    /// When the clock of the guest's kernel began, within some ten milliseconds.
    pub booted: u64,
    /// Seconds of that clock, and what was reached then.
    pub phases: Vec<(f64, String)>,
}

/// Asks for it, over the connection that a session has opened.
pub fn timeline(name: &MachineName) -> Script<Timeline> {
    script!("microvm/timeline" with ["microvm/lib"], read).input("NAME", name.as_str())
}

/// What the guest's console says it has reached: whatever is no number is none of mvm's lines.
pub(super) fn read_phases(answer: &Answer) -> Vec<(f64, String)> {
    let phases = answer.all("PHASE").filter_map(|line| {
        let (seconds, phase) = line.split_once(' ')?;
        Some((seconds.parse().ok()?, phase.to_owned()))
    });
    phases.collect()
}

fn read(answer: &Answer) -> Result<Timeline, AnswerError> {
    Ok(Timeline {
        vmm: answer.get("VMM")?,
        up: answer.get("UP")?,
        booted: answer.get("BOOTED")?,
        phases: read_phases(answer),
    })
}
