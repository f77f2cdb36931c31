//! Where Linux is: the one door through which everything on the Linux side is done.

mod native;

pub use native::Native;

use crate::shell::Call;

/// A Linux side. The scripts sent through it are the same for every kind.
pub trait Linux {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// Whether mvm is root there.
    fn is_root(&self) -> bool;

    /// Makes sure that `sudo` works without asking again; it may ask for a password where someone can answer.
    fn sudo(&self, can_ask: bool) -> std::io::Result<bool>;

    /// Turns a command for the Linux side into one for this host.
    fn wrap(&self, call: Call) -> Call;
}
