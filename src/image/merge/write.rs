//! Writes the merged tar: entries as they were, under the names they have in the end.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::entries::{BLOCK, Entry};
use super::pax;

/// Which side failed.
pub(super) enum Failed {
    Read(io::Error),
    Write(io::Error),
}

const BUFFER: usize = 128 << 10;
/// Names longer than that go before the header.
const NAME_FIELD: usize = 100;
const PREFIX_FIELD: std::ops::Range<usize> = 345..500;
const OWNER_NAMES: std::ops::Range<usize> = 265..329;

pub(super) fn entry(
    out: &mut dyn Write,
    entry: &Entry,
    path: &[u8],
    data: &mut dyn Read,
) -> Result<(), Failed> {
    let mut header = entry.header.clone();
    if header.entry_type() == EntryType::Regular && entry.path.ends_with(b"/") {
        header.set_entry_type(EntryType::Directory);
    }
    header.set_size(entry.stored);
    write_header(out, entry, header, path, &entry.link).map_err(Failed::Write)?;
    out.write_all(&entry.map).map_err(Failed::Write)?;
    let mut buffer = vec![0; BUFFER.min(usize::try_from(entry.stored).unwrap_or(BUFFER))];
    let mut left = entry.stored;
    while left > 0 {
        let count = data.read(&mut buffer).map_err(Failed::Read)?;
        out.write_all(&buffer[..count]).map_err(Failed::Write)?;
        left -= count as u64;
    }
    pad(out, entry.stored).map_err(Failed::Write)
}

/// A further name of `of`, whose entry was `entry`.
pub(super) fn hard_link(out: &mut dyn Write, entry: &Entry, path: &[u8], of: &[u8]) -> io::Result<()> {
    let mut header = entry.header.clone();
    header.set_entry_type(EntryType::Link);
    header.set_size(0);
    named(out, header, path, of)
}

/// A folder that no layer has an entry for.
pub(super) fn folder(out: &mut dyn Write, path: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    named(out, header, path, b"")
}

/// The mark of an archive's end.
pub(super) fn end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])?;
    out.flush()
}

fn write_header(
    out: &mut dyn Write,
    entry: &Entry,
    header: Header,
    path: &[u8],
    link: &[u8],
) -> io::Result<()> {
    let kept = entry.records.iter().filter(|record| record.is_kept()).map(|record| {
        let is_name = record.key == pax::SPARSE_NAME;
        (record.key.as_slice(), if is_name { path } else { record.value.as_slice() })
    });
    let records = pax::format(kept);
    if !records.is_empty() {
        extension(out, EntryType::XHeader, &records)?;
    }
    named(out, header, path, link)
}

/// A header under these names; long ones go before it, as GNU's tar does it: they are bytes, not text.
fn named(out: &mut dyn Write, mut header: Header, path: &[u8], link: &[u8]) -> io::Result<()> {
    for (kind, name) in [(EntryType::GNULongName, path), (EntryType::GNULongLink, link)] {
        if name.len() > NAME_FIELD {
            extension(out, kind, &[name, b"\0"].concat())?;
        }
    }
    let has_prefix = header.as_gnu().is_none();
    let is_posix = header.as_ustar().is_some() || header.as_gnu().is_some();
    let old = header.as_old_mut();
    fill(&mut old.name, path);
    fill(&mut old.linkname, link);
    let bytes = header.as_mut_bytes();
    if has_prefix {
        bytes[PREFIX_FIELD].fill(0);
    }
    if is_posix {
        bytes[OWNER_NAMES].fill(0);
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn fill(field: &mut [u8; NAME_FIELD], text: &[u8]) {
    field.fill(0);
    let most = text.len().min(NAME_FIELD);
    field[..most].copy_from_slice(&text[..most]);
}

/// A header that extends the next one, and its content.
fn extension(out: &mut dyn Write, kind: EntryType, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    fill(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(content)?;
    pad(out, content.len() as u64)
}

fn pad(out: &mut dyn Write, bytes: u64) -> io::Result<()> {
    let padding = bytes.next_multiple_of(BLOCK as u64) - bytes;
    out.write_all(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])
}
