//! What a kernel was built with, where it tells (`CONFIG_IKCONFIG`), against what machines need.

use std::collections::BTreeMap;
use std::io::Read;

/// Around the configuration, packed by gzip (kernel/configs.c).
const START: &[u8] = b"IKCFG_ST";
/// A configuration is some 300 KB.
const LARGEST: u64 = 16 << 20;

/// What mvm's init and the VMMs need built in: a kernel of one's own comes without modules.
const NEEDED: &[&str] = &[
    "BINFMT_ELF",
    "BINFMT_SCRIPT",
    "BLK_DEV_INITRD",
    "DEVTMPFS",
    "EXT4_FS",
    "INET",
    "OVERLAY_FS",
    "PROC_FS",
    "SQUASHFS",
    "SQUASHFS_ZSTD",
    "SYSFS",
    "TMPFS",
    "TTY",
    "UNIX",
    "UNIX98_PTYS",
    "VIRTIO_BLK",
    "VIRTIO_MMIO",
    "VIRTIO_NET",
];

/// The options that are missing, `CONFIG_…` each with what it is instead; none where the kernel does not tell.
pub(super) fn missing(kernel: &[u8], arch: &str) -> Vec<String> {
    let Some(text) = embedded(kernel) else { return Vec::new() };
    let options = parse(&text);
    let console = if arch == "aarch64" { "SERIAL_AMBA_PL011_CONSOLE" } else { "SERIAL_8250_CONSOLE" };
    let lacks = |option: &&str| options.get(*option).is_none_or(|value| value != "y");
    let shown = |option: &str| match options.get(option).map(String::as_str) {
        Some("m") => format!("CONFIG_{option} (it is a module)"),
        _ => format!("CONFIG_{option}"),
    };
    let mut missing: Vec<_> = NEEDED.iter().copied().chain([console]).filter(lacks).map(shown).collect();
    // Where the devices are, the VMMs tell in one of these ways.
    let finds = if arch == "aarch64" { &["OF"][..] } else { &["ACPI", "VIRTIO_MMIO_CMDLINE_DEVICES"] };
    if finds.iter().all(lacks) {
        missing.push(finds.iter().map(|option| format!("CONFIG_{option}")).collect::<Vec<_>>().join(" or "));
    }
    missing
}

/// The configuration that a kernel carries.
pub(super) fn embedded(kernel: &[u8]) -> Option<String> {
    kernel.windows(START.len()).enumerate().filter(|(_, bytes)| *bytes == START).find_map(|(at, _)| {
        let packed = &kernel[at + START.len()..];
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).take(LARGEST).read_to_end(&mut bytes).ok()?;
        String::from_utf8(bytes).ok()
    })
}

/// Options and their values: `CONFIG_A=y`, and those that are set to no value are not among them.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn kernel(config: &str) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(config.as_bytes()).unwrap();
        [b"\x7fELF IKCFG_ST is the mark ", START, &gzip.finish().unwrap(), b"IKCFG_ED rest"].concat()
    }

    #[test]
    fn what_is_missing_is_named() {
        let all: String = NEEDED.iter().map(|option| format!("CONFIG_{option}=y\n")).collect();
        let whole = format!("{all}CONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_ACPI=y\n");
        assert_eq!(missing(&kernel(&whole), "x86_64"), Vec::<String>::new());
        let lacking = whole
            .replace("CONFIG_OVERLAY_FS=y", "CONFIG_OVERLAY_FS=m")
            .replace("CONFIG_EXT4_FS=y", "# CONFIG_EXT4_FS is not set");
        assert_eq!(
            missing(&kernel(&lacking), "x86_64"),
            ["CONFIG_EXT4_FS", "CONFIG_OVERLAY_FS (it is a module)"]
        );
        let unfound = missing(&kernel(&whole.replace("CONFIG_ACPI=y", "")), "x86_64");
        assert_eq!(unfound, ["CONFIG_ACPI or CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES"]);
        assert!(missing(&kernel(&whole), "aarch64").iter().any(|option| option.contains("PL011")));
    }

    #[test]
    fn a_kernel_that_does_not_tell_is_believed() {
        for silent in [&b"\x7fELF"[..], b"IKCFG_ST", b"IKCFG_STIKCFG_ST\x1f\x8b\x08"] {
            assert!(missing(silent, "x86_64").is_empty());
        }
    }
}
