//! The terminal's modes, put back however mvm ends.

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

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

/// Puts back what was changed, if anything was; for those who end the program.
pub fn restore() {
    if let Some(modes) = BEFORE.lock().ok().and_then(|mut before| before.take()) {
        // It may be gone.
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).unwrap_or_default();
    }
}
