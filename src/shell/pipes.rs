//! The pipes of a command under way, served by one loop: no thread waits for what may never come.

use std::io::{ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Patience, Probe};

/// What a command wrote on standard output, and whether it did so in time.
pub(super) struct Served {
    pub(super) stdout: Vec<u8>,
    pub(super) in_time: bool,
}

/// Writes `payload`, and reads until both outputs end or patience does. Its standard error is handed on line by line.
pub(super) fn serve(
    child: &mut Child,
    payload: &[u8],
    patience: &Patience,
    on_line: &mut dyn FnMut(&str),
) -> Result<Served> {
    let since = Instant::now();
    let mut heard = since;
    let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(pipe) = &stdin {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let mut payload = payload;
    let (mut read, mut lines) = (Vec::new(), Lines::default());
    let mut buffer = vec![0; 1 << 16];
    while stdout.is_some() || stderr.is_some() {
        let limit = patience.first_output.filter(|_| read.is_empty()).or(patience.whole);
        let left = limit.map(|limit| limit.saturating_sub(since.elapsed()));
        let silence = patience.probe.as_ref().map(|probe| probe.after.saturating_sub(heard.elapsed()));
        let until = [left, silence].into_iter().flatten().min();
        let fds = [
            stdin.as_ref().map(AsFd::as_fd),
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ];
        let Some([to_stdin, from_stdout, from_stderr]) = ready(fds, until)? else {
            let in_time = limit.is_none_or(|limit| since.elapsed() < limit);
            if in_time && patience.probe.as_ref().is_some_and(Probe::is_answered) {
                heard = Instant::now();
                continue;
            }
            return Ok(Served { stdout: read, in_time: false });
        };
        heard = Instant::now();
        if to_stdin && !write_some(stdin.as_mut(), &mut payload) {
            stdin = None;
        }
        if from_stdout && let Some(pipe) = &mut stdout {
            match pipe.read(&mut buffer)? {
                0 => stdout = None,
                length => read.extend_from_slice(&buffer[..length]),
            }
        }
        if from_stderr && let Some(pipe) = &mut stderr {
            match pipe.read(&mut buffer)? {
                0 => stderr = None,
                length => lines.add(&buffer[..length], on_line),
            }
        }
    }
    lines.end(on_line);
    Ok(Served { stdout: read, in_time: true })
}

/// Which of the pipes (one to write to, two to read from) can be served now; `None` when none could in the time `left`.
fn ready(
    [stdin, stdout, stderr]: [Option<BorrowedFd<'_>>; 3],
    left: Option<std::time::Duration>,
) -> Result<Option<[bool; 3]>> {
    let wanted = [(stdin, PollFlags::OUT), (stdout, PollFlags::IN), (stderr, PollFlags::IN)];
    let mut fds: Vec<_> =
        wanted.iter().filter_map(|(fd, flags)| fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags))).collect();
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut fds, left.as_ref()) {
        Ok(0) => return Ok(None),
        // A signal came, which is handled elsewhere.
        Err(rustix::io::Errno::INTR) => return Ok(Some([false; 3])),
        polled => polled?,
    };
    let mut events = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(Some(wanted.map(|(fd, _)| fd.is_some() && events.next() == Some(true))))
}

/// Writes what fits; false when that is all, or when nobody reads it any more.
fn write_some(pipe: Option<&mut ChildStdin>, payload: &mut &[u8]) -> bool {
    let Some(pipe) = pipe else { return false };
    match pipe.write(payload) {
        Ok(length) => *payload = &payload[length..],
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        // A script that fails early does not read its input; its own error says more.
        Err(error) => {
            tracing::debug!(%error, "the payload was not read to its end");
            return false;
        }
    }
    !payload.is_empty()
}

/// Lines that arrive in pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        self.0.extend_from_slice(bytes);
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        }
    }

    /// The last line may lack its end.
    fn end(self, on_line: &mut dyn FnMut(&str)) {
        if !self.0.is_empty() {
            on_line(String::from_utf8_lossy(&self.0).trim_end_matches('\r'));
        }
    }
}
