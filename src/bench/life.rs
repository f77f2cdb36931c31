use std::time::{Duration, Instant};

use serde::Serialize;

use crate::microvm::Timeline;

/// From nothing to nothing: a machine that is made, started, used once, stopped and removed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Life {
    pub spans: Vec<Span>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    pub phase: String,
    /// From the life's beginning, in milliseconds.
    pub begin_ms: f64,
    pub ms: f64,
}

/// The phase at whose end the machine has done something.
pub(super) const COMMAND: &str = "command";

/// What happens in each.
const PHASES: [(&str, &str); 14] = [
    ("look", "mvm looks what there is, and plans"),
    ("create", "the machine's disk and keys are made"),
    ("cell", "its namespaces are made"),
    ("vmm", "its network is made, the VMM starts"),
    ("kernel", "the guest's kernel, to its first program"),
    ("disks", "the disks are found"),
    ("root", "the root file system is put together"),
    ("network", "the guest's network is set up"),
    ("sshd", "its SSH server starts"),
    ("answer", "mvm finds that it answers"),
    ("start", "the machine starts"),
    (COMMAND, "the first command, with the connection"),
    ("stop", "it shuts down in order"),
    ("remove", "its disk is removed"),
];

/// `phase` for people; its further occurrences carry a number.
pub(super) fn describe(phase: &str) -> &'static str {
    let name = phase.split(' ').next().unwrap_or_default();
    PHASES.iter().find(|(known, _)| *known == name).map_or("", |(_, what)| what)
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Life {
    pub fn push(&mut self, phase: &str, begin_ms: f64, ms: f64) {
        let again = self.spans.iter().filter(|span| describe(&span.phase) == describe(phase)).count();
        let phase = if again == 0 { phase.to_owned() } else { format!("{phase} {}", again + 1) };
        self.spans.push(Span { phase, begin_ms, ms });
    }

    /// Adds what lasted from `from` to `to` in a life that began at `began`.
    pub fn push_between(&mut self, phase: &str, began: Instant, (from, to): (Instant, Instant)) {
        self.push(phase, ms(from.saturating_duration_since(began)), ms(to.saturating_duration_since(from)));
    }

    /// Adds what came next, and took `duration`.
    pub fn push_next(&mut self, phase: &str, duration: Duration) {
        self.push(phase, self.ms(), ms(duration));
    }

    /// Adds a start that lasted from `from` to `to`, in its parts as the Linux side and the guest saw them.
    pub fn push_start(&mut self, began: Instant, (from, to): (Instant, Instant), timeline: &Timeline) {
        let (begin, end) =
            (ms(from.saturating_duration_since(began)), ms(to.saturating_duration_since(began)));
        // Their clock, as far as it is the same as ours, at the moment at which the machine was up.
        let at = |micros: u64| {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of one start")]
            let before = timeline.up.saturating_sub(micros) as f64 / 1000.0;
            (end - before).clamp(begin, end)
        };
        let mut marks = vec![("cell", at(timeline.vmm)), ("vmm", at(timeline.booted))];
        for (seconds, phase) in &timeline.phases {
            let known = PHASES.iter().find(|(known, _)| known == phase);
            if let Some((phase, _)) = known {
                marks.push((phase, (at(timeline.booted) + seconds * 1000.0).clamp(begin, end)));
            }
        }
        let mut before = begin;
        for (phase, mark) in marks.into_iter().chain([("answer", end)]) {
            // What came after the machine was up, or out of order, is no part of it.
            let mark = mark.max(before);
            self.push(phase, before, mark - before);
            before = mark;
        }
    }

    pub fn span(&self, phase: &str) -> Option<&Span> {
        self.spans.iter().find(|span| span.phase == phase)
    }

    /// All in all, in milliseconds.
    pub fn ms(&self) -> f64 {
        self.spans.iter().map(|span| span.begin_ms + span.ms).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_shown_in_its_parts() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let timeline = Timeline {
            vmm: 1_020_000,
            up: 3_000_000,
            booted: 1_100_000,
            phases: vec![(0.9, "kernel".into()), (1.8, "sshd".into()), (9.0, "init".into())],
        };
        let mut life = Life::default();
        life.push_start(began, (at(100), at(2120)), &timeline);
        let seen: Vec<_> = life
            .spans
            .iter()
            .map(|span| (span.phase.as_str(), span.begin_ms.round(), span.ms.round()))
            .collect();
        let expected = [
            ("cell", 100.0, 40.0),
            ("vmm", 140.0, 80.0),
            ("kernel", 220.0, 900.0),
            ("sshd", 1120.0, 900.0),
            ("answer", 2020.0, 100.0),
        ];
        assert_eq!(seen, expected);
        assert!((life.ms() - 2120.0).abs() < 1e-6);
    }

    #[test]
    fn what_happens_twice_has_a_number() {
        let mut life = Life::default();
        life.push("look", 0.0, 1.0);
        life.push("create", 1.0, 1.0);
        life.push("look", 2.0, 1.0);
        let names: Vec<_> = life.spans.iter().map(|span| span.phase.as_str()).collect();
        assert_eq!(names, ["look", "create", "look 2"]);
        assert_eq!(describe("look 2"), describe("look"));
    }
}
