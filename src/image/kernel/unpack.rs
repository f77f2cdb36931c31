//! The ELF file in a bzImage (Documentation/arch/x86/boot.rst), and files that are compressed as a whole.

use std::io::{self, Read};

/// More than any kernel has, unpacked.
const LARGEST: u64 = 1 << 30;
/// What LZ4's old form packs at once.
const LZ4_BLOCK: usize = 8 << 20;

/// The ELF file that a bzImage holds.
pub(super) fn bzimage(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let number = |at: usize| {
        bytes
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(|bytes| u32::from_le_bytes(bytes) as usize)
    };
    let cut = || "its bzImage is cut off".to_owned();
    // Zero stands for four, from the days of the first boot loaders.
    let sectors = bytes.get(0x1f1).map(|sectors| if *sectors == 0 { 4 } else { usize::from(*sectors) });
    let code = (sectors.ok_or_else(cut)? + 1) * 512;
    let (offset, length) = (number(0x248).ok_or_else(cut)?, number(0x24c).ok_or_else(cut)?);
    let start = code.checked_add(offset).ok_or_else(cut)?;
    let end = start.checked_add(length).ok_or_else(cut)?;
    let payload = bytes.get(start..end).ok_or_else(cut)?;
    let elf = payload_of(payload).map_err(|error| format!("its bzImage cannot be unpacked: {error}"))?;
    if elf.starts_with(b"\x7fELF") { Ok(elf) } else { Err("its bzImage holds no ELF file".to_owned()) }
}

/// Told by the first bytes; after the compressed bytes comes their size, which is none of theirs.
fn payload_of(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    match payload {
        [0x1f, 0x8b, ..] => {
            flate2::read::GzDecoder::new(payload).take(LARGEST).read_to_end(&mut unpacked)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(payload)?.single_frame();
            // The kernel's own are packed with a window of 128 MiB.
            decoder.window_log_max(27)?;
            decoder.take(LARGEST).read_to_end(&mut unpacked)?;
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            lzma_rust2::XzReader::new(payload, false).take(LARGEST).read_to_end(&mut unpacked)?;
        }
        [0x02, 0x21, 0x4c, 0x18, rest @ ..] => unpacked = lz4(rest)?,
        [0x7f, b'E', b'L', b'F', ..] => unpacked = payload.to_vec(),
        _ => {
            return Err(io::Error::other(
                "it is compressed in a way that mvm does not know (it knows gzip, zstd, xz and lz4)",
            ));
        }
    }
    Ok(unpacked)
}

/// LZ4's old form: blocks, each after its length. The last four bytes are the whole's size.
fn lz4(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let damaged = || io::Error::other("a block of LZ4 is damaged");
    let mut unpacked = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    while rest.len() > 4 && (unpacked.len() as u64) < LARGEST {
        let (length, more) = rest.split_first_chunk().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let packed = more.get(..length).ok_or_else(damaged)?;
        let size = lz4_flex::block::decompress_into(packed, &mut block).map_err(io::Error::other)?;
        unpacked.extend_from_slice(&block[..size]);
        rest = &more[length..];
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A bzImage as far as it is read here.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[0x1f1] = 1;
        bytes[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        bytes[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"what follows");
        bytes
    }

    fn elf() -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend((0..200_000_u32).flat_map(|number| (number / 7).to_le_bytes()));
        bytes
    }

    #[test]
    fn each_way_of_packing() {
        let elf = elf();
        let size = u32::try_from(elf.len()).unwrap().to_le_bytes();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&elf).unwrap();
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(&elf).unwrap();
        let block = lz4_flex::block::compress(&elf);
        let length = u32::try_from(block.len()).unwrap().to_le_bytes();
        for payload in [
            gzip.finish().unwrap(),
            [zstd::encode_all(&elf[..], 3).unwrap(), size.to_vec()].concat(),
            [xz.finish().unwrap(), size.to_vec()].concat(),
            [b"\x02\x21\x4c\x18", &length[..], &block, &size].concat(),
        ] {
            assert!(bzimage(&image(&payload)).unwrap() == elf);
            let cut = image(&payload);
            assert!(bzimage(&cut[..cut.len() - 100]).is_err());
        }
        assert!(bzimage(&image(b"\x5d\0\0")).unwrap_err().contains("does not know"));
        assert!(bzimage(b"").is_err() && bzimage(&vec![0xff; 2048]).is_err());
    }
}
