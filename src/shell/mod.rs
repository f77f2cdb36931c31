//! Starting processes: the only module that does.

mod answer;
mod attached;
mod leash;
mod library;
mod pipes;
mod script;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use answer::{Answer, AnswerError, skip_to_mark};
pub use attached::{Attached, hand_on};
pub use leash::Leash;
pub use library::with_used;
use pipes::Served;
pub use script::{Script, ScriptError};

/// A command line and what it reads: plain data, the same wherever it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    pub argv: Vec<OsString>,
    /// Given on standard input; without it, standard input is empty.
    pub stdin: Option<Payload>,
    /// Whether it is to have a terminal, which matters where it has to be passed on.
    pub terminal: bool,
}

/// What a command reads.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    Bytes(Vec<u8>),
    /// A file of this host: as large as it may be, it takes no memory.
    File(PathBuf),
}

/// It may hold secrets: whoever prints it sees how much it is.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// Variables of mvm's own environment that no command inherits.
static WITHHELD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on no command inherits these variables.
pub fn withhold(names: impl IntoIterator<Item = String>) {
    WITHHELD.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_owned())
    }
}

impl From<PathBuf> for Payload {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Payload {
    fn stdin(&self) -> std::io::Result<Stdio> {
        match self {
            Self::Bytes(_) => Ok(Stdio::piped()),
            Self::File(path) => Ok(fs_err::File::open(path)?.into_parts().0.into()),
        }
    }
}

impl Call {
    pub fn new<I, S>(argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The variables that a leading `env` sets, and what it becomes: that is done here, without that program.
    fn parts(&self) -> (Vec<(OsString, OsString)>, &[OsString]) {
        let Some((first, words)) = self.argv.split_first() else { return (Vec::new(), &[]) };
        if first != "env" || words.first().is_some_and(|word| word.as_bytes().starts_with(b"-")) {
            return (Vec::new(), &self.argv);
        }
        let split = |word: &OsString| {
            let at = word.as_bytes().iter().position(|byte| *byte == b'=')?;
            Some((
                OsStr::from_bytes(&word.as_bytes()[..at]).to_owned(),
                OsStr::from_bytes(&word.as_bytes()[at + 1..]).to_owned(),
            ))
        };
        let variables: Vec<_> = words.iter().map_while(split).collect();
        let count = variables.len();
        (variables, &words[count..])
    }

    /// What is started.
    pub fn program(&self) -> String {
        self.parts().1.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place that starts processes")]
    fn command(&self) -> Command {
        let (variables, words) = self.parts();
        let mut command = Command::new(words.first().map_or(OsStr::new(""), OsString::as_os_str));
        command.args(words.iter().skip(1));
        for name in WITHHELD.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            command.env_remove(name);
        }
        command.envs(variables);
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
    /// How far a transfer is, in bytes; several may be under way at once, each by its name.
    Progress { what: &'a str, done: u64, total: Option<u64> },
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

/// How long a command may take; a command that takes longer is ended, and the error's kind is `TimedOut`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patience {
    /// Until its first byte on standard output.
    pub first_output: Option<Duration>,
    pub whole: Option<Duration>,
    pub probe: Option<Probe>,
}

impl Patience {
    /// For a command that has to end within `limit`.
    pub fn whole(limit: Duration) -> Self {
        Self { whole: Some(limit), ..Self::default() }
    }
}

/// Another command, to tell a long silence from a connection that is dead: asked each time the first has been silent for
/// `after`. Where it does not end within `limit`, the first is ended too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub after: Duration,
    pub call: Call,
    pub limit: Duration,
}

impl Probe {
    fn is_answered(&self) -> bool {
        let answer = run_within(&self.call, &Patience::whole(self.limit), &mut |_| {});
        !answer.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    }
}

/// Runs `call` to its end. Its standard error is read line by line and handed to `on_event`.
pub fn run(call: &Call, on_event: &mut dyn FnMut(Event<'_>)) -> std::io::Result<Output> {
    run_within(call, &Patience::default(), on_event)
}

/// As [`run`], with an end to one's patience.
pub fn run_within(
    call: &Call,
    patience: &Patience,
    on_event: &mut dyn FnMut(Event<'_>),
) -> std::io::Result<Output> {
    let payload: &[u8] = match &call.stdin {
        Some(Payload::Bytes(bytes)) => bytes,
        _ => &[],
    };
    attend(spawn(call)?, payload, patience, on_event)
}

/// What makes a command's standard input while it runs.
pub type Feed<'a> = &'a (dyn Fn(&mut dyn Write) -> std::io::Result<()> + Sync);

/// As [`run_within`], with what `feed` writes as standard input. Where that fails the input ends, and the error is the feed's own.
pub fn run_fed(
    call: &Call,
    feed: Feed<'_>,
    patience: &Patience,
    on_event: &mut dyn FnMut(Event<'_>),
) -> std::io::Result<Output> {
    let call = Call { stdin: Some(Payload::Bytes(Vec::new())), ..call.clone() };
    let mut child = spawn(&call)?;
    let Some(pipe) = child.stdin.take() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
    std::thread::scope(|scope| {
        // By a thread of its own: that of the command's outputs would wait for the feed, or the feed for it.
        let feeder = scope.spawn(move || {
            let mut out = BufWriter::with_capacity(FED_AT_ONCE, widened(pipe));
            feed(&mut out).and_then(|()| out.flush())
        });
        let ran = attend(child, &[], patience, on_event);
        match feeder.join().unwrap_or_else(|_| Err(std::io::Error::other("the maker of the input panicked")))
        {
            // The command did not want it all, and says why.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ran,
            Err(error) => Err(error),
            Ok(()) => ran,
        }
    })
}

const FED_AT_ONCE: usize = 256 << 10;

/// A pipe that holds more at once, where the system lets it: what makes and what reads take turns less often.
fn widened(pipe: ChildStdin) -> ChildStdin {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(&pipe, 4 * FED_AT_ONCE) {
        tracing::debug!(%error, "the pipe stays as it is");
    }
    pipe
}

fn spawn(call: &Call) -> std::io::Result<Child> {
    tracing::debug!(argv = ?Shortened(&call.argv), "run");
    call.command()
        .stdin(call.stdin.as_ref().map_or_else(|| Ok(Stdio::null()), Payload::stdin)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Serves a command's pipes, and waits for its end.
fn attend(
    mut child: Child,
    payload: &[u8],
    patience: &Patience,
    on_event: &mut dyn FnMut(Event<'_>),
) -> std::io::Result<Output> {
    let mut log = Vec::new();
    let served = pipes::serve(&mut child, payload, patience, &mut |line| {
        let event = Event::parse(line);
        tracing::debug!(?event);
        if let Event::Log(text) = event {
            if log.len() == LOG_LINES {
                log.remove(0);
            }
            log.push(text.to_owned());
        }
        on_event(event);
    });
    if !matches!(served, Ok(Served { in_time: true, .. })) {
        tracing::debug!(pid = child.id(), "ended");
        // Not waited for beyond this: what it has started (the connection that ssh keeps) may hold its pipes for ever.
        child.kill()?;
    }
    let status = child.wait()?;
    let served = served?;
    if !served.in_time {
        let said: String = log.last().map(|line| format!(": {line}")).unwrap_or_default();
        return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer in time{said}")));
    }
    Ok(Output { status, stdout: served.stdout, log })
}

/// Runs `call` on this terminal, with its input and output as they are.
pub fn run_attached(call: &Call) -> std::io::Result<ExitStatus> {
    tracing::debug!(argv = ?Shortened(&call.argv), "run attached");
    call.command().status()
}

/// Runs `call` until it has put itself into the background, or failed; what it said is the output's log.
pub fn run_into_background(call: &Call) -> std::io::Result<Output> {
    tracing::debug!(argv = ?Shortened(&call.argv), "run into the background");
    // No pipe, which what stays would hold open.
    let mut said = tempfile::tempfile()?;
    let mut command = call.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?);
    let status = command.status()?;
    said.rewind()?;
    let mut log = Vec::new();
    said.take(4096).read_to_end(&mut log)?;
    let log = String::from_utf8_lossy(&log).lines().map(str::to_owned).collect();
    Ok(Output { status, stdout: Vec::new(), log })
}

/// Starts `call` with pipes for its standard input and output.
pub fn start_between(call: &Call) -> std::io::Result<Child> {
    tracing::debug!(argv = ?Shortened(&call.argv), "run between pipes");
    call.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// Starts `call` with pipes for its three streams.
pub fn start_piped(call: &Call) -> std::io::Result<Child> {
    tracing::debug!(argv = ?Shortened(&call.argv), "run with pipes");
    call.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Starts `call` as a process that lives on without this one. The answer is its first line on standard output; nothing where it ended
/// without one. Its standard error goes to `log`.
pub fn start_detached(call: &Call, log: std::fs::File) -> std::io::Result<String> {
    tracing::debug!(argv = ?Shortened(&call.argv), "run detached");
    // By a shell that ends at once: whatever this process becomes, it is nobody's parent.
    let shell = ["sh", "-c", "\"$@\" &", "mvm"].map(OsString::from);
    let call = Call { argv: shell.into_iter().chain(call.argv.iter().cloned()).collect(), ..Call::default() };
    let mut child = call.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        std::io::BufReader::new(stdout).read_line(&mut line)?;
    }
    child.wait()?;
    Ok(line.trim_end().to_owned())
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

/// `word` so that a shell reads it as one word.
pub fn quote(word: &[u8]) -> Vec<u8> {
    // The quoter refuses a NUL alone, which no argument holds.
    shlex::bytes::try_quote(word).map_or_else(|_| word.to_vec(), std::borrow::Cow::into_owned)
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
            stdin: Some(vec![b'x'; 300_000].into()),
            terminal: false,
        };
        let mut events = Vec::new();
        let output = run(&call, &mut |event| events.push(format!("{event:?}"))).unwrap();
        assert_eq!(output.stdout.len(), 300_000);
        assert_eq!(exit_code(output.status), 7);
        assert_eq!(output.log, ["noise"]);
        assert_eq!(events, ["Step(\"one\")", "Log(\"noise\")"]);
    }

    #[test]
    fn a_command_that_says_nothing_is_ended() {
        let patience = Patience { first_output: Some(Duration::from_millis(50)), ..Patience::default() };
        let silent = run_within(&Call::new(["sleep", "60"]), &patience, &mut |_| {});
        assert_eq!(silent.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        let patience = Patience::whole(Duration::from_millis(50));
        let endless =
            run_within(&Call::new(["sh", "-c", "echo begun; exec sleep 60"]), &patience, &mut |_| {});
        assert_eq!(endless.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        let patience = Patience { first_output: Some(Duration::from_mins(1)), ..Patience::default() };
        let output =
            run_within(&Call::new(["sh", "-c", "echo a; sleep 0.1; echo b"]), &patience, &mut |_| {});
        assert_eq!(output.unwrap().stdout, b"a\nb\n");
    }

    #[test]
    fn what_a_command_leaves_behind_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("sleep 600 & echo $! > {}/pid; echo begun; wait", dir.path().display());
        // The probe hangs once the command is that far.
        let hangs = format!("[ ! -e {}/pid ] || exec sleep 60", dir.path().display());
        let probe = Probe {
            after: Duration::from_millis(20),
            call: Call::new(["sh", "-c", &hangs]),
            limit: Duration::from_secs(3),
        };
        let patience = Patience { probe: Some(probe), ..Patience::default() };
        let ended = run_within(&Call::new(["sh", "-c", &script]), &patience, &mut |_| {});
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        // It lives, and holds the command's pipes.
        let pid = fs_err::read_to_string(dir.path().join("pid")).unwrap();
        assert!(run(&Call::new(["kill", pid.trim()]), &mut |_| {}).unwrap().status.success());
    }

    #[test]
    fn silence_is_borne_as_long_as_a_probe_is_answered() {
        let after = Duration::from_millis(20);
        let probed = |call: Call, limit: Duration, command: &str| {
            let probe = Some(Probe { after, call, limit });
            let patience = Patience { probe, ..Patience::default() };
            run_within(&Call::new(["sh", "-c", command]), &patience, &mut |_| {})
        };
        let output =
            probed(Call::new(["true"]), Duration::from_mins(1), "echo a; sleep 0.3; echo b").unwrap();
        assert_eq!(output.stdout, b"a\nb\n");
        let ended = probed(Call::new(["sleep", "60"]), Duration::from_millis(200), "echo a; exec sleep 60");
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_stream_arrives_whole_or_not_at_all() {
        let feed = |pieces: u8| {
            move |out: &mut dyn Write| (0..pieces).try_for_each(|n| out.write_all(&vec![n; 100_000]))
        };
        let sum = Call::new(["sh", "-c", "wc -c"]);
        let output = run_fed(&sum, &feed(100), &Patience::default(), &mut |_| {}).unwrap();
        assert_eq!(output.stdout.trim_ascii(), b"10000000");
        // Whoever reads does not want it.
        let refuses = Call::new(["sh", "-c", "exec <&-; exit 3"]);
        let output = run_fed(&refuses, &feed(100), &Patience::default(), &mut |_| {}).unwrap();
        assert_eq!(exit_code(output.status), 3);
        let broken = |_: &mut dyn Write| Err(std::io::Error::other("damaged"));
        let error = run_fed(&sum, &broken, &Patience::default(), &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "damaged");
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        let output = run(&Call::new(["bash", "-c", "kill -9 $$"]), &mut |_| {}).unwrap();
        assert_eq!(exit_code(output.status), 137);
    }
}
