//! What machines that run take of the host.

use super::{MachineName, Spec};
use crate::script;
use crate::shell::{Answer, AnswerError, Script};

/// All of them at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Hundredths of a second since the host's start.
    pub now: u64,
    pub machines: Vec<Usage>,
}

/// What one takes: the VMM and the other processes of its cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    pub name: MachineName,
    /// What it was started with.
    pub spec: Option<Spec>,
    /// The VMM's.
    pub pid: u32,
    /// Hundredths of a second since its start, and of CPU.
    pub age: u64,
    pub cpu: u64,
    /// In bytes: what is resident, with what is shared counted by its part, and what no other process has.
    pub resident: u64,
    pub proportional: u64,
    pub unique: u64,
    /// What its disk takes of the host's, in bytes.
    pub disk: u64,
}

impl Usage {
    /// What it shares with others, in bytes.
    pub fn shared(&self) -> u64 {
        self.resident.saturating_sub(self.unique)
    }

    /// The CPUs' time that it had since `before`, in hundredths of one CPU; of a machine that is new there, since its start.
    pub fn cpu_percent(&self, now: u64, before: &Sample) -> f64 {
        let earlier = before.machines.iter().find(|other| other.name == self.name && other.pid == self.pid);
        let (cpu, time) = match earlier {
            Some(earlier) => (self.cpu.saturating_sub(earlier.cpu), now.saturating_sub(before.now)),
            None => (self.cpu, self.age),
        };
        let number = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
        number(cpu) * 100.0 / number(time.max(1))
    }
}

/// Looks at all of them.
pub fn usage() -> Script<Sample> {
    script!("microvm/top" with ["cell/lib"], read)
}

fn read(answer: &Answer) -> Result<Sample, AnswerError> {
    let machine = |name: &str| {
        let numbers = |fact: &str| -> Option<Vec<u64>> {
            answer.text(&format!("{fact}.{name}"))?.split(' ').map(|word| word.parse().ok()).collect()
        };
        // One that ended meanwhile has not all of them.
        let ([pid, age, cpu], [resident, proportional, unique], [disk]) = (
            numbers("CELL")?[..].try_into().ok()?,
            numbers("MEMORY")?[..].try_into().ok()?,
            numbers("DISK")?[..].try_into().ok()?,
        );
        Some(Usage {
            name: name.parse().ok()?,
            spec: answer.text(&format!("SPEC.{name}")).and_then(|text| Spec::parse(text).ok()),
            pid: u32::try_from(pid).ok()?,
            age,
            cpu,
            resident: resident.saturating_mul(1024),
            proportional: proportional.saturating_mul(1024),
            unique: unique.saturating_mul(1024),
            disk,
        })
    };
    Ok(Sample { now: answer.get("NOW")?, machines: answer.all("MACHINE").filter_map(machine).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(now: u64, cpu: u64) -> Sample {
        let text = format!(
            "::mvm::\nNOW={now}\nMACHINE=web\nSPEC.web={{}}\nCELL.web=7 1000 {cpu}\nMEMORY.web=300 200 100\n\
             MACHINE=gone\nCELL.gone=8 1 1\nDISK.web=4096\n"
        );
        read(&Answer::parse(&text).unwrap()).unwrap()
    }

    #[test]
    fn what_a_machine_takes() {
        let sample = sample(5000, 500);
        let [web] = &sample.machines[..] else { panic!("{sample:?}") };
        assert_eq!(
            (web.resident, web.unique, web.shared(), web.disk),
            (300 << 10, 100 << 10, 200 << 10, 4096)
        );
    }

    #[test]
    fn the_cpu_is_counted_between_two_looks() {
        let percent = |before: &Sample, after: &Sample| after.machines[0].cpu_percent(after.now, before);
        // 1.5 of 2 seconds.
        assert!((percent(&sample(5000, 500), &sample(5200, 650)) - 75.0).abs() < 0.01);
        // New: 5 of 10 seconds.
        assert!((percent(&Sample::default(), &sample(5000, 500)) - 50.0).abs() < 0.01);
        // Another one of that name.
        let mut before = sample(5000, 9000);
        before.machines[0].pid = 6;
        assert!((percent(&before, &sample(5200, 500)) - 50.0).abs() < 0.01);
    }
}
