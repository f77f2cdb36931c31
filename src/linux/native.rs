//! This host is the Linux side.

use super::{Door, Linux};
use crate::shell::{self, Call};

pub struct Native {
    root: bool,
}

impl Native {
    pub fn new() -> Self {
        Self { root: rustix::process::geteuid().is_root() }
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Linux for Native {
    fn describe(&self) -> String {
        "this host".to_owned()
    }

    fn is_root(&self) -> bool {
        self.root
    }

    fn is_ours(&self) -> bool {
        false
    }

    fn door(&self) -> Door {
        Door::Address
    }

    fn sudo(&self, can_ask: bool) -> std::io::Result<bool> {
        let words: &[&str] = if can_ask { &["sudo", "-v"] } else { &["sudo", "-n", "true"] };
        match shell::run_attached(&Call::new(words.iter().copied())) {
            Ok(status) => Ok(status.success()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wrap(&self, call: Call) -> Call {
        call
    }
}
