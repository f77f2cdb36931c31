//! Where Linux is: the one door through which everything on the Linux side is done.

mod lima;
mod native;

pub use lima::{Lima, Transport};
pub use native::Native;

use std::net::SocketAddr;

use crate::shell::{Call, Patience};

/// Where a Linux side opens the ports that machines publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// It is this host: at their addresses.
    Address,
    /// It is another one: as sockets in the machine's folder, to which its connection to this host leads.
    Socket,
}

/// A Linux side. The scripts sent through it are the same for every kind.
pub trait Linux: Sync {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// Whether mvm is root there.
    fn is_root(&self) -> bool;

    /// Whether it is mvm's alone, so that nobody is asked before it is changed.
    fn is_ours(&self) -> bool;

    /// Where it opens ports that are published.
    fn door(&self) -> Door;

    /// What opens a port of this host that leads to `socket` there, in the background, for as long as `lock` is locked there;
    /// nothing where the Linux side opens it itself.
    fn carry(&self, _listen: SocketAddr, _socket: &str, _lock: &str) -> Option<Call> {
        None
    }

    /// What has standard streams that lead to `socket` there, by the program `forward` there; nothing where the Linux side opens ports
    /// itself.
    fn lead(&self, _forward: &str, _socket: &str) -> Option<Call> {
        None
    }

    /// Makes sure that `sudo` works without asking again; it may ask for a password where someone can answer.
    fn sudo(&self, can_ask: bool) -> std::io::Result<bool>;

    /// Turns a command for the Linux side into one for this host.
    fn wrap(&self, call: Call) -> Call;

    /// As [`Linux::wrap`], for a command that has to outlive [`Linux::reconnect`].
    fn wrap_apart(&self, call: Call) -> Call {
        self.wrap(call)
    }

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
