//! What is kept of downloads, for whoever wants the room.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err::File;

use crate::disk;

/// A scratch file of a name of its own tells nothing else of whether it is in use.
const SCRATCH: Duration = Duration::from_hours(24);

/// One file of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    pub path: PathBuf,
    /// What it takes of the disk.
    pub bytes: u64,
    /// Whether another mvm may be reading it, or going on with it.
    pub busy: bool,
}

/// What is kept in the cache `dir`, but for the digests seen first, which hold ever after.
pub fn kept(dir: &Path) -> io::Result<Vec<Downloaded>> {
    let entries = match fs_err::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let in_use = lock(dir)?.is_none();
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let age =
            entry.metadata()?.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        let is_scratch = name.starts_with('.') && age.is_none_or(|age| age < SCRATCH);
        if path.extension().is_none_or(|kind| kind != "pin") && !is_scratch {
            files.push(Downloaded { bytes: disk::blocks(&path), path, busy: in_use });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// Removes files of the cache `dir`; none where somebody downloads at this moment. The answer is what that freed, in bytes.
pub fn remove<'a>(dir: &Path, files: impl IntoIterator<Item = &'a Downloaded>) -> io::Result<u64> {
    let Some(_lock) = lock(dir)? else { return Ok(0) };
    let mut freed = 0;
    for file in files {
        match fs_err::remove_file(&file.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => freed += file.bytes,
        }
    }
    Ok(freed)
}

/// Holds off whoever wants to download; nothing where somebody does.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    // Whoever downloads has the folder itself locked, shared.
    let file = File::open(dir)?;
    Ok(file.file().try_lock().is_ok().then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Network, Proxies};
    use crate::download::Downloads;

    #[test]
    fn pins_stay_and_what_is_in_use_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["aa", "bb.partial", "cc.pin", "dd.text", ".tmpxyz"] {
            fs_err::write(dir.path().join(name), "x").unwrap();
        }
        let names = || {
            let kept = kept(dir.path()).unwrap();
            let name = |file: &Downloaded| file.path.file_name().unwrap().to_str().unwrap().to_owned();
            kept.iter().map(|file| (name(file), file.busy)).collect::<Vec<_>>()
        };
        let all = |busy| ["aa", "bb.partial", "dd.text"].map(|name| (name.to_owned(), busy)).to_vec();
        assert_eq!(names(), all(false));
        let (proxies, cache) = (Proxies::default(), dir.path().to_owned());
        let network = Network { offline: false, ca_file: None, retries: 0, proxies, cache };
        let downloads = Downloads::new(&network).unwrap();
        let busy = kept(dir.path()).unwrap();
        assert_eq!((names(), remove(dir.path(), &busy).unwrap()), (all(true), 0));
        drop(downloads);
        assert_eq!(names(), all(false));
        assert_eq!(remove(dir.path(), &busy).unwrap(), busy.iter().map(|file| file.bytes).sum::<u64>());
        assert_eq!(names(), []);
        assert!(dir.path().join("cc.pin").exists());
        assert_eq!(super::kept(&dir.path().join("none")).unwrap(), []);
    }
}
