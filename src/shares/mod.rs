//! Shared folders of running machines. A process of mvm's own on the host, the keeper, serves all of one machine's: for each there
//! is a session in the machine, in which sshfs mounts what the keeper's SFTP server sends through the session's streams.
//!
//! Everything hangs on these streams. When the machine ends, for whatever reason, so does the session, and with the last of them the
//! keeper; when the keeper ends, sshfs's input does, and with it the mount. The keeper makes anew what broke while the
//! machine runs; a keeper that was killed is missed by the next mvm that looks, since it has left its file behind.

mod keeper;
mod session;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use keeper::{Machine, Runs, keep};

use crate::disk;
use crate::lock::Lock;
use crate::microvm::{MachineName, MountSpec};
use crate::shell::{self, Call};

/// What a keeper says on standard output once it can be asked.
pub const READY: &str = "ready";
/// Longer than a keeper takes to answer: it waits for mounts that are under way.
const PATIENCE: Duration = Duration::from_secs(90);

/// How a shared folder fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Mounting,
    Mounted,
    Broken,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub mount: MountSpec,
    pub state: State,
    /// What is the matter, where it is broken.
    pub why: Option<String>,
}

/// What a keeper is asked for; it answers with how its folders fare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    Status,
    /// These are to be shared, and no others; answered when each is mounted or broken.
    Share(Vec<MountSpec>),
    /// The machine is about to end: what ends with it is not made anew.
    LetGo,
}

/// Where a machine's keeper is found: files on this host, whose folder is this user's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
    name: MachineName,
}

impl Place {
    /// `side` tells Linux sides apart, which may all have a machine of that name.
    pub fn new(state: &Path, side: &str, name: &MachineName) -> Self {
        Self { folder: state.join("shares").join(side), name: name.clone() }
    }

    /// Those that there are files of on this host.
    pub fn all(state: &Path, side: &str) -> Vec<Self> {
        let files = fs_err::read_dir(state.join("shares").join(side)).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.path().file_stem()?.to_str()?.parse().ok());
        let names: BTreeSet<MachineName> = names.collect();
        names.iter().map(|name| Self::new(state, side, name)).collect()
    }

    pub fn name(&self) -> &MachineName {
        &self.name
    }

    /// Whether a keeper lives.
    pub fn is_kept(&self) -> bool {
        self.lock().exists() && !self.is_lost()
    }

    /// What its files take of the disk.
    pub fn bytes(&self) -> u64 {
        [self.log(), self.socket(), self.lock()].iter().map(|file| disk::blocks(file)).sum()
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.name))
    }

    /// Held as long as the keeper lives; it takes the file away when it ends in order.
    fn lock(&self) -> PathBuf {
        self.file("lock")
    }

    fn socket(&self) -> PathBuf {
        self.file("sock")
    }

    pub fn log(&self) -> PathBuf {
        self.file("log")
    }

    /// Whether there was a keeper that ended out of order.
    pub fn is_lost(&self) -> bool {
        self.lock().exists() && matches!(Lock::try_file(&self.lock()), Ok(Some(_)))
    }

    /// Asks the keeper; nothing where there is none.
    pub fn ask(&self, request: &Request) -> Result<Option<Vec<Status>>> {
        let mut stream = match UnixStream::connect(self.socket()) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        writeln!(stream, "{}", serde_json::to_string(request)?)?;
        BufReader::new(stream).read_line(&mut line)?;
        // It ended at this very moment.
        if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&line)?)) }
    }

    /// Starts a keeper by the words of `call`, and waits until it can be asked; false where it has nothing to do, or fails and
    /// its log says why.
    pub fn start(&self, call: &Call) -> Result<bool> {
        make_private(&self.folder)?;
        let log = fs_err::File::create(self.log())?.into_parts().0;
        Ok(shell::start_detached(call, log)? == READY)
    }

    fn forget_lock(&self) {
        fs_err::remove_file(self.lock()).unwrap_or_default();
    }

    /// All that is left of a machine that is gone. The lock goes last: without it the next keeper may come, and have a socket.
    pub fn forget(&self) {
        for file in [self.log(), self.socket(), self.lock()] {
            fs_err::remove_file(file).unwrap_or_default();
        }
    }
}

fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
