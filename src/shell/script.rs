//! A script is a bash file with typed inputs and a typed answer (resources/scripts).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitStatus;
use std::time::Duration;

use super::{Answer, AnswerError, Call, Event, Feed, Output, Patience, Payload, exit_code};
use crate::config;
use crate::linux::Linux;

/// A script ready to be sent; `T` is what its answer is read into.
pub struct Script<T> {
    name: &'static str,
    body: String,
    inputs: BTreeMap<&'static str, OsString>,
    args: Vec<OsString>,
    stdin: Option<Payload>,
    root: bool,
    read: fn(&Answer) -> Result<T, AnswerError>,
}

#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error("cannot start `{program}`: {source}")]
    Spawn { program: String, source: std::io::Error },
    #[error("the script {script} never began (exit code {code}){}", tail(.log))]
    NeverStarted { script: &'static str, code: i32, log: Vec<String> },
    /// A failure that the script knows by name.
    #[error("{message}{}", tail(.log))]
    Named { kind: String, message: String, log: Vec<String> },
    #[error("the script {script} failed (exit code {code}) at {command}{}", tail(.log))]
    Failed { script: &'static str, command: String, code: i32, log: Vec<String> },
    /// The Linux side did not answer, or not in time.
    #[error("{linux} does not answer{}", tail(.log))]
    Unreachable { linux: String, log: Vec<String> },
    #[error("the script {script}: {source}")]
    Answer { script: &'static str, source: AnswerError },
}

impl ScriptError {
    /// The name of a failure that the script knows; scripts say it with `die`.
    pub fn named(&self) -> Option<&str> {
        match self {
            Self::Named { kind, .. } => Some(kind),
            _ => None,
        }
    }
}

fn tail(log: &[String]) -> String {
    let from = log.len().saturating_sub(8);
    log[from..].iter().map(|line| format!("\n    {line}")).collect()
}

impl<T> Script<T> {
    /// Use [`script!`](crate::script), which finds the file and puts the prelude before it.
    pub fn new(name: &'static str, body: String, read: fn(&Answer) -> Result<T, AnswerError>) -> Self {
        Self { name, body, inputs: BTreeMap::new(), args: Vec::new(), stdin: None, root: false, read }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// An input: the script finds it as a variable of that name.
    #[must_use]
    pub fn input(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.inputs.insert(name, value.into());
        self
    }

    /// Words the script finds in `"$@"`.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// What the script reads from standard input: payloads, and all that is secret.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Payload>) -> Self {
        self.stdin = Some(payload.into());
        self
    }

    /// Runs the script as root, through `sudo -n` unless already root.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// The script as a command line: the same for every kind of Linux side.
    pub fn call(&self, is_root: bool) -> Call {
        let sudo: &[&str] = if self.root && !is_root { &["sudo", "-n"] } else { &[] };
        let mut argv: Vec<OsString> = sudo.iter().map(Into::into).collect();
        argv.push("env".into());
        for (name, value) in &self.inputs {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            argv.push(word);
        }
        // `sudo` and ssh pass nothing on by themselves.
        argv.extend(config::checkpoint().map(|checkpoint| format!("MVM_CHECKPOINT={checkpoint}").into()));
        argv.extend(["bash", "-c", &self.body, self.name].map(OsString::from));
        argv.extend(self.args.iter().cloned());
        Call { argv, stdin: self.stdin.clone(), terminal: false }
    }

    /// The script as one line for a shell of the Linux side, for what runs it there later.
    pub fn line(&self) -> OsString {
        let words = self.call(true).argv;
        let words: Vec<_> = words.iter().map(|word| super::quote(word.as_bytes())).collect();
        OsString::from_vec(words.join(&b' '))
    }

    /// Sends the script to the Linux side, waits for its end and reads its answer. Where the connection is to blame it is
    /// made anew, once: a script is safe to repeat.
    pub fn run(&self, linux: &dyn Linux, on_event: &mut dyn FnMut(Event<'_>)) -> Result<T, ScriptError> {
        match self.send(linux, on_event) {
            Err(ScriptError::Unreachable { log, .. }) if linux.reconnect() => {
                tracing::debug!(?log, "once more, by a new connection");
                self.send(linux, on_event)
            }
            done => done,
        }
    }

    /// As [`Script::run`], once, with what `feed` writes as its standard input.
    pub fn run_fed(
        &self,
        linux: &dyn Linux,
        feed: Feed<'_>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<T, ScriptError> {
        self.send_by(linux, &mut |call, patience| super::run_fed(call, feed, patience, on_event))
    }

    /// As [`Script::run`], once, and only where that takes no longer than `limit`.
    pub fn run_within(&self, linux: &dyn Linux, limit: Duration) -> Result<T, ScriptError> {
        self.send_by(linux, &mut |call, _| super::run_within(call, &Patience::whole(limit), &mut |_| {}))
    }

    fn send(&self, linux: &dyn Linux, on_event: &mut dyn FnMut(Event<'_>)) -> Result<T, ScriptError> {
        self.send_by(linux, &mut |call, patience| super::run_within(call, patience, on_event))
    }

    fn send_by(
        &self,
        linux: &dyn Linux,
        run: &mut dyn FnMut(&Call, &Patience) -> std::io::Result<Output>,
    ) -> Result<T, ScriptError> {
        tracing::debug!(script = self.name, inputs = ?self.inputs.keys(), "script");
        let call = linux.wrap(self.call(linux.is_root()));
        let program = call.program();
        match run(&call, &linux.patience()) {
            Ok(Output { status, stdout, log })
                if stdout.is_empty() && status.code().is_some_and(|code| linux.is_cut_off(code)) =>
            {
                Err(ScriptError::Unreachable { linux: linux.describe(), log })
            }
            Ok(output) => self.read(output),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Err(ScriptError::Unreachable { linux: linux.describe(), log: vec![error.to_string()] })
            }
            Err(source) => Err(ScriptError::Spawn { program, source }),
        }
    }

    /// What the script would have answered, had it ended well and written `stdout`.
    pub fn answered(&self, stdout: Vec<u8>) -> Result<T, ScriptError> {
        self.read(Output { status: ExitStatus::default(), stdout, log: Vec::new() })
    }

    fn read(&self, output: Output) -> Result<T, ScriptError> {
        let Output { status, stdout, log } = output;
        let (script, code) = (self.name, exit_code(status));
        let Some(answer) = Answer::parse(&String::from_utf8_lossy(&stdout)) else {
            return Err(ScriptError::NeverStarted { script, code, log });
        };
        if let Some((kind, message)) = answer.text("DIED").and_then(|died| died.split_once(' ')) {
            return Err(ScriptError::Named { kind: kind.to_owned(), message: message.to_owned(), log });
        }
        if !status.success() {
            let command = answer.text("FAILED").unwrap_or("an unknown place").to_owned();
            return Err(ScriptError::Failed { script, command, code, log });
        }
        (self.read)(&answer).map_err(|source| ScriptError::Answer { script, source })
    }
}

/// A script from resources/scripts: `script!("microvm/start" with ["cell/lib"], read)`.
#[macro_export]
macro_rules! script {
    ($name:literal $(with [$($lib:literal),*])?, $read:expr) => {
        $crate::shell::Script::new($name, [
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/scripts/prelude.sh")),
            &$crate::shell::with_used(
                &[$($(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/scripts/", $lib, ".sh"))),*)?],
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/scripts/", $name, ".sh")),
            ),
        ].concat(), $read)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::Native;

    fn run(text: &str) -> Result<String, ScriptError> {
        let prelude = include_str!("../../resources/scripts/prelude.sh");
        let script = Script::new("test", format!("{prelude}{text}"), |answer| answer.get("SAID"))
            .input("WORDS", "it's $HOME `id` \"q\" \\ *\n-n\t")
            .args(["", "-n", "a b"])
            .payload(b"payload".to_vec());
        script.run(&Native::new(), &mut |_| {})
    }

    #[test]
    fn values_arrive_as_given() {
        let said = run(r#"
            [[ $WORDS == $'it\'s $HOME `id` "q" \\ *\n-n\t' ]] && [[ $# = 3 && -z $1 && $2 = -n && $3 = 'a b' ]]
            read -r payload || true
            echo noise; answer SAID "$payload""#);
        assert_eq!(said.unwrap(), "payload");
    }

    #[test]
    fn each_way_of_failing_is_its_own_error() {
        assert_eq!(run("die no-disk 'the disk is gone'").unwrap_err().named(), Some("no-disk"));
        match run("echo why >&2\nfalse\n") {
            Err(ScriptError::Failed { command, code: 1, log, .. }) => {
                assert!(command.ends_with(": false"), "{command}");
                assert_eq!(log, ["why"]);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(run("answer OTHER 1"), Err(ScriptError::Answer { .. })));
        let broken = Script::new("test", "exit 3".into(), |_| Ok(())).run(&Native::new(), &mut |_| {});
        assert!(matches!(broken, Err(ScriptError::NeverStarted { code: 3, .. })));
    }

    #[test]
    fn root_comes_through_sudo_unless_already_root() {
        let script = Script::new("test", String::new(), |_| Ok(())).as_root();
        assert_eq!(script.call(false).argv[..3], ["sudo", "-n", "env"]);
        assert_eq!(script.call(true).argv[0], "env");
    }
}
