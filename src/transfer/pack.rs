use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{Error, Read, Result, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use super::{Counted, Passed};

/// What an archive for a guest calls the thing that is copied, and the mark that it is whole.
const ROOT: &str = "x";
const END: &str = ".end";

/// The bytes of all files in a tree; what cannot be read counts when it is copied.
pub fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs_err::metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let below = |path: PathBuf| match fs_err::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => size(&path),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    };
    fs_err::read_dir(path).map_or(0, |entries| entries.flatten().map(|entry| below(entry.path())).sum())
}

/// Writes the file or tree `path` as an archive. A link given by name is followed, those in a tree are kept. The answer
/// is what was left out: sockets, pipes and devices.
pub fn pack(path: &Path, to: impl Write, passed: Passed<'_>) -> Result<Vec<PathBuf>> {
    let mut packing = Packing { archive: Builder::new(to), passed, left_out: Vec::new() };
    packing.add(path, Path::new(ROOT), &fs_err::metadata(path)?)?;
    finish(packing.archive)?;
    Ok(packing.left_out)
}

struct Packing<'a, W: Write> {
    archive: Builder<W>,
    passed: Passed<'a>,
    left_out: Vec<PathBuf>,
}

impl<W: Write> Packing<'_, W> {
    fn add(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_metadata(metadata);
        header.set_uid(0);
        header.set_gid(0);
        if metadata.is_dir() {
            self.archive.append_data(&mut header, name, std::io::empty())?;
            let mut entries = fs_err::read_dir(path)?.collect::<Result<Vec<_>>>()?;
            entries.sort_by_key(fs_err::DirEntry::file_name);
            for entry in entries {
                let path = entry.path();
                self.add(&path, &name.join(entry.file_name()), &fs_err::symlink_metadata(&path)?)?;
            }
            Ok(())
        } else if metadata.is_symlink() {
            header.set_size(0);
            self.archive.append_link(&mut header, name, fs_err::read_link(path)?)
        } else if metadata.is_file() {
            // One that grows meanwhile is cut, one that shrinks is an error: its header is sent already.
            let mut file = Counted(fs_err::File::open(path)?.take(metadata.len()), self.passed);
            self.archive.append_data(&mut header, name, &mut file)?;
            match file.0.limit() {
                0 => Ok(()),
                _ => Err(Error::other(format!("`{}` became shorter while it was copied", path.display()))),
            }
        } else {
            self.left_out.push(path.to_owned());
            Ok(())
        }
    }
}

fn finish<W: Write>(mut archive: Builder<W>) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o600);
    archive.append_data(&mut header, END, std::io::empty())?;
    archive.into_inner()?.flush()
}

/// Turns what one guest sends into what another one receives. The name of what is copied goes to `named` first.
pub fn relay(
    from: impl Read,
    named: impl FnOnce(&OsString) -> Result<Box<dyn Write>>,
    passed: Passed<'_>,
) -> Result<()> {
    let mut source = Archive::new(from);
    let mut named = Some(named);
    let mut target = None;
    for entry in source.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let (root, below) = split(&path)?;
        if let Some(named) = named.take() {
            target = Some(Builder::new(named(&root)?));
        }
        let Some(target) = &mut target else { continue };
        let name = Path::new(ROOT).join(below);
        let mut header = entry.header().clone();
        match (header.entry_type(), entry.link_name()?.map(std::borrow::Cow::into_owned)) {
            (EntryType::Link, Some(link)) => {
                target.append_link(&mut header, name, Path::new(ROOT).join(split(&link)?.1))?;
            }
            (EntryType::Symlink, Some(link)) => target.append_link(&mut header, name, link)?,
            _ => target.append_data(&mut header, name, Counted(&mut entry, passed))?,
        }
    }
    target.map_or_else(|| Err(Error::other("nothing came")), finish)
}

/// `./NAME/rest` as NAME and `rest`.
fn split(path: &Path) -> Result<(OsString, PathBuf)> {
    let mut names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let root = names.next().ok_or_else(|| Error::other("an entry has no name"))?;
    Ok((root.to_owned(), names.collect()))
}
