//! Where Linux is: the one door through which everything on the Linux side is done.

mod lima;
mod native;

pub use lima::{Lima, Transport};
pub use native::Native;

use crate::shell::{Call, Patience};

/// A Linux side. The scripts sent through it are the same for every kind.
pub trait Linux {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// Whether mvm is root there.
    fn is_root(&self) -> bool;

    /// Whether it is mvm's alone, so that nobody is asked before it is changed.
    fn is_ours(&self) -> bool;

    /// Makes sure that `sudo` works without asking again; it may ask for a password where someone can answer.
    fn sudo(&self, can_ask: bool) -> std::io::Result<bool>;

    /// Turns a command for the Linux side into one for this host.
    fn wrap(&self, call: Call) -> Call;

    /// How long it may take until a script says its first word, and what tells that it is still there later.
    fn patience(&self) -> Patience {
        Patience::default()
    }

    /// Whether a command that ended with `code`, and said nothing, may never have got there.
    fn is_cut_off(&self, _code: i32) -> bool {
        false
    }

    /// Drops a connection that may be wedged; false where there is none.
    fn reconnect(&self) -> bool {
        false
    }
}
