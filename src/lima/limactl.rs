//! Calls of `limactl`, each with an end to our patience; those that change the instance need the lock, since Lima has none.

use std::ffi::OsString;
use std::time::Duration;

use super::list::{FORMAT, Instance};
use super::{NAME, OLDEST};
use crate::shell::{self, AnswerError, Call, Event, Output, Patience};

const MINUTE: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum LimaError {
    #[error("`limactl {what}` cannot be run: {source}")]
    Spawn { what: String, source: std::io::Error },
    #[error("`limactl {what}` failed{}", said(.log))]
    Failed { what: String, log: Vec<String> },
    #[error("`limactl list`: {0}")]
    Answer(#[from] AnswerError),
}

impl LimaError {
    /// Whether there is no such program.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Spawn { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            // `env` says it so.
            Self::Failed { log, .. } => log.iter().any(|line| line.contains("No such file")),
            Self::Answer(_) => false,
        }
    }

    /// What it said.
    pub fn log(&self) -> String {
        match self {
            Self::Failed { log, .. } => log.join("\n"),
            other => other.to_string(),
        }
    }
}

fn said(log: &[String]) -> String {
    let from = log.len().saturating_sub(6);
    log[from..].iter().map(|line| format!("\n    {line}")).collect()
}

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    Missing,
    /// Usable. Builds of no release have no version.
    Usable(Option<semver::Version>),
    TooOld(semver::Version),
    /// It does not run here, and says why.
    Refuses(String),
}

/// The program, and what it is started with.
#[derive(Debug, Clone)]
pub struct Limactl {
    program: OsString,
    environment: Vec<OsString>,
}

impl Limactl {
    /// `environment` are words such as `LIMA_HOME=/x`.
    pub fn new(program: impl Into<OsString>, environment: Vec<OsString>) -> Self {
        Self { program: program.into(), environment }
    }

    pub fn program(&self) -> &OsString {
        &self.program
    }

    fn call(&self, words: &[&str], stdin: Option<Vec<u8>>) -> Call {
        let mut argv: Vec<OsString> = Vec::new();
        if !self.environment.is_empty() {
            argv.push("env".into());
            argv.extend(self.environment.iter().cloned());
        }
        argv.push(self.program.clone());
        argv.extend(words.iter().map(OsString::from));
        Call { argv, stdin: stdin.map(Into::into), terminal: false }
    }

    /// Runs it; whatever it logs is shown as how far the step is.
    fn run(
        &self,
        words: &[&str],
        stdin: Option<Vec<u8>>,
        limit: Duration,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Output, LimaError> {
        let what = words[0].to_owned();
        let patience = Patience::whole(limit);
        let mut log = Vec::new();
        let mut each = |event: Event<'_>| {
            if let Event::Log(line) = event {
                let text = message(line);
                on_event(Event::Detail(&text));
                log.push(text);
            }
        };
        match shell::run_within(&self.call(words, stdin), &patience, &mut each) {
            Ok(output) if output.status.success() => Ok(output),
            Ok(_) => Err(LimaError::Failed { what, log }),
            Err(source) if source.kind() == std::io::ErrorKind::TimedOut => {
                log.push(format!("no end after {} s", limit.as_secs()));
                Err(LimaError::Failed { what, log })
            }
            Err(source) => Err(LimaError::Spawn { what, source }),
        }
    }

    pub fn installed(&self) -> Installed {
        let mut ignore = |_: Event<'_>| {};
        match self.run(&["--version"], None, MINUTE / 4, &mut ignore) {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let word = text.split_whitespace().last().unwrap_or_default().trim_start_matches('v');
                match semver::Version::parse(word) {
                    Ok(version) if version < OLDEST => Installed::TooOld(version),
                    version => Installed::Usable(version.ok()),
                }
            }
            Err(error) if error.is_missing() => Installed::Missing,
            Err(error) => Installed::Refuses(error.log()),
        }
    }

    /// The instance; `None` when there is none.
    pub fn instance(&self) -> Result<Option<Instance>, LimaError> {
        let mut ignore = |_: Event<'_>| {};
        let words = ["list", "--log-format=json", "--format", FORMAT, NAME];
        match self.run(&words, None, MINUTE / 2, &mut ignore) {
            Ok(output) => Ok(Instance::parse(&String::from_utf8_lossy(&output.stdout))?),
            Err(LimaError::Failed { log, .. }) if log.iter().any(|line| is_absent(line)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the instance from `yaml`: downloads its image and prepares its disk, without starting it.
    pub fn create(&self, yaml: &str, on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), LimaError> {
        let name = format!("--name={NAME}");
        let words = ["create", "--log-format=json", "--tty=false", &name, "-"];
        self.run(&words, Some(yaml.as_bytes().to_vec()), 120 * MINUTE, on_event).map(drop)
    }

    /// Starts the instance and waits until Lima finds it ready; after a cut-off download it goes on with that first.
    pub fn start(&self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), LimaError> {
        let words = ["start", "--log-format=json", "--tty=false", "--timeout=15m", NAME];
        self.run(&words, None, 120 * MINUTE, on_event).map(drop)
    }

    /// Stops it: in an orderly way, within a minute, or by force.
    pub fn stop(&self, force: bool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), LimaError> {
        let words: &[&str] = if force {
            &["stop", "--log-format=json", "-f", NAME]
        } else {
            &["stop", "--log-format=json", NAME]
        };
        self.run(words, None, MINUTE, on_event).map(drop)
    }

    /// Removes the instance and its disk, running or not.
    pub fn delete(&self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), LimaError> {
        self.run(&["delete", "--log-format=json", "--tty=false", "-f", NAME], None, 2 * MINUTE, on_event)
            .map(drop)
    }
}

/// Quotes differ between versions, words do not (2.1: "mvm", 2.2: `mvm`).
fn is_absent(line: &str) -> bool {
    line.contains("No instance matching") || line.contains("unmatched instances")
}

/// The message of a line of Lima's log; lines that are no JSON are taken as they are.
fn message(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line)
        .ok()
        .and_then(|value| value.get("msg")?.as_str().map(str::to_owned))
        .map_or_else(|| line.to_owned(), |text| text.trim_start_matches("[hostagent] ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_their_wrapping() {
        assert_eq!(message(r#"{"level":"info","msg":"[hostagent] Waiting","time":"x"}"#), "Waiting");
        assert_eq!(message("Downloading the image"), "Downloading the image");
    }

    #[test]
    fn an_absent_program_is_missing_with_and_without_an_environment() {
        for environment in [vec![], vec!["LIMA_HOME=/nowhere".into()]] {
            assert_eq!(Limactl::new("no-such-limactl", environment).installed(), Installed::Missing);
        }
    }
}
