//! Starting processes: the only module that does.

mod answer;
mod script;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

pub use answer::{Answer, AnswerError};
pub use script::{Script, ScriptError};

/// A command line and what it reads: plain data, the same wherever it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    pub argv: Vec<OsString>,
    /// Given on standard input; without it, standard input is empty.
    pub stdin: Option<Vec<u8>>,
}

impl Call {
    pub fn new<I, S>(argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        Self { argv: argv.into_iter().map(Into::into).collect(), stdin: None }
    }

    fn program(&self) -> &OsStr {
        self.argv.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place that starts processes")]
    fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command.args(self.argv.iter().skip(1));
        command
    }
}

/// What a running script says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Something new begins.
    Step(&'a str),
    /// How far it is.
    Detail(&'a str),
    /// A line a tool printed.
    Log(&'a str),
}

impl<'a> Event<'a> {
    fn parse(line: &'a str) -> Self {
        if let Some(text) = line.strip_prefix("::step::") {
            Self::Step(text)
        } else if let Some(text) = line.strip_prefix("::detail::") {
            Self::Detail(text)
        } else {
            Self::Log(line)
        }
    }
}

/// How a command ended: its standard output, and the last lines of its log.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub log: Vec<String>,
}

/// Lines of log kept for error messages.
const LOG_LINES: usize = 30;

/// Runs `call` to its end. Its standard error is read line by line and handed to `on_event`.
pub fn run(call: &Call, on_event: &mut dyn FnMut(Event<'_>)) -> std::io::Result<Output> {
    tracing::debug!(argv = ?Shortened(&call.argv), stdin = call.stdin.as_ref().map(Vec::len), "run");
    let mut child = call
        .command()
        .stdin(if call.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut log = Vec::new();
    let stdout = std::thread::scope(|scope| {
        scope.spawn(|| {
            if let (Some(mut pipe), Some(payload)) = (stdin, &call.stdin) {
                // A script that fails early does not read its input; its own error says more.
                if let Err(error) = pipe.write_all(payload) {
                    tracing::debug!(%error, "the payload was not read to its end");
                }
            }
        });
        let reader = scope.spawn(|| {
            let mut bytes = Vec::new();
            stdout.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
        });
        if let Some(pipe) = stderr {
            each_line(pipe, |line| {
                let event = Event::parse(line);
                tracing::debug!(?event);
                if let Event::Log(text) = event {
                    if log.len() == LOG_LINES {
                        log.remove(0);
                    }
                    log.push(text.to_owned());
                }
                on_event(event);
            })?;
        }
        reader.join().unwrap_or_else(|_| Err(std::io::Error::other("the reader of standard output panicked")))
    })?;
    Ok(Output { status: child.wait()?, stdout, log })
}

/// Runs `call` on this terminal, with its input and output as they are.
pub fn run_attached(call: &Call) -> std::io::Result<ExitStatus> {
    tracing::debug!(argv = ?Shortened(&call.argv), "run attached");
    call.command().status()
}

/// Becomes `call`; returns only when that is not possible.
pub fn replace_process(call: &Call) -> std::io::Error {
    tracing::debug!(argv = ?Shortened(&call.argv), "exec");
    call.command().exec()
}

/// The exit code a shell would show: 128 + the signal for a process ended by one.
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn each_line(pipe: impl Read, mut each: impl FnMut(&str)) -> std::io::Result<()> {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        each(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
    Ok(())
}

/// An argument list for the log: scripts are long, so each word is cut.
struct Shortened<'a>(&'a [OsString]);

impl std::fmt::Debug for Shortened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|word| {
                let text = word.to_string_lossy();
                match text.char_indices().nth(60) {
                    Some((end, _)) => format!("{}…", &text[..end]),
                    None => text.into_owned(),
                }
            }))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_log_and_status_come_apart() {
        let call = Call {
            argv: ["bash", "-c", "cat; echo ::step::one >&2; echo noise >&2; exit 7"]
                .map(Into::into)
                .to_vec(),
            stdin: Some(vec![b'x'; 300_000]),
        };
        let mut events = Vec::new();
        let output = run(&call, &mut |event| events.push(format!("{event:?}"))).unwrap();
        assert_eq!(output.stdout.len(), 300_000);
        assert_eq!(exit_code(output.status), 7);
        assert_eq!(output.log, ["noise"]);
        assert_eq!(events, ["Step(\"one\")", "Log(\"noise\")"]);
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        let output = run(&Call::new(["bash", "-c", "kill -9 $$"]), &mut |_| {}).unwrap();
        assert_eq!(exit_code(output.status), 137);
    }
}
