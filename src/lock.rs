//! Locks between several mvm on this host.

use std::fs::File;
use std::path::Path;

/// One mvm at a time. The file stays; the lock goes with this value.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock `name` in the folder `state`; `waiting` is called when someone else has it.
    pub fn take(state: &Path, name: &str, waiting: impl FnOnce()) -> std::io::Result<Self> {
        fs_err::create_dir_all(state)?;
        let file = fs_err::File::create(state.join(name))?.into_parts().0;
        if file.try_lock().is_err() {
            waiting();
            file.lock()?;
        }
        Ok(Self(file))
    }

    /// Takes the lock that the file `path` is, unless someone has it. Whoever has it may remove the file.
    pub fn try_file(path: &Path) -> std::io::Result<Option<Self>> {
        loop {
            let file = fs_err::File::create(path)?.into_parts().0;
            if file.try_lock().is_err() {
                return Ok(None);
            }
            let lock = Self(file);
            // Removed meanwhile: then this is a lock on nothing.
            if lock.is_at(path) {
                return Ok(Some(lock));
            }
        }
    }

    /// Whether the file `path` is still the one that is locked: removed, it holds nobody off.
    pub fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
        let there = std::fs::metadata(path).map(identity);
        there.is_ok() && there.ok() == self.0.metadata().map(identity).ok()
    }
}
