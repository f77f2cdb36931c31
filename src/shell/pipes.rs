//! The pipes of a command under way, served by one loop: no thread waits for what may never come.

use std::io::{ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Patience, Probe};

/// What a command is to read.
pub(super) enum Source<'a> {
    Bytes(&'a [u8]),
    /// Pieces that are made meanwhile, until their maker is done.
    Stream(Receiver<Vec<u8>>),
}

/// How long a stream's next piece is waited for before the outputs are looked at.
const PIECE: Duration = Duration::from_millis(5);

/// What is to be written next.
struct Input<'a> {
    source: Source<'a>,
    piece: Vec<u8>,
    written: usize,
}

impl Input<'_> {
    /// What is left of the piece at hand; `None` when that was all.
    fn rest(&mut self) -> Option<&[u8]> {
        if let Source::Bytes(bytes) = &self.source {
            return bytes.get(self.written..).filter(|rest| !rest.is_empty());
        }
        if let Source::Stream(pieces) = &self.source
            && self.written == self.piece.len()
        {
            match pieces.try_recv() {
                Ok(piece) => (self.piece, self.written) = (piece, 0),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        Some(&self.piece[self.written..])
    }

    /// Writes what fits; false when nobody reads it any more.
    fn write(&mut self, pipe: &mut ChildStdin) -> bool {
        let Some(rest) = self.rest() else { return false };
        match pipe.write(rest) {
            Ok(length) => self.written += length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // A script that fails early does not read its input; its own error says more.
            Err(error) => {
                tracing::debug!(%error, "the input was not read to its end");
                return false;
            }
        }
        true
    }
}

/// What a command wrote on standard output, and whether it did so in time.
pub(super) struct Served {
    pub(super) stdout: Vec<u8>,
    pub(super) in_time: bool,
}

/// Writes the input, and reads until both outputs end or patience does. Its standard error is handed on line by line.
pub(super) fn serve(
    child: &mut Child,
    source: Source<'_>,
    patience: &Patience,
    on_line: &mut dyn FnMut(&str),
) -> Result<Served> {
    let since = Instant::now();
    let mut heard = since;
    let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(pipe) = &stdin {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let mut input = Input { source, piece: Vec::new(), written: 0 };
    let (mut read, mut lines) = (Vec::new(), Lines::default());
    let mut buffer = vec![0; 1 << 16];
    while stdout.is_some() || stderr.is_some() {
        let (mut waits, mut is_over) = (false, false);
        if stdin.is_some() {
            match input.rest() {
                None => is_over = true,
                Some([]) => waits = true,
                Some(_) => {}
            }
        }
        if is_over {
            stdin = None;
        }
        let limit = patience.first_output.filter(|_| read.is_empty()).or(patience.whole);
        let left = limit.map(|limit| limit.saturating_sub(since.elapsed()));
        let silence = patience.probe.as_ref().map(|probe| probe.after.saturating_sub(heard.elapsed()));
        let until = [left, silence].into_iter().flatten().min();
        let fds = [
            stdin.as_ref().filter(|_| !waits).map(AsFd::as_fd),
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ];
        let soon = waits.then_some(PIECE).filter(|soon| until.is_none_or(|until| *soon < until));
        let Some([to_stdin, from_stdout, from_stderr]) = ready(fds, soon.or(until))? else {
            if soon.is_some() {
                continue;
            }
            let in_time = limit.is_none_or(|limit| since.elapsed() < limit);
            if in_time && patience.probe.as_ref().is_some_and(Probe::is_answered) {
                heard = Instant::now();
                continue;
            }
            return Ok(Served { stdout: read, in_time: false });
        };
        heard = Instant::now();
        if to_stdin && stdin.as_mut().is_some_and(|pipe| !input.write(pipe)) {
            stdin = None;
            // Whoever makes the stream learns of it.
            input.source = Source::Bytes(&[]);
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
    left: Option<Duration>,
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
