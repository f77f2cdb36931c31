//! The files of an archive, or of a folder, by their names; their bytes stay where they are.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::{ARCHIVE_ENTRIES, read_at};
use crate::image::merge::Blob;

pub(super) enum Archive {
    Folder(PathBuf),
    File(BTreeMap<PathBuf, Entry>),
}

pub(super) enum Entry {
    File(Blob),
    /// To another file of the archive: `docker save` writes a layer that it has twice so.
    Link(PathBuf),
}

/// What an image's archive has at its top.
const MARKS: [&str; 3] = ["manifest.json", "oci-layout", "image.json"];

impl Archive {
    pub(super) fn of_folder(path: &Path) -> Self {
        Self::Folder(path.to_owned())
    }

    /// `None` when the file is no tar, or one of something else.
    pub(super) fn of_file(path: &Path) -> io::Result<Option<Self>> {
        let mut tar = tar::Archive::new(fs_err::File::open(path)?);
        let mut entries = BTreeMap::new();
        for entry in tar.entries_with_seek()? {
            // Whatever is wrong shows when it is read as a tree.
            let Ok(entry) = entry else { return Ok(None) };
            if entries.len() > ARCHIVE_ENTRIES {
                return Ok(None);
            }
            let Some(name) = entry.path().ok().and_then(|name| plain(&name)) else { continue };
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let blob =
                    Blob { path: path.to_owned(), offset: entry.raw_file_position(), bytes: entry.size() };
                entries.insert(name, Entry::File(blob));
            } else if (kind.is_symlink() || kind.is_hard_link())
                && let Ok(Some(to)) = entry.link_name()
            {
                let to = if kind.is_symlink() {
                    name.parent().unwrap_or(Path::new("")).join(to)
                } else {
                    to.into_owned()
                };
                if let Some(to) = plain(&to) {
                    entries.insert(name, Entry::Link(to));
                }
            }
        }
        let is_one = MARKS.iter().any(|mark| entries.contains_key(Path::new(mark)));
        Ok(is_one.then_some(Self::File(entries)))
    }

    /// Whether a stream, unpacked, is an image's archive.
    pub(super) fn begins_one(stream: impl Read) -> bool {
        let mut tar = tar::Archive::new(stream);
        let Ok(entries) = tar.entries() else { return false };
        let mut names = entries.take(ARCHIVE_ENTRIES).map_while(Result::ok);
        names.any(|entry| {
            entry
                .path()
                .ok()
                .and_then(|name| plain(&name))
                .is_some_and(|name| MARKS.iter().any(|mark| name == Path::new(mark)))
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.blob(name).is_ok()
    }

    /// Where a file is.
    pub(super) fn blob(&self, name: &str) -> Result<Blob, String> {
        let absent = || format!("it lacks its file {name}");
        let mut at = plain(Path::new(name)).ok_or_else(absent)?;
        match self {
            Self::Folder(folder) => {
                let path = folder.join(at);
                // What the name leads to is the folder's own.
                let inside = fs_err::canonicalize(&path).map_err(|_| absent())?;
                let folder = fs_err::canonicalize(folder).map_err(|_| absent())?;
                if !inside.starts_with(folder) {
                    return Err(format!("its file {name} is a link to somewhere else"));
                }
                Blob::file(path).map_err(|error| error.to_string())
            }
            Self::File(entries) => {
                for _ in 0..8 {
                    match entries.get(&at) {
                        Some(Entry::File(blob)) => return Ok(blob.clone()),
                        Some(Entry::Link(to)) => at.clone_from(to),
                        None => return Err(absent()),
                    }
                }
                Err(absent())
            }
        }
    }

    pub(super) fn text(&self, name: &str, largest: u64) -> Result<Vec<u8>, String> {
        read_at(&self.blob(name)?, largest)
            .map_err(|error| format!("its file {name} cannot be read: {error}"))
    }
}

/// The path without `.` and `..`; nothing when it leads out.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            _ => return None,
        }
    }
    Some(plain)
}
