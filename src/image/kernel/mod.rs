//! Kernels as files: which form and which processor, told by their first bytes; and those of the user's.

pub mod options;
mod unpack;

use std::io::Read;
use std::path::Path;

use crate::digest::Sha256;

/// The form of a kernel's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `vmlinux`, which x86 VMMs load as it is.
    Elf,
    /// What distributions install on x86: it holds a compressed ELF file.
    BzImage,
    /// What arm64 VMMs load.
    Arm64Image,
}

/// What the first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    pub format: Format,
    /// As `uname -m` says it.
    pub arch: &'static str,
}

impl Kernel {
    /// The form, when it runs there.
    pub fn for_arch(self, arch: &str) -> Result<Format, String> {
        match (self.arch == arch, self.format, arch) {
            (false, ..) => Err(format!("it is a kernel for {}, and machines here are {arch}", self.arch)),
            (true, Format::Elf, "aarch64") => {
                Err("on aarch64 the VMMs take the kernel's `Image`, not its ELF file".to_owned())
            }
            (true, format, _) => Ok(format),
        }
    }
}

/// A kernel of the user's, in the form that the VMMs take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub bytes: Vec<u8>,
    pub sha256: Sha256,
}

/// More than any kernel has.
const LARGEST: u64 = 1 << 30;

/// Reads the kernel in `path` and checks that machines can be started with it; the error says why not.
pub fn own(path: &Path, arch: &str) -> Result<Own, String> {
    recognise(path)?.for_arch(arch)?;
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    of_bytes(bytes, arch)
}

/// As [`own`], of a file's bytes.
pub fn of_bytes(mut bytes: Vec<u8>, arch: &str) -> Result<Own, String> {
    if recognise_head(&bytes)?.for_arch(arch)? == Format::BzImage {
        bytes = unpack::bzimage(&bytes)?;
    }
    let missing = options::missing(&bytes, arch);
    if missing.is_empty() {
        let sha256 = Sha256::of(&bytes);
        return Ok(Own { bytes, sha256 });
    }
    Err(format!("machines need more than it was built with: {}", missing.join(", ")))
}

/// As much as the headers take.
const HEAD: u64 = 1024;

/// Recognises the kernel in `path`; the error says what it is instead.
pub fn recognise(path: &Path) -> Result<Kernel, String> {
    let mut head = Vec::new();
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    file.take(HEAD).read_to_end(&mut head).map_err(|error| error.to_string())?;
    recognise_head(&head)
}

fn recognise_head(head: &[u8]) -> Result<Kernel, String> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    if at(0, b"\x7fELF") {
        let arch = match head.get(4..20) {
            Some([2, .., 0x3e, 0]) => "x86_64",
            Some([2, .., 0xb7, 0]) => "aarch64",
            _ => return Err("it is an ELF file for another processor".to_owned()),
        };
        return Ok(Kernel { format: Format::Elf, arch });
    }
    // Documentation/arch/x86/boot.rst: the boot sector's flag, the header's magic, its protocol, xloadflags.
    if at(0x1fe, b"\x55\xaa") && at(0x202, b"HdrS") {
        let protocol = head.get(0x206..0x208).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        if protocol < 0x20c || head.get(0x236).is_none_or(|flags| flags & 1 == 0) {
            return Err("it is a bzImage for 32-bit processors, or of a Linux before 3.8".to_owned());
        }
        return Ok(Kernel { format: Format::BzImage, arch: "x86_64" });
    }
    // Documentation/arch/arm64/booting.rst
    if at(56, b"ARM\x64") {
        return Ok(Kernel { format: Format::Arm64Image, arch: "aarch64" });
    }
    let compressed = [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ];
    if let Some((_, tool)) = compressed.iter().find(|(magic, _)| at(0, magic)) {
        return Err(format!("it is compressed: unpack it with `{tool} -dc`"));
    }
    Err("it is no kernel: neither an ELF file (vmlinux), nor a bzImage, nor an arm64 Image".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes with some set.
    fn bytes(length: usize, set: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (at, part) in set {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn kernels_are_known_by_their_first_bytes() {
        let elf = |machine: u8| bytes(64, &[(0, b"\x7fELF\x02"), (18, &[machine, 0])]);
        let bz = |flags: u8| {
            let header: &[(usize, &[u8])] =
                &[(0x1fe, b"\x55\xaa"), (0x202, b"HdrS"), (0x206, b"\x0f\x02"), (0x236, &[flags])];
            bytes(1024, header)
        };
        for (head, expected) in [
            (elf(0x3e), Ok((Format::Elf, "x86_64"))),
            (elf(0xb7), Ok((Format::Elf, "aarch64"))),
            (elf(0x28), Err("another processor")),
            (bz(1), Ok((Format::BzImage, "x86_64"))),
            (bz(0), Err("32-bit")),
            (bytes(64, &[(0, b"MZ"), (56, b"ARM\x64")]), Ok((Format::Arm64Image, "aarch64"))),
            (bytes(9, &[(0, b"\x1f\x8b")]), Err("gzip -dc")),
            (b"<html>".to_vec(), Err("no kernel")),
            (b"\x7fELF\x02".to_vec(), Err("another processor")),
            (Vec::new(), Err("no kernel")),
        ] {
            match (recognise_head(&head), expected) {
                (Ok(kernel), Ok(expected)) => assert_eq!((kernel.format, kernel.arch), expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_kernel_fits_its_processor() {
        let kernel = |format, arch| Kernel { format, arch };
        assert_eq!(kernel(Format::BzImage, "x86_64").for_arch("x86_64"), Ok(Format::BzImage));
        assert!(kernel(Format::Elf, "x86_64").for_arch("aarch64").unwrap_err().contains("for x86_64"));
        assert!(kernel(Format::Elf, "aarch64").for_arch("aarch64").unwrap_err().contains("`Image`"));
    }
}
