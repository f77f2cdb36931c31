//! The terminal's modes, put back however mvm ends.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// As the terminal was before mvm changed it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input in another mode, until this is dropped.
#[must_use = "the terminal is as it was when this is dropped"]
pub struct Mode(());

impl Mode {
    /// Every key is passed on as it is, Ctrl-C too. `None` where standard input is no terminal.
    pub fn raw() -> io::Result<Option<Self>> {
        Self::set(Termios::make_raw)
    }

    /// Each key is read as it is pressed, Ctrl-C too, and not shown; output is as ever.
    pub fn keys() -> io::Result<Option<Self>> {
        Self::set(|modes| {
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        })
    }

    fn set(change: impl FnOnce(&mut Termios)) -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let mut modes = tcgetattr(&stdin)?;
        if let Ok(mut before) = BEFORE.lock() {
            *before = Some(modes.clone());
        }
        change(&mut modes);
        tcsetattr(&stdin, OptionalActions::Now, &modes)?;
        Ok(Some(Self(())))
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether the terminal shows its second screen.
static SCREEN: AtomicBool = AtomicBool::new(false);

/// The terminal's second screen, on which a picture is drawn again and again.
pub struct Screen {
    _mode: Option<Mode>,
}

impl Screen {
    /// Only where both input and output are a terminal.
    pub fn open() -> io::Result<Self> {
        let mode = Mode::keys()?;
        SCREEN.store(true, Ordering::SeqCst);
        write!(io::stdout(), "\x1b[?1049h\x1b[?25l")?;
        Ok(Self { _mode: mode })
    }

    /// What of `text` there is room for.
    pub fn draw(&mut self, text: &str) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        let mut out = io::stdout().lock();
        write!(out, "\x1b[H")?;
        for line in text.lines().take(usize::from(size.ws_row).saturating_sub(1)) {
            let line: String = line.chars().take(usize::from(size.ws_col)).collect();
            write!(out, "{line}\x1b[K\r\n")?;
        }
        write!(out, "\x1b[J")?;
        out.flush()
    }

    /// The key that is pressed within `time`; a signal, such as that of another size, ends it early.
    pub fn key_within(&mut self, time: Duration) -> io::Result<Option<u8>> {
        let stdin = io::stdin();
        let timeout = Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let mut key = [0];
        // Not by the buffered reader, whose content poll does not see.
        match rustix::io::read(&stdin, &mut key)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Some(key[0])),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts back what was changed, if anything was; for those who end the program.
pub fn restore() {
    if SCREEN.swap(false, Ordering::SeqCst) {
        write!(io::stdout(), "\x1b[?25h\x1b[?1049l").and_then(|()| io::stdout().flush()).unwrap_or_default();
    }
    if let Some(modes) = BEFORE.lock().ok().and_then(|mut before| before.take()) {
        // It may be gone.
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).unwrap_or_default();
    }
}
