//! Requests and their answers.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RawMode, Timespec, Timestamps, fstat, fstatvfs, fsync, ftruncate, linkat,
    mkdirat, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::{Errno, Result, pread, pwrite, write};

use super::folder::{Folder, names};
use super::request::{EXTENSIONS, kind, open, status};
use super::wire::{self, Attributes, Input};

/// The bytes that a reading is answered with at most; a shorter answer than was asked for is the protocol's own way.
const LONGEST_READ: u32 = 128 << 10;
/// The bytes of names in one answer: sshfs takes 128 KiB.
const LONGEST_LIST: usize = 64 << 10;
/// Open at once, by one machine.
const HANDLES: usize = 4096;

/// Of the protocol.
const VERSION: u32 = 3;

pub(super) struct Server<'a> {
    folder: &'a Folder,
    handles: HashMap<u32, Handle>,
    next: u32,
}

enum Handle {
    File {
        fd: OwnedFd,
        append: bool,
    },
    /// With an entry that found no place in the answer before.
    Dir(Dir, Option<Vec<u8>>),
}

/// The content of an answer, but for its id.
enum Answer {
    Done,
    Ended,
    Is(u8, Vec<u8>),
}

/// What ends a connection, rather than a request.
type Broken<T> = std::io::Result<T>;

impl<'a> Server<'a> {
    pub(super) fn new(folder: &'a Folder) -> Self {
        Self { folder, handles: HashMap::new(), next: 0 }
    }

