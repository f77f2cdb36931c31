use std::ffi::OsStr;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

use tar::Archive;
use tempfile::TempDir;

use super::{Counted, Passed};

/// A place on the host that something is on its way to. Until [`Arrival::settle`] nothing of it is seen there.
pub struct Arrival {
    target: PathBuf,
    /// Beside the target, so that a rename is enough.
    hidden: TempDir,
}

impl Arrival {
    /// `target` is a folder that the thing goes into, or the name it gets.
    pub fn at(target: &Path) -> Result<Self> {
        let trailing = target.as_os_str().as_encoded_bytes().ends_with(b"/");
        if trailing && !target.is_dir() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no folder `{}`", target.display()),
            ));
        }
        // What a link points to is replaced, not the link.
        let target = if target.is_symlink() { fs_err::canonicalize(target)? } else { target.to_owned() };
        let parent = match target.parent() {
            _ if target.is_dir() => &target,
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => &target,
        };
        let hidden = tempfile::Builder::new().prefix(".mvm-cp.").tempdir_in(parent).map_err(|error| {
            Error::new(error.kind(), format!("cannot write in `{}`: {error}", parent.display()))
        })?;
        Ok(Self { target, hidden })
    }

    pub fn path(&self) -> &Path {
        self.hidden.path()
    }

    /// Moves what came to where it belongs; with `content_only`, what is in the folder that came.
    pub fn settle(self, content_only: bool) -> Result<()> {
        let mut entries = fs_err::read_dir(self.path())?;
        let came = entries.next().ok_or_else(|| Error::other("nothing came"))??.path();
        let name = came.file_name().unwrap_or(OsStr::new("."));
        let into_folder = self.target.is_dir() && !content_only;
        let place = if into_folder { self.target.join(name) } else { self.target.clone() };
        merge(&came, &place)
    }
}

/// Puts `from` in the place `to`: folders that are there are filled up, files are replaced at once.
fn merge(from: &Path, to: &Path) -> Result<()> {
    let is_folder = |path: &Path| path.is_dir() && !path.is_symlink();
    match (is_folder(from), to.is_dir()) {
        (true, true) => {
            for entry in fs_err::read_dir(from)? {
                let entry = entry?;
                merge(&entry.path(), &to.join(entry.file_name()))?;
            }
            Ok(())
        }
        (true, false) if to.exists() => {
            Err(Error::new(ErrorKind::NotADirectory, format!("`{}` is there, and no folder", to.display())))
        }
        (false, true) => Err(Error::new(ErrorKind::IsADirectory, format!("`{}` is a folder", to.display()))),
        _ => fs_err::rename(from, to),
    }
}

/// Lays out what a guest sends below `folder`. A guest is not trusted: nothing is written outside.
pub fn unpack(from: impl Read, folder: &Path, passed: Passed<'_>) -> Result<()> {
    let mut archive = Archive::new(Counted(from, passed));
    // No setuid bits: on the host they would be those of whoever copies.
    archive.set_preserve_permissions(false);
    archive.set_preserve_mtime(true);
    archive.unpack(folder)?;
    // What follows the end of the archive is filling; unread, its sender would fail.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(target: &Path, content_only: bool) -> Result<()> {
        let arrival = Arrival::at(target)?;
        fs_err::create_dir(arrival.path().join("tree"))?;
        fs_err::write(arrival.path().join("tree/file"), "new")?;
        arrival.settle(content_only)
    }

    #[test]
    fn a_tree_goes_where_cp_would_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        arrive(&at("fresh"), false).unwrap();
        assert!(at("fresh/file").exists());
        arrive(&at("fresh"), false).unwrap();
        assert!(at("fresh/tree/file").exists());
        fs_err::write(at("fresh/tree/other"), "old").unwrap();
        fs_err::write(at("fresh/tree/file"), "old").unwrap();
        arrive(&at("fresh"), false).unwrap();
        assert_eq!(fs_err::read_to_string(at("fresh/tree/file")).unwrap(), "new");
        assert!(at("fresh/tree/other").exists(), "what is not copied stays");
        arrive(&at("content"), true).unwrap();
        arrive(&at("content"), true).unwrap();
        assert!(at("content/file").exists() && !at("content/tree").exists());
        fs_err::write(at("taken"), "mine").unwrap();
        assert_eq!(arrive(&at("taken"), false).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(arrive(&at("no/where"), false).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(arrive(&at("none/"), false).unwrap_err().kind(), ErrorKind::NotFound);
        let names: Vec<_> =
            fs_err::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "nothing hidden is left: {names:?}");
    }

    #[test]
    fn a_guest_cannot_write_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs_err::create_dir(&inside).unwrap();
        fs_err::create_dir(&outside).unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "link", &outside).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        archive.append_data(&mut header, "link/file", &b"bad"[..]).unwrap();
        let bytes = archive.into_inner().unwrap();
        assert!(unpack(&bytes[..], &inside, &|_| {}).is_err());
        assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0);
    }
}
