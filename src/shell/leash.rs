//! A command that outlives mvm by a moment: its standard input ends when mvm does, however that comes.

use std::io::{BufRead, BufReader, Result, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use super::{Call, Payload};

pub struct Leash(Child);

impl Leash {
    /// Starts `call`, which reads its bytes first, in a process group of its own: what a terminal sends to mvm's does not reach it.
    pub fn start(call: &Call) -> Result<Self> {
        tracing::debug!(argv = ?super::Shortened(&call.argv), "run on a leash");
        let mut command = call.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        if let (Some(stdin), Some(Payload::Bytes(bytes))) = (&mut child.stdin, &call.stdin) {
            // No more than a pipe takes at once. What is at its end already reads nothing, and what comes next says why.
            stdin.write_all(bytes).ok();
        }
        Ok(Self(child))
    }

    /// Lets it do what it waits for.
    pub fn let_go(&mut self) {
        drop(self.0.stdin.take());
    }

    /// Lets it do what it waits for, and waits until that is done.
    pub fn end(mut self) -> Result<()> {
        self.end_until(None)?;
        self.0.wait().map(drop)
    }

    /// Lets it do what it waits for, and waits until it prints `line`; what it does then it does by itself.
    pub fn end_at(mut self, line: &str) -> Result<()> {
        self.end_until(Some(line))
    }

    fn end_until(&mut self, line: Option<&str>) -> Result<()> {
        self.let_go();
        for said in self.0.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
            if Some(said?.as_str()) == line {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_its_input_is_its_signal() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let line = format!("cat >{}.new; mv {0}.new {0}", done.display());
        let mut call = Call::new(["sh", "-c", &line]);
        call.stdin = Some(b"first".as_slice().into());
        let leash = Leash::start(&call).unwrap();
        assert!(!done.exists());
        leash.end().unwrap();
        assert_eq!(fs_err::read_to_string(&done).unwrap(), "first");
        // Longer than the test would be waited for.
        let leash = Leash::start(&Call::new(["sh", "-c", "cat; echo done; exec sleep 600"])).unwrap();
        let pid = leash.0.id().to_string();
        leash.end_at("done").unwrap();
        assert!(Call::new(["kill", &pid]).command().status().unwrap().success());
    }
}