    /// Appends the answer of one packet to `out`.
    pub(super) fn answer(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Broken<()> {
        let mut input = Input(packet);
        let kind = input.byte()?;
        let id = input.number()?;
        let mut body = Vec::new();
        if kind == kind::INIT {
            body.push(kind::VERSION);
            wire::number(&mut body, VERSION);
            for (name, version) in EXTENSIONS {
                wire::string(&mut body, name.as_bytes());
                wire::string(&mut body, version.as_bytes());
            }
        } else {
            let (kind, content) = match self.request(kind, input)? {
                Ok(Answer::Done) => (kind::STATUS, said(status::OK, "")),
                Ok(Answer::Ended) => (kind::STATUS, said(status::EOF, "")),
                Ok(Answer::Is(kind, content)) => (kind, content),
                Err(error) => (kind::STATUS, said(status::of(error), &error.to_string())),
            };
            body.push(kind);
            wire::number(&mut body, id);
            body.extend(content);
        }
        wire::string(out, &body);
        Ok(())
    }

    /// Reads the request whole before anything is done.
    fn request(&mut self, kind: u8, mut input: Input<'_>) -> Broken<Result<Answer>> {
        Ok(match kind {
            kind::OPEN => {
                let (path, flags, attributes) = (input.string()?, input.number()?, input.attributes()?);
                self.open(path, flags, attributes)
            }
            kind::CLOSE => self.close(input.string()?),
            kind::READ => {
                let (handle, offset, length) = (input.string()?, input.long()?, input.number()?);
                self.read(handle, offset, length)
            }
            kind::WRITE => {
                let (handle, offset, bytes) = (input.string()?, input.long()?, input.string()?);
                self.write(handle, offset, bytes)
            }
            kind::LSTAT | kind::STAT => self.stat(input.string()?),
            kind::FSTAT => self.handle(input.string()?).and_then(stat_of),
            kind::SETSTAT => {
                let (path, attributes) = (input.string()?, input.attributes()?);
                self.set(path, attributes)
            }
            kind::FSETSTAT => {
                let (handle, attributes) = (input.string()?, input.attributes()?);
                self.set_open(handle, attributes)
            }
            kind::OPENDIR => self.open_dir(input.string()?),
            kind::READDIR => self.read_dir(input.string()?),
            kind::REMOVE => self.remove(input.string()?, AtFlags::empty()),
            kind::RMDIR => self.remove(input.string()?, AtFlags::REMOVEDIR),
            kind::MKDIR => {
                let (path, attributes) = (input.string()?, input.attributes()?);
                self.make_dir(path, attributes)
            }
            kind::REALPATH => Ok(real_path(input.string()?)),
            kind::RENAME => {
                let (from, to) = (input.string()?, input.string()?);
                self.rename(from, to, true)
            }
            kind::READLINK => self.read_link(input.string()?),
            kind::SYMLINK => {
                // OpenSSH's order, which all others follow, and not the draft's.
                let (target, link) = (input.string()?, input.string()?);
                self.make_link(target, link)
            }
            kind::EXTENDED => self.extended(input.string()?, input)?,
            _ => Err(Errno::OPNOTSUPP),
        })
    }

    fn extended(&mut self, name: &[u8], mut input: Input<'_>) -> Broken<Result<Answer>> {
        Ok(match name {
            b"posix-rename@openssh.com" => {
                let (from, to) = (input.string()?, input.string()?);
                self.rename(from, to, false)
            }
            b"hardlink@openssh.com" => {
                let (from, to) = (input.string()?, input.string()?);
                self.hard_link(from, to)
            }
            b"statvfs@openssh.com" => self.space(input.string()?),
            b"fsync@openssh.com" => self.sync(input.string()?),
            _ => Err(Errno::OPNOTSUPP),
        })
    }

    /// Refuses what changes something, where nothing may be changed.
    fn may_write(&self) -> Result<()> {
        if self.folder.is_read_only() { Err(Errno::ROFS) } else { Ok(()) }
    }

    fn insert(&mut self, handle: Handle) -> Result<Answer> {
        if self.handles.len() >= HANDLES {
            return Err(Errno::MFILE);
        }
        while self.handles.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let mut content = Vec::new();
        wire::string(&mut content, &self.next.to_be_bytes());
        self.handles.insert(self.next, handle);
        self.next = self.next.wrapping_add(1);
        Ok(Answer::Is(kind::HANDLE, content))
    }

    fn handle(&mut self, name: &[u8]) -> Result<&mut Handle> {
        let number = name.try_into().map(u32::from_be_bytes).map_err(|_| Errno::BADF)?;
        self.handles.get_mut(&number).ok_or(Errno::BADF)
    }

    fn file(&mut self, name: &[u8]) -> Result<(&OwnedFd, bool)> {
        match self.handle(name)? {
            Handle::File { fd, append } => Ok((fd, *append)),
            Handle::Dir(..) => Err(Errno::ISDIR),
        }
    }

    fn open(&mut self, path: &[u8], asked: u32, attributes: Attributes) -> Result<Answer> {
        if asked & !open::READ != 0 {
            self.may_write()?;
        }
        let append = asked & open::APPEND != 0;
        let mut flags = match (asked & open::READ != 0, asked & (open::WRITE | open::APPEND) != 0) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        for (bit, flag) in [
            (open::APPEND, OFlags::APPEND),
            (open::CREATE, OFlags::CREATE),
            (open::TRUNCATE, OFlags::TRUNC),
            (open::EXCLUSIVE, OFlags::EXCL),
        ] {
            flags.set(flag, asked & bit != 0);
        }
        let fd = self.folder.place(path)?.open(flags, mode(attributes.mode.unwrap_or(0o666)))?;
        self.insert(Handle::File { fd, append })
    }

    fn close(&mut self, handle: &[u8]) -> Result<Answer> {
        self.handle(handle)?;
        let number = handle.try_into().map(u32::from_be_bytes).map_err(|_| Errno::BADF)?;
        self.handles.remove(&number);
        Ok(Answer::Done)
    }

    fn read(&mut self, handle: &[u8], offset: u64, length: u32) -> Result<Answer> {
        let (fd, _) = self.file(handle)?;
        let mut content = vec![0; 4 + length.min(LONGEST_READ) as usize];
        let mut filled = 4;
        while filled < content.len() {
            match pread(fd, &mut content[filled..], offset + (filled - 4) as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 4 && length > 0 {
            return Ok(Answer::Ended);
        }
        content.truncate(filled);
        let count = u32::try_from(filled - 4).unwrap_or(u32::MAX);
        content[..4].copy_from_slice(&count.to_be_bytes());
        Ok(Answer::Is(kind::DATA, content))
    }

    fn write(&mut self, handle: &[u8], offset: u64, mut bytes: &[u8]) -> Result<Answer> {
        self.may_write()?;
        let (fd, append) = self.file(handle)?;
        let mut offset = offset;
        while !bytes.is_empty() {
            // What is appended comes after what the host has appended meanwhile, wherever the machine thinks the end is.
            match if append { write(fd, bytes) } else { pwrite(fd, bytes, offset) } {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    bytes = &bytes[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Answer::Done)
    }

    fn set(&mut self, path: &[u8], attributes: Attributes) -> Result<Answer> {
        self.may_write()?;
        let place = self.folder.place(path)?;
        if let Some(size) = attributes.size {
            ftruncate(place.open(OFlags::WRONLY, Mode::empty())?, size)?;
        }
        if let Some(bits) = attributes.mode {
            place.set_mode(mode(bits))?;
        }
        if let Some(times) = attributes.times {
            place.set_times(&timestamps(times))?;
        }
        // An owner is taken without effect; but of nothing that is not there.
        place.stat().map(|_| Answer::Done)
    }

    fn set_open(&mut self, handle: &[u8], attributes: Attributes) -> Result<Answer> {
        self.may_write()?;
        let (fd, _) = self.file(handle)?;
        if let Some(size) = attributes.size {
            ftruncate(fd, size)?;
        }
        if let Some(bits) = attributes.mode {
            rustix::fs::fchmod(fd, mode(bits))?;
        }
        if let Some(times) = attributes.times {
            rustix::fs::futimens(fd, &timestamps(times))?;
        }
        Ok(Answer::Done)
    }

    fn stat(&self, path: &[u8]) -> Result<Answer> {
        self.folder.place(path)?.stat().map(|stat| attributes(&stat))
    }

    fn open_dir(&mut self, path: &[u8]) -> Result<Answer> {
        let fd = self.folder.place(path)?.list()?;
        self.insert(Handle::Dir(Dir::new(fd)?, None))
    }

    fn read_dir(&mut self, handle: &[u8]) -> Result<Answer> {
        let Handle::Dir(dir, left) = self.handle(handle)? else { return Err(Errno::NOTDIR) };
        let (mut count, mut content) = (0, vec![0; 4]);
        if let Some(entry) = left.take() {
            content.extend(entry);
            count += 1;
        }
        while let Some(entry) = dir.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // Removed since it was listed, or not for us to see: then it is not there.
            let Ok(stat) = statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let mut entry = Vec::new();
            wire::string(&mut entry, name);
            // The line that `ls -l` would print: for people, and read by nobody.
            wire::string(&mut entry, name);
            wire::attributes(&mut entry, &stat);
            if content.len() + entry.len() > LONGEST_LIST {
                *left = Some(entry);
                break;
            }
            content.extend(entry);
            count += 1;
        }
        if count == 0 {
            return Ok(Answer::Ended);
        }
        content[..4].copy_from_slice(&u32::to_be_bytes(count));
        Ok(Answer::Is(kind::NAME, content))
    }

    fn remove(&mut self, path: &[u8], flags: AtFlags) -> Result<Answer> {
        self.may_write()?;
        let place = self.folder.place(path)?;
        unlinkat(place.dir(), place.name()?, flags).map(|()| Answer::Done)
    }

    fn make_dir(&mut self, path: &[u8], attributes: Attributes) -> Result<Answer> {
        self.may_write()?;
        let place = self.folder.place(path)?;
        let name = place.name().map_err(|_| Errno::EXIST)?;
        mkdirat(place.dir(), name, mode(attributes.mode.unwrap_or(0o777))).map(|()| Answer::Done)
    }

    /// With `fresh`, nothing may be under the new name.
    fn rename(&mut self, from: &[u8], to: &[u8], fresh: bool) -> Result<Answer> {
        self.may_write()?;
        let (from, to) = (self.folder.place(from)?, self.folder.place(to)?);
        let (old, new) = (from.name()?, to.name()?);
        if fresh && to.stat().is_ok() {
            return Err(Errno::EXIST);
        }
        renameat(from.dir(), old, to.dir(), new).map(|()| Answer::Done)
    }

    fn hard_link(&mut self, from: &[u8], to: &[u8]) -> Result<Answer> {
        self.may_write()?;
        let (from, to) = (self.folder.place(from)?, self.folder.place(to)?);
        linkat(from.dir(), from.name()?, to.dir(), to.name()?, AtFlags::empty()).map(|()| Answer::Done)
    }

    fn read_link(&mut self, path: &[u8]) -> Result<Answer> {
        let place = self.folder.place(path)?;
        let target = readlinkat(place.dir(), place.name().map_err(|_| Errno::INVAL)?, Vec::new())?;
        Ok(one_name(target.to_bytes()))
    }

    /// Wherever it points, nobody follows it here.
    fn make_link(&mut self, target: &[u8], link: &[u8]) -> Result<Answer> {
        self.may_write()?;
        let place = self.folder.place(link)?;
        symlinkat(target, place.dir(), place.name().map_err(|_| Errno::EXIST)?).map(|()| Answer::Done)
    }

    fn space(&mut self, path: &[u8]) -> Result<Answer> {
        let place = self.folder.place(path)?;
        let space = fstatvfs(place.dir())?;
        let mut content = Vec::new();
        for number in [
            space.f_bsize,
            space.f_frsize,
            space.f_blocks,
            space.f_bfree,
            space.f_bavail,
            space.f_files,
            space.f_ffree,
            space.f_favail,
            space.f_fsid,
            u64::from(self.folder.is_read_only()),
            space.f_namemax,
        ] {
            wire::long(&mut content, number);
        }
        Ok(Answer::Is(kind::EXTENDED_REPLY, content))
    }

    fn sync(&mut self, handle: &[u8]) -> Result<Answer> {
        let (fd, _) = self.file(handle)?;
        fsync(fd.as_fd()).map(|()| Answer::Done)
    }
}

fn stat_of(handle: &mut Handle) -> Result<Answer> {
    let stat = match handle {
        Handle::File { fd, .. } => fstat(fd)?,
        Handle::Dir(dir, _) => dir.stat()?,
    };
    Ok(attributes(&stat))
}

fn attributes(stat: &rustix::fs::Stat) -> Answer {
    let mut content = Vec::new();
    wire::attributes(&mut content, stat);
    Answer::Is(kind::ATTRS, content)
}

fn said(status: u32, message: &str) -> Vec<u8> {
    let mut content = Vec::new();
    wire::number(&mut content, status);
    wire::string(&mut content, message.as_bytes());
    wire::string(&mut content, b"");
    content
}

fn one_name(name: &[u8]) -> Answer {
    let mut content = Vec::new();
    wire::number(&mut content, 1);
    wire::string(&mut content, name);
    wire::string(&mut content, name);
    wire::number(&mut content, 0);
    Answer::Is(kind::NAME, content)
}

fn real_path(path: &[u8]) -> Answer {
    one_name(&[b"/", &names(path).join(&b'/')[..]].concat())
}

/// No setuid bits and their like: on the host they would be those of whoever shares the folder.
#[expect(clippy::allow_attributes, reason = "the type of a mode differs between systems")]
#[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast)]
fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode((bits & 0o777) as RawMode)
}

fn timestamps((access, change): (u32, u32)) -> Timestamps {
    let time = |seconds: u32| Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
    Timestamps { last_access: time(access), last_modification: time(change) }
}
