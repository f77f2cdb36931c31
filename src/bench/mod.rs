//! What `mvm bench` measured, and how it is shown: as text, as JSON, as a page.

mod life;
mod page;
mod spread;
mod text;

pub use life::{Life, Span};
pub use page::page;
use serde::Serialize;
pub use spread::Spread;
pub use text::text;

/// Everything, as `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Of this format.
    pub version: u32,
    pub subject: Subject,
    pub phases: Vec<Phase>,
    /// From nothing to the end of the first command, in milliseconds.
    pub to_first_command_ms: Spread,
    /// To the end of the machine, in milliseconds.
    pub whole_life_ms: Spread,
    /// Commands that were timed whole, in alternation; `mvm run` is the first.
    pub commands: Vec<Timed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
}

/// What was measured, and where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    pub mvm: String,
    pub linux: String,
    pub vmm: String,
    pub image: String,
    pub cpus: u8,
    pub memory_mib: u32,
    pub runs: u32,
    /// Of the last minute, when it began and when it ended.
    pub load: (f64, f64),
}

/// One phase of all lives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    pub name: String,
    pub what: &'static str,
    /// When it begins, from the life's beginning: the median, in milliseconds.
    pub begins_ms: f64,
    pub ms: Spread,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timed {
    pub command: String,
    pub ms: Spread,
    /// The first's median against this one's.
    pub ratio: f64,
}

/// Machines started at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scale {
    pub machines: u32,
    /// Until all answered, and until all were stopped.
    pub start_seconds: f64,
    pub stop_seconds: f64,
    pub starts_per_second: f64,
    /// What one has of the host's memory that no other process shares, and what it shares, in bytes.
    pub unique_bytes: Spread,
    pub shared_bytes: Spread,
    /// What its disk takes of the host's, in bytes.
    pub disk_bytes: Spread,
}

impl Report {
    pub const VERSION: u32 = 1;

    /// Nothing where there was no life.
    pub fn of(subject: Subject, lives: &[Life]) -> Option<Self> {
        let phases = lives.first()?.spans.iter().filter_map(|span| {
            let of_all = || lives.iter().filter_map(|life| life.span(&span.phase));
            Some(Phase {
                name: span.phase.clone(),
                what: life::describe(&span.phase),
                begins_ms: Spread::of(of_all().map(|span| span.begin_ms))?.median,
                ms: Spread::of(of_all().map(|span| span.ms))?,
            })
        });
        let command = lives.iter().filter_map(|life| life.span(life::COMMAND));
        Some(Self {
            version: Self::VERSION,
            subject,
            phases: phases.collect(),
            to_first_command_ms: Spread::of(command.map(|span| span.begin_ms + span.ms))?,
            whole_life_ms: Spread::of(lives.iter().map(Life::ms))?,
            commands: Vec::new(),
            scale: None,
        })
    }

    /// What `commands` took, each as often as the others, in milliseconds.
    pub fn add_commands(&mut self, commands: Vec<(String, Vec<f64>)>) {
        let spreads: Vec<_> =
            commands.into_iter().filter_map(|(command, all)| Some((command, Spread::of(all)?))).collect();
        let first = spreads.first().map_or(f64::NAN, |(_, spread)| spread.median);
        self.commands = spreads
            .into_iter()
            .map(|(command, ms)| Timed { command, ratio: first / ms.median, ms })
            .collect();
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Report {
    let life = |factor: f64| {
        let mut life = Life::default();
        let mut begin = 0.0;
        for (phase, ms) in [
            ("look", 20.0),
            ("create", 30.0),
            ("cell", 15.0),
            ("vmm", 90.0),
            ("kernel", 600.0),
            ("disks", 40.0),
        ]
        .into_iter()
        .chain([
            ("root", 80.0),
            ("sshd", 200.0),
            ("answer", 30.0),
            ("command", 160.0),
            ("stop", 400.0),
        ]) {
            life.push(phase, begin, ms * factor);
            begin += ms * factor;
        }
        life
    };
    let subject = Subject {
        mvm: "0.1.0".into(),
        linux: "Debian GNU/Linux 12 (bookworm), Linux 6.1, x86_64".into(),
        vmm: "QEMU 7.2 in software emulation".into(),
        image: "debian:bookworm".into(),
        cpus: 1,
        memory_mib: 1024,
        runs: 3,
        load: (0.5, 1.25),
    };
    let mut report = Report::of(subject, &[life(1.0), life(1.2), life(0.9)]).unwrap();
    report.add_commands(vec![
        ("mvm run -- true".into(), vec![500.0, 520.0, 480.0]),
        ("docker run --rm <debian> true".into(), vec![1000.0, 900.0, 1100.0]),
    ]);
    let bytes = |mib: f64| Spread::of([mib * 1_048_576.0, mib * 1.1 * 1_048_576.0]).unwrap();
    report.scale = Some(Scale {
        machines: 2,
        start_seconds: 4.0,
        stop_seconds: 1.5,
        starts_per_second: 0.5,
        unique_bytes: bytes(90.0),
        shared_bytes: bytes(30.0),
        disk_bytes: bytes(1.0),
    });
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_medians_over_lives() {
        let report = sample();
        let kernel = report.phases.iter().find(|phase| phase.name == "kernel").unwrap();
        assert!(
            (kernel.ms.median - 600.0).abs() < 1e-9 && (kernel.begins_ms - 155.0).abs() < 1e-9,
            "{kernel:?}"
        );
        assert!((report.to_first_command_ms.median - 1265.0).abs() < 1e-6, "{report:?}");
        assert!((report.whole_life_ms.max - 1998.0).abs() < 1e-6, "{report:?}");
        assert!((report.commands[1].ratio - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_phase_that_one_life_lacks_is_of_the_others() {
        let mut lives = [Life::default(), Life::default()];
        for life in &mut lives {
            life.push("look", 0.0, 5.0);
            life.push("command", 5.0, 5.0);
        }
        lives[0].push("stop", 10.0, 7.0);
        let report = Report::of(sample().subject, &lives).unwrap();
        assert_eq!(report.phases[2].ms.all, [7.0]);
        assert!(Report::of(sample().subject, &[]).is_none());
    }
}
