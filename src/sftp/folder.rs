//! The shared folder, and nothing but it.
//!
//! A path is read as names below the folder: `..` is resolved among the names, and never leads out. The way to the last name
//! goes from folder to folder, each opened from the one before without following a link, and what is done to the last name
//! follows no link either. So no link is ever followed, inside or out, whoever changes the tree meanwhile; a machine's own kernel
//! follows them, in its own tree. Checked paths would not do: between a check and its use the tree may be another one.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::{Errno, Result};

/// A folder of this host, open.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Replaced when the folder was removed and made again.
    fd: RefCell<Rc<OwnedFd>>,
    read_only: bool,
}

/// What names are looked up in.
const WAY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// With these no file's opening waits, has an effect, or leaves the folder.
const LAST: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// The last folder on a way, and the name in it; no name for the shared folder itself.
pub(super) struct Place<'a> {
    folder: Way,
    name: Option<&'a [u8]>,
}

enum Way {
    Root(Rc<OwnedFd>),
    Below(OwnedFd),
}

impl AsFd for Way {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => fd.as_fd(),
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

impl Place<'_> {
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The name; the shared folder itself cannot be made, moved or removed.
    pub(super) fn name(&self) -> Result<&[u8]> {
        self.name.ok_or(Errno::PERM)
    }

    pub(super) fn stat(&self) -> Result<Stat> {
        match self.name {
            None => fstat(self.dir()),
            Some(name) => statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Opens a file with content, or makes one; pipes and devices are the machine's own affair.
    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let name = self.name().map_err(|_| Errno::ISDIR)?;
        match self.stat() {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(Errno::PERM);
            }
            Err(error) if error != Errno::NOENT => return Err(error),
            _ => {}
        }
        let fd = openat(self.dir(), name, LAST | flags, mode)?;
        // Another one by now, perhaps.
        match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::RegularFile => Ok(fd),
            _ => Err(Errno::PERM),
        }
    }

    /// Opens a folder to be listed.
    pub(super) fn list(&self) -> Result<OwnedFd> {
        openat(self.dir(), self.name.unwrap_or(b"."), WAY | OFlags::RDONLY, Mode::empty())
    }

    /// Sets the permissions, of anything but a link.
    #[cfg(target_os = "linux")]
    pub(super) fn set_mode(&self, mode: Mode) -> Result<()> {
        let name = self.name.unwrap_or(b".");
        let fd = openat(self.dir(), name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        // There was no call that follows no link before Linux 6.6; this one leads to the very file that is open.
        let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        rustix::fs::chmod(own, mode)
    }

    /// Sets the permissions, of anything but a link.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn set_mode(&self, mode: Mode) -> Result<()> {
        let name = self.name.unwrap_or(b".");
        rustix::fs::chmodat(self.dir(), name, mode, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn set_times(&self, times: &rustix::fs::Timestamps) -> Result<()> {
        rustix::fs::utimensat(self.dir(), self.name.unwrap_or(b"."), times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl Folder {
    pub fn open(path: &Path, read_only: bool) -> Result<Self> {
        Ok(Self { path: path.to_owned(), fd: RefCell::new(Rc::new(open_root(path)?)), read_only })
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The place that a path names, whether or not something is there.
    pub(super) fn place<'a>(&self, path: &'a [u8]) -> Result<Place<'a>> {
        // A folder that was removed stays open, and empty. It may have been made again.
        if fstat(&*self.fd.borrow()).is_ok_and(|stat| stat.st_nlink == 0)
            && let Ok(fd) = open_root(&self.path)
        {
            self.fd.replace(Rc::new(fd));
        }
        walk(&self.fd.borrow(), path)
    }
}

/// By the user's own path, whose links are theirs.
fn open_root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())
}

fn walk<'a>(root: &Rc<OwnedFd>, path: &'a [u8]) -> Result<Place<'a>> {
    let names = names(path);
    let (last, way) = match names.split_last() {
        Some((last, way)) => (Some(*last), way),
        None => (None, &[][..]),
    };
    let mut folder = Way::Root(Rc::clone(root));
    for name in way {
        #[cfg(target_os = "linux")]
        let flags = WAY | OFlags::PATH;
        #[cfg(not(target_os = "linux"))]
        let flags = WAY | OFlags::RDONLY;
        folder = Way::Below(openat(&folder, *name, flags, Mode::empty())?);
    }
    Ok(Place { folder, name: last })
}

/// The names that a path goes through, below the shared folder; none but names.
pub(super) fn names(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}
