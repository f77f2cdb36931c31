//! One session in the machine, with one folder: sshfs on its far end, the SFTP server on this one.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};
use std::process::{Child, ChildStdout};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::microvm::MountSpec;
use crate::sftp::{self, Folder};
use crate::shell::{self, Call};

/// The machine asks for something each 20 s (resources/guest/share): longer than this without a word, and the connection is dead.
const SILENCE: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };
/// What a session that has lost its server may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// What resources/guest/share ends with where trying again is of no use.
const REFUSED: i32 = 3;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It cannot be, as things are.
    Refused(String),
    /// It was there, or was not reached.
    Broke(String),
}

/// What ends a session from outside.
pub(super) type Running = Arc<Mutex<Option<Child>>>;

pub(super) fn kill(running: &Running) {
    if let Some(child) = &mut *running.lock().unwrap_or_else(PoisonError::into_inner) {
        child.kill().unwrap_or_default();
    }
}

/// Serves `mount` to the session that `call` starts, until its end. It is run by a thread of its own, with which the session ends.
pub(super) fn run(call: &Call, mount: &MountSpec, running: &Running, mounted: &Sender<()>) -> End {
    let folder = match Folder::open(&mount.host, mount.read_only) {
        Ok(folder) => folder,
        Err(error) => return End::Refused(format!("`{}`: {error}", mount.host.display())),
    };
    match serve(call, &folder, running, mounted) {
        Ok(end) => end,
        Err(error) => End::Broke(error.to_string()),
    }
}

fn serve(call: &Call, folder: &Folder, running: &Running, mounted: &Sender<()>) -> Result<End> {
    let mut child = shell::start_piped(call)?;
    let no_pipe = || Error::other("the session has no streams");
    let (stdin, stdout, stderr) = (
        child.stdin.take().ok_or_else(no_pipe)?,
        child.stdout.take().ok_or_else(no_pipe)?,
        child.stderr.take().ok_or_else(no_pipe)?,
    );
    *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    let (said, words) = channel();
    let mounted = mounted.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            tracing::debug!(line, "session");
            if line == "mvm: mounted" {
                mounted.send(()).unwrap_or_default();
            } else if said.send(line).is_err() {
                break;
            }
        }
    });
    let served = sftp::serve(folder, Patient(stdout), stdin);
    // Its words end when it does; one that does not is ended.
    let mut last = None;
    while let Ok(line) = words.recv_timeout(LAST_WORDS) {
        last = Some(line);
    }
    kill(running);
    let child = running.lock().unwrap_or_else(PoisonError::into_inner).take();
    let code = child.map_or(Ok(0), |mut child| child.wait().map(shell::exit_code))?;
    let last = last.unwrap_or_default();
    Ok(match (last.strip_prefix("mvm: cannot: "), served) {
        (Some(why), _) if code == REFUSED => End::Refused(why.to_owned()),
        (_, Err(error)) if error.kind() == ErrorKind::TimedOut => {
            End::Broke("the machine was not heard of for two minutes".to_owned())
        }
        _ if last.is_empty() => End::Broke("the connection to the machine ended".to_owned()),
        _ => End::Broke(last),
    })
}

/// A reader that gives up when nothing comes.
struct Patient(ChildStdout);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&SILENCE)) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Err(error) => Err(error.into()),
            Ok(_) => self.0.read(buffer),
        }
    }
}
