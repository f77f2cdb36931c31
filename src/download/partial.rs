//! A file under way: what is there of it, its digest so far, and whose turn it is.

use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};

use super::{Fetched, OnEvent};
use crate::digest::{Hasher, Sha256};
use crate::shell::Event;

/// A file under way, which is this process's alone while it is open.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    pub(super) bytes: u64,
    /// Of the version that it is the beginning of.
    pub(super) validator: Option<String>,
}

impl Partial {
    pub(super) fn claim(path: PathBuf, what: &str, on_event: OnEvent<'_>) -> io::Result<Self> {
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            if file.file().try_lock().is_err() {
                on_event(Event::Detail(&format!("waiting for another mvm that downloads {what}")));
                file.file().lock()?;
            }
            // Whoever had it may have moved it to its place.
            let is_there = fs_err::metadata(&path).is_ok_and(|there| {
                file.metadata().is_ok_and(|mine| (mine.dev(), mine.ino()) == (there.dev(), there.ino()))
            });
            if !is_there {
                continue;
            }
            let validator = fs_err::read_to_string(validator_path(&path)).ok();
            let mut partial = Self { path, file, hasher: Hasher::default(), bytes: 0, validator };
            partial.bytes = partial.hasher.feed(&mut partial.file)?;
            return Ok(partial);
        }
    }

    pub(super) fn digest(&self) -> Sha256 {
        self.hasher.clone().finish()
    }

    /// From the first byte, of the version with that validator.
    pub(super) fn begin(&mut self, validator: Option<String>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Hasher::default();
        self.bytes = 0;
        match &validator {
            Some(text) => fs_err::write(validator_path(&self.path), text)?,
            None => remove_if_there(&validator_path(&self.path))?,
        }
        self.validator = validator;
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whole and right: it gets its name.
    pub(super) fn keep(self, dir: &Path, sha256: Sha256) -> io::Result<Fetched> {
        let path = dir.join(sha256.to_string());
        self.file.sync_all()?;
        remove_if_there(&validator_path(&self.path))?;
        fs_err::rename(&self.path, &path)?;
        Ok(Fetched { path, sha256, bytes: self.bytes })
    }

    pub(super) fn remove(self) -> io::Result<()> {
        remove_if_there(&validator_path(&self.path))?;
        remove_if_there(&self.path)
    }
}

fn validator_path(partial: &Path) -> PathBuf {
    partial.with_extension("validator")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
