//! What a machine is asked to be: names and sizes parsed once, and `vm.json`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::user::UserName;
use super::{Environment, Idle, MountSpec, Port};
use crate::image::ImageName;
use crate::network::Policy;
use crate::version;

/// A machine's name: a letter or digit, then up to 30 letters, digits and hyphens, all lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct MachineName(String);

impl MachineName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = text.bytes();
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = bytes.next().is_some_and(letter) && bytes.all(|byte| letter(byte) || byte == b'-');
        if valid && text.len() <= 31 {
            Ok(Self(text.to_owned()))
        } else {
            Err("a name is 1 to 31 of `a-z`, `0-9` and `-`, and does not begin with `-`".to_owned())
        }
    }
}

impl TryFrom<String> for MachineName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Bytes from `512M`, `2G`, `10GiB`: powers of 1024, whichever way the unit is written.
fn bytes(text: &str) -> Result<u64, String> {
    let form = "give a number with a unit, such as `512M` or `2G`";
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form.to_owned());
    }
    parse_size::Config::new()
        .with_binary()
        .parse_size(text.trim())
        .map_err(|error| format!("{error}; {form}"))
}

/// Memory of a machine, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "SizeText")]
pub struct Memory(u32);

impl Memory {
    /// The least that a Linux of today starts in.
    pub const MIN_MIB: u32 = 128;

    pub const fn from_mib(mib: u32) -> Self {
        Self(mib)
    }

    pub fn mib(self) -> u32 {
        self.0
    }

    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mib = bytes(text)? >> 20;
        if mib < u64::from(Self::MIN_MIB) {
            return Err(format!("a machine needs at least {}M", Self::MIN_MIB));
        }
        u32::try_from(mib).map(Self).map_err(|_| "that is more than any host has".to_owned())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&crate::ui::size(self.bytes()))
    }
}

/// The most a machine's own disk may grow to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "SizeText")]
pub struct DiskSize(u64);

impl DiskSize {
    const MIN: u64 = 64 << 20;
    const MAX: u64 = 16 << 40;

    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for DiskSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Whole MiB, so that every file system block and sector fits.
        let size = bytes(text)? >> 20 << 20;
        if (Self::MIN..=Self::MAX).contains(&size) {
            Ok(Self(size))
        } else {
            Err("a disk is between 64M and 16T".to_owned())
        }
    }
}

impl fmt::Display for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&crate::ui::size(self.0))
    }
}

/// A size in a file: plain bytes or MiB as mvm writes them, or text with a unit as people do.
#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Number(u64),
    Text(String),
}

impl TryFrom<SizeText> for Memory {
    type Error = String;

    fn try_from(size: SizeText) -> Result<Self, String> {
        match size {
            SizeText::Number(mib) => format!("{mib}M").parse(),
            SizeText::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<SizeText> for DiskSize {
    type Error = String;

    fn try_from(size: SizeText) -> Result<Self, String> {
        match size {
            SizeText::Number(bytes) => format!("{bytes}B").parse(),
            SizeText::Text(text) => text.parse(),
        }
    }
}

/// Which VMM a machine is started with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum VmmChoice {
    /// Firecracker where it can run, else QEMU.
    #[default]
    Auto,
    /// Firecracker; needs KVM.
    Firecracker,
    /// QEMU, with KVM or in software.
    Qemu,
}

impl fmt::Display for VmmChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
        })
    }
}

/// `vm.json`: what a machine was asked to be. Whether it runs is never written here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Of this file's form; see [`Spec::VERSION`]. [`Spec::line`] writes the least that is needed.
    pub version: u32,
    pub name: MachineName,
    pub image: ImageName,
    /// The very image that the machine's disk was made for.
    pub image_id: String,
    pub cpus: u8,
    pub memory_mib: Memory,
    pub disk_bytes: DiskSize,
    pub vmm: VmmChoice,
    /// Of all sessions in it.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub env: Environment,
    /// Unix seconds.
    pub created: u64,
    /// The user that sessions are, made at a start; root where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// After how long without use it is suspended by itself; never where none is given. In seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// Folders of the host that it shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountSpec>,
    /// Its ports that are published on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What it may reach.
    #[serde(default, skip_serializing_if = "Policy::is_open")]
    pub net: Policy,
}

