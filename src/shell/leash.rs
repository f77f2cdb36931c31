//! A command that outlives mvm by a moment: its standard input ends when mvm does, however that comes.

use std::io::Result;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use super::Call;

pub struct Leash(Child);

impl Leash {
    /// Starts `call`, in a process group of its own: what a terminal sends to mvm's does not reach it.
    pub fn start(call: &Call) -> Result<Self> {
        tracing::debug!(argv = ?super::Shortened(&call.argv), "run on a leash");
        let mut command = call.command();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(Self(command.spawn()?))
    }

    /// Lets it do what it waits for, and waits until that is done.
    pub fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        self.0.wait().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_its_input_is_its_signal() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let line = format!("cat; : >{}", done.display());
        let leash = Leash::start(&Call::new(["sh", "-c", &line])).unwrap();
        assert!(!done.exists());
        leash.end().unwrap();
        assert!(done.exists());
    }
}
