//! Named places between two steps, where a test may have mvm or a script wait while it does harm (tests/it/matrix):
//! `MVM_CHECKPOINT=NAME=FILE`. Who comes to the place NAME writes its PID into FILE, and goes on when FILE.passed is there.
//! Where the variable is not set, nothing happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config;
use crate::error::{Error, Result};

/// Places in resources/scripts, reached by the prelude's `checkpoint`.
pub const IN_SCRIPTS: &[&str] = &[
    "clone.copied",
    "clone.made",
    "clone.placed",
    "create.begun",
    "create.made",
    "create.placed",
    "debian.built",
    "derive.written",
    "firecracker.placed",
    "firecracker.unpacked",
    "fork.frozen",
    "fork.made",
    "fork.placed",
    "freeze.begun",
    "freeze.goes-on",
    "freeze.kept",
    "freeze.paused",
    "freeze.written",
    "gc.removed",
    "golden.frozen",
    "golden.synced",
    "grow.grown",
    "grow.truncated",
    "image-remove.renamed",
    "image.placed",
    "image.synced",
    "net.asked",
    "net.ruled",
    "pack.written",
    "ports.asked",
    "ports.written",
    "receive.written",
    "remove.ended",
    "remove.removed",
    "remove.renamed",
    "rename.known",
    "rename.moved",
    "rename.written",
    "reset.ended",
    "reset.made",
    "reset.placed",
    "restore.copied",
    "restore.decided",
    "restore.disk",
    "restore.ended",
    "restore.memory",
    "seal.described",
    "seal.linked",
    "set.written",
    "snapshot-remove.renamed",
    "snapshot.begun",
    "snapshot.copied",
    "snapshot.placed",
    "snapshot.synced",
    "spec.written",
    "start.grows",
    "start.loaded",
    "start.locked",
    "start.prepared",
    "start.ready",
    "start.resumed",
    "start.supervised",
    "start.thawing",
    "start.written",
    "stop.asked",
    "stop.ended",
    "stop.locked",
    "suspend.ended",
    "suspend.placed",
    "suspend.synced",
];

/// Scripts that change something. mvm itself comes to the place `sends SCRIPT` before it sends one of them.
pub const SENT: &[&str] = &[
    "bootstrap/admin",
    "gc/remove",
    "golden/make",
    "image/debian",
    "image/derive",
    "image/pack",
    "image/receive",
    "image/remove",
    "image/seal",
    "image/ubuntu",
    "lima/provision",
    "microvm/create",
    "microvm/destroy",
    "microvm/fork",
    "microvm/grow",
    "microvm/net",
    "microvm/ports",
    "microvm/rename",
    "microvm/reset",
    "microvm/set",
    "microvm/start",
    "microvm/stop",
    "microvm/suspend",
    "snapshot/clone",
    "snapshot/create",
    "snapshot/remove",
    "snapshot/restore",
    "vmm/firecracker",
];

const SENDS: &str = "sends ";

/// A place, and the file that tells that it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub name: String,
    pub file: PathBuf,
}

impl Checkpoint {
    /// From `NAME=FILE`.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((name, file)) = text.split_once('=') else {
            return Err(Error::usage(format!("MVM_CHECKPOINT is NAME=FILE, and not `{text}`")));
        };
        let known =
            name.strip_prefix(SENDS).map_or(IN_SCRIPTS.contains(&name), |script| SENT.contains(&script));
        if !known {
            return Err(Error::usage(format!("MVM_CHECKPOINT names no place: `{name}`"))
                .hint("src/checkpoint.rs lists those there are"));
        }
        Ok(Self { name: name.to_owned(), file: file.into() })
    }
}

/// Before `script` is sent.
pub fn before(script: &str) -> Result<()> {
    let Some(text) = config::checkpoint() else { return Ok(()) };
    let Checkpoint { name, file } = Checkpoint::parse(&text)?;
    if name.strip_prefix(SENDS) == Some(script) {
        wait(&file)?;
    }
    Ok(())
}

fn wait(file: &Path) -> std::io::Result<()> {
    let (passed, new) = (beside(file, "passed"), beside(file, "new"));
    if !passed.exists() {
        fs_err::write(&new, std::process::id().to_string())?;
        fs_err::rename(&new, file)?;
    }
    while !passed.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn beside(file: &Path, what: &str) -> PathBuf {
    let mut name = file.to_path_buf().into_os_string();
    name.push(".");
    name.push(what);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_there_is_not_is_refused() {
        for text in ["create.made=/f", "sends microvm/stop=/f"] {
            assert_eq!(Checkpoint::parse(text).unwrap().file, Path::new("/f"));
        }
        for text in ["create.made", "nowhere=/f", "sends look=/f", "sends =/f"] {
            assert!(Checkpoint::parse(text).is_err(), "{text}");
        }
    }
}
