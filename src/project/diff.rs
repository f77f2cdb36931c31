//! A machine as it is, against what the file says.

use super::Declared;
use crate::microvm::{self, Observed};

/// What `mvm up` would have to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// There is no such machine yet.
    Absent,
    /// A line each; none where it is as the file says.
    Lines(Vec<String>),
    /// What the file says cannot be applied to this machine, and what helps.
    Impossible(String, Vec<String>),
}

impl Difference {
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.is_empty())
    }
}

pub fn difference(observed: &Observed, declared: &Declared) -> Difference {
    let Some(machine) = observed.machine(&declared.name) else { return Difference::Absent };
    match microvm::set(observed, machine, &declared.changes) {
        Ok(change) => Difference::Lines(change.map(|change| change.lines).unwrap_or_default()),
        Err(error) => Difference::Impossible(format!("{:#}", error.source), error.hints),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microvm::{State, sample_machine};
    use crate::project::Project;

    /// Against the machine `web`: debian, 2 CPUs, 512 MiB, a disk of 10 GiB.
    fn against(text: &str) -> Difference {
        let project = Project::parse("/src/web/mvm.toml".as_ref(), text).unwrap();
        let mut observed = Observed::default();
        observed.host.memory_mib = 8192;
        observed.machines = vec![sample_machine(State::Stopped(None))];
        difference(&observed, &project.machines[0])
    }

    fn lines(text: &str) -> String {
        match against(text) {
            Difference::Absent => "absent".to_owned(),
            Difference::Lines(lines) => lines.join(", "),
            Difference::Impossible(why, hints) => format!("{why} | {}", hints.join(" | ")),
        }
    }

    #[test]
    fn the_file_against_a_machine() {
        for (text, expected) in [
            ("", ""),
            ("image = \"debian\"\ncpus = 2\nmemory = \"512M\"\ndisk = \"10G\"", ""),
            ("cpus = 4\nmemory = \"1G\"", "cpus: 2 → 4, memory: 512 MiB → 1 GiB"),
            ("disk = \"20G\"", "disk: 10 GiB → 20 GiB"),
            ("env = { TOKEN = \"secret\", A = \"1\" }", "env: A differs, env: TOKEN differs"),
            ("mounts = [\".:/work\"]", "shares /src/web:/work"),
            ("ports = [\"8000:80\"]", "publishes 8000:80"),
            ("net = \"open\"", ""),
            ("net = \"allow=b.org,a.org\"", "net: open → allow=a.org,b.org"),
            ("name = \"other\"", "absent"),
        ] {
            assert_eq!(lines(text), expected, "{text}");
            assert_eq!(against(text).is_none(), expected.is_empty(), "{text}");
        }
        for (text, expected) in [
            ("disk = \"1G\"", "it can grow, but not shrink"),
            ("image = \"debian:trixie\"", "was made from debian:bookworm, not debian:trixie"),
            ("memory = \"900G\"", "more than this host has"),
        ] {
            assert!(lines(text).contains(expected), "{}", lines(text));
            assert!(!against(text).is_none());
        }
    }
}
