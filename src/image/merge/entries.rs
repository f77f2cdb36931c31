//! Reads a layer's tar, entry by entry. The tar crate's own iterator takes names and extended headers of any size into
//! memory, and splits the latter at line ends, which the value of an attribute may hold.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::pax::{self, Record};

/// A tar's unit.
pub(super) const BLOCK: usize = 512;
/// The most that long names, extended headers and maps of sparse files may take.
const EXTENSION_MAX: u64 = 1 << 20;
/// Beyond what any file system has; sums of two stay numbers.
const SIZE_MAX: u64 = 1 << 60;

/// What is in a header, and in those that extend it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) records: Vec<Record>,
    /// What follows the header of a sparse file in GNU's old form.
    pub(super) map: Vec<u8>,
    /// The bytes that follow.
    pub(super) stored: u64,
    /// The bytes that they stand for in a sparse file.
    pub(super) sparse_size: Option<u64>,
}

pub(super) struct Entries<R> {
    reader: R,
    /// Of the current entry, not read yet; and what fills its last block.
    left: u64,
    padding: u64,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0 }
    }

    /// The next entry; what is left of the one before is skipped.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let (mut long_path, mut long_link, mut records) = (None, None, Vec::new());
        loop {
            self.skip(self.left)?;
            // Some write a last entry without it, and without the mark of the end.
            io::copy(&mut self.reader.by_ref().take(self.padding), &mut io::sink())?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| damaged("a size is no number"))?;
            match header.entry_type() {
                EntryType::GNULongName => long_path = Some(self.extension(size)?),
                EntryType::GNULongLink => long_link = Some(self.extension(size)?),
                EntryType::XHeader => records = pax::parse(&self.extension(size)?)?,
                // Of the archive, not of a file: what `git archive` and volumes say of themselves.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                kind if kind.as_byte() == b'V' => self.expect(size)?,
                _ => return self.entry(header, size, long_path, long_link, records).map(Some),
            }
        }
    }

    /// The current entry's bytes.
    pub(super) fn data(&mut self) -> impl Read + '_ {
        Data(self)
    }

    /// Reads to the end of the stream, so that whoever checks it sees all of it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self.reader, &mut io::sink()).map(|_| ())
    }

    fn entry(
        &mut self,
        header: Header,
        size: u64,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        records: Vec<Record>,
    ) -> io::Result<Entry> {
        let kind = header.entry_type();
        let find = |key: &[u8]| records.iter().rev().find(|record| record.key == key);
        let text = |key: &[u8]| find(key).map(|record| record.value.clone());
        let number = |key: &[u8]| find(key).map(Record::number).transpose();
        let path = text(pax::SPARSE_NAME).or_else(|| text(b"path")).or(long_path);
        let link = text(b"linkpath").or(long_link);
        let mut sparse_size = match number(pax::SPARSE_REAL_SIZE)? {
            None => number(pax::SPARSE_SIZE)?,
            some => some,
        };
        let mut map = Vec::new();
        if let (EntryType::GNUSparse, Some(gnu)) = (kind, header.as_gnu()) {
            sparse_size = Some(gnu.real_size().map_err(|_| damaged("a size is no number"))?);
            let mut more = gnu.is_extended();
            while more {
                let block = self.block()?.ok_or_else(cut)?;
                more = block[504] == 1;
                map.extend_from_slice(&block);
                if map.len() as u64 > EXTENSION_MAX {
                    return Err(damaged("the map of a sparse file is too long"));
                }
            }
        }
        let has_data = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        let stored = if has_data { number(b"size")?.unwrap_or(size) } else { 0 };
        self.expect(stored)?;
        Ok(Entry {
            path: path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: link.or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default(),
            header,
            records,
            map,
            stored,
            sparse_size,
        })
    }

    fn expect(&mut self, size: u64) -> io::Result<()> {
        if size > SIZE_MAX {
            return Err(damaged("a size is larger than any file"));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// A header; none at the mark of an archive's end, or at the end of the stream.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(damaged("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// The content of a header that extends the next one.
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_MAX {
            return Err(damaged("an extended header is too long"));
        }
        self.expect(size)?;
        let mut bytes = Vec::new();
        self.data().read_to_end(&mut bytes)?;
        // GNU's names end with a NUL.
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(block))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.reader).take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err(cut()) }
    }
}

struct Data<'a, R>(&'a mut Entries<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.0.reader.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(cut());
        }
        self.0.left -= count as u64;
        Ok(count)
    }
}

pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of an entry")
}
