//! What a user is told when something fails: what happened, what to do next, and the exit code.

use std::fmt;

/// Decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something did not work, or is not in the state that the command needs.
    Failure,
    /// What was asked for is not valid; nothing was done.
    Usage,
    /// Something is missing that setup brings.
    NotSetUp,
    /// Administrator's rights are needed, and mvm may not ask for them here.
    NeedsAdmin,
    /// The machine is there, and does not run.
    NotRunning,
    /// The machine was not reached, or the connection to it broke.
    Connection,
    /// Ctrl-C.
    Interrupted,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotSetUp | Self::NeedsAdmin => 3,
            Self::NotRunning => 4,
            Self::Connection => 255,
            Self::Interrupted => 130,
        }
    }
}

/// An error on its way to the user. `source` says what happened and where, `hints` what to do next.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub source: anyhow::Error,
    pub hints: Vec<String>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn failure(message: impl fmt::Display) -> Self {
        Self::new(Kind::Failure, message)
    }

    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn not_set_up(message: impl fmt::Display) -> Self {
        Self::new(Kind::NotSetUp, message)
    }

    pub fn needs_admin(message: impl fmt::Display) -> Self {
        Self::new(Kind::NeedsAdmin, message)
    }

    pub fn not_running(message: impl fmt::Display) -> Self {
        Self::new(Kind::NotRunning, message)
    }

    pub fn connection(message: impl fmt::Display) -> Self {
        Self::new(Kind::Connection, message)
    }

    pub fn interrupted(message: impl fmt::Display) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, source: anyhow::anyhow!("{message}"), hints: Vec::new() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Error {
    fn from(source: E) -> Self {
        Self { kind: Kind::Failure, source: source.into(), hints: Vec::new() }
    }
}