impl Spec {
    pub const VERSION: u32 = version::MACHINE.version;

    /// `vm.json`, one line. It goes to scripts by standard input: its environment may hold secrets.
    pub fn line(&self) -> serde_json::Result<Vec<u8>> {
        // Where no restriction would be lost, an older mvm may go on with the machine.
        let version = if self.net.is_open() { 1 } else { Self::VERSION };
        let mut line = serde_json::to_vec(&Self { version, ..self.clone() })?;
        line.push(b'\n');
        Ok(line)
    }

    /// It, and below it what is there, where that is to be as it was when this was decided.
    pub(super) fn lines(&self, before: Option<&Self>) -> serde_json::Result<Vec<u8>> {
        let before = before.map_or_else(|| Ok(vec![b'\n']), Self::line)?;
        Ok([self.line()?, before].concat())
    }

    /// Reads `vm.json`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        version::MACHINE.read(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "default", "web-1", "0", &"x".repeat(31)] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "../x", "a b", "ä", &"x".repeat(32)] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        let memory = |text: &str| text.parse::<Memory>().map(Memory::mib);
        assert_eq!(memory("512M"), Ok(512));
        assert_eq!(memory("2G"), Ok(2048));
        assert_eq!(memory("1.5GiB"), Ok(1536));
        assert_eq!(memory("2 GB"), Ok(2048));
        for bad in ["", "512", "127M", "2X", "-1G", "G", "99999999T"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
        assert_eq!("10G".parse::<DiskSize>().unwrap().bytes(), 10 << 30);
        assert!("1M".parse::<DiskSize>().is_err());
    }

    #[test]
    fn vm_json_survives_a_round_trip() {
        let spec = Spec {
            version: Spec::VERSION,
            name: "web".parse().unwrap(),
            image: ImageName::default(),
            image_id: "0123".into(),
            cpus: 2,
            memory_mib: Memory::from_mib(512),
            disk_bytes: DiskSize::from_bytes(10 << 30),
            vmm: VmmChoice::Auto,
            env: Environment::default(),
            created: 1,
            user: Some("me".parse().unwrap()),
            idle: Some("30m".parse().unwrap()),
            mounts: vec!["/src:/work:ro".parse().unwrap()],
            ports: vec!["8080:80".parse().unwrap()],
            net: "allow=example.org:443".parse().unwrap(),
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(Spec::parse(&text), Ok(spec));
        // Of an mvm that neither shared folders, nor published ports, nor had network policies.
        let older = text
            .replace(r#","mounts":["/src:/work:ro"],"ports":["8080:80"],"net":"allow=example.org:443""#, "");
        assert!(older != text);
        let older = Spec::parse(&older).unwrap();
        assert!(older.mounts.is_empty() && older.ports.is_empty() && older.net.is_open());
        // A policy that cannot be read is not taken for an open one.
        assert!(Spec::parse(&text.replace("allow=example.org:443", "deny=all")).is_err());
        for older in ["", "\"version\":1,"] {
            assert_eq!(Spec::parse(&text.replace("\"version\":2,", older)), Spec::parse(&text));
        }
        assert!(Spec::parse("").unwrap_err().contains("cannot be read"));
        assert!(Spec::parse(&text.replace("\"version\":2", "\"version\":9")).unwrap_err().contains("newer"));
        assert!(Spec::parse(&text.replace("web", "We b")).is_err());
    }

    #[test]
    fn an_older_mvm_is_kept_from_a_machine_whose_network_is_restricted() {
        for (net, number) in [("open", 1), ("learn", 2), ("none", 2), ("allow=example.org", 2)] {
            let spec = Spec { net: net.parse().unwrap(), ..crate::microvm::sample_spec() };
            let line = String::from_utf8(spec.line().unwrap()).unwrap();
            assert!(line.contains(&format!("\"version\":{number},")), "{line}");
            assert_eq!(Spec::parse(&line).unwrap().net, spec.net);
        }
    }
}
