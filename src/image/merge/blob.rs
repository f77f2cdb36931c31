//! Where a layer's bytes are: a file of the cache, or a part of an archive; compressed or not.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use flate2::bufread::MultiGzDecoder;

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}

/// How bytes are packed, as their first ones tell; what a manifest says of it is often wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or one to be skipped, as zstd:chunked begins with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The most memory a zstd frame may ask for: 2^25 bytes. Registries' tools stay below 2^23.
const ZSTD_WINDOW_LOG: u32 = 25;
/// The most memory xz may ask for, in KiB: `xz -9` asks for 65 MiB.
const XZ_MEMORY: u32 = 80 << 10;
const BUFFER: usize = 128 << 10;

impl Blob {
    /// The whole of a file.
    pub fn file(path: PathBuf) -> io::Result<Self> {
        let bytes = fs_err::metadata(&path)?.len();
        Ok(Self { path, offset: 0, bytes })
    }

    /// Its bytes that its file really has.
    pub fn there(&self) -> io::Result<u64> {
        let length = fs_err::metadata(&self.path)?.len();
        Ok(self.bytes.min(length.saturating_sub(self.offset)))
    }

    /// The bytes as they are.
    pub fn open(&self) -> io::Result<io::Take<fs_err::File>> {
        let mut file = fs_err::File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.bytes))
    }

    pub fn packing(&self) -> io::Result<Packing> {
        let mut first = Vec::new();
        self.open()?.take(6).read_to_end(&mut first)?;
        Ok(Packing::of(&first))
    }

    /// The bytes unpacked.
    pub fn unpacked(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = BufReader::with_capacity(BUFFER, self.open()?);
        Ok(match self.packing()? {
            Packing::None => Box::new(file),
            // Several members are common: parallel packers and eStargz write them.
            Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))),
            Packing::Xz => {
                let decoder = lzma_rust2::XzReader::new_mem_limit(file, true, XZ_MEMORY);
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
        })
    }
}
