//! Images: a kernel, a base root filesystem and an initrd, prepared once and never written again.

mod config;
pub mod debian;
pub mod import;
pub mod kernel;
pub mod merge;
mod name;
pub mod oci;
pub mod pack;
pub mod seed;
pub mod ubuntu;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::script;
use crate::shell::Script;
use crate::version;

pub use config::Config;
pub(crate) use config::sshd_environment;
pub use debian::Suite;
pub use name::{ImageName, OwnName};

/// `image.json`, written by the script that makes the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Of this file's form.
    pub version: u32,
    /// The first digits of a digest over the three files.
    pub id: String,
    pub name: String,
    /// The release, of an image that comes in several.
    #[serde(default)]
    pub suite: String,
    pub arch: String,
    /// Unix seconds.
    pub created: u64,
    pub kernel: ImageFile,
    pub base: ImageFile,
    pub initrd: ImageFile,
    /// The base of the image `debian` once more, where this one has neither an SSH server of ours nor modules.
    pub tools: Option<ImageFile>,
    /// Of the image `debian`: see [`debian::RECIPE`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recipe: u32,
    /// Whether its kernel is the user's: the initrd's modules may be none of its own.
    #[serde(default)]
    pub own_kernel: bool,
    /// How its programs are run, where it says so.
    #[serde(default)]
    pub config: Config,
    /// A reference or a file's name, where it comes from elsewhere.
    pub from: Option<String>,
    /// `sha256:…` of what it was made of.
    pub digest: Option<String>,
}

/// One file of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    pub sha256: Option<Sha256>,
    pub bytes: u64,
}

impl Image {
    /// Reads `image.json`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        version::IMAGE.read(text)
    }

    /// What its files take, in bytes; those that it shares with the image `debian` do not count.
    pub fn bytes(&self) -> u64 {
        let shared = if self.tools.is_some() { 0 } else { self.kernel.bytes + self.initrd.bytes };
        self.base.bytes + shared
    }

    /// Whether an older mvm built it, so that it lacks what this one would put in.
    pub fn is_outdated(&self) -> bool {
        self.name == "debian" && !self.own_kernel && self.recipe < debian::RECIPE
    }

    /// All of its files, by their names.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &ImageFile)> {
        let fixed = [("kernel", &self.kernel), ("base", &self.base), ("initrd", &self.initrd)];
        fixed.into_iter().chain(self.tools.as_ref().map(|tools| ("tools", tools)))
    }

    /// As the user asks for it.
    pub fn label(&self) -> String {
        if self.suite.is_empty() { self.name.clone() } else { format!("{}:{}", self.name, self.suite) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Removes images that no machine uses, and `golden` memories by their keys; the answer is what that freed, in bytes.
pub fn remove(ids: &[String], golden: &[String]) -> Script<u64> {
    script!("image/remove" with ["cell/lib"], |answer| answer.get("FREED"))
        .input("GOLDEN", golden.join(" "))
        .args(ids.iter().map(String::as_str))
}

/// The image that differs from `image` in its kernel.
pub fn with_kernel(image: &Image, kernel: &kernel::Own, created: u64) -> Image {
    let both = format!("{} {}", image.id, kernel.sha256);
    let digits = |text: String, count| text.chars().take(count).collect::<String>();
    let dash = if image.suite.is_empty() { "" } else { "-" };
    Image {
        id: digits(Sha256::of(both.as_bytes()).to_string(), 12),
        // Not what is meant by the image's name alone.
        suite: format!("{}{}kernel-{}", image.suite, dash, digits(kernel.sha256.to_string(), 8)),
        created,
        kernel: ImageFile { bytes: kernel.bytes.len() as u64, sha256: Some(kernel.sha256) },
        own_kernel: true,
        ..image.clone()
    }
}

/// Makes it on the Linux side, of the file `kernel`.
pub fn derive(from: &Image, to: &Image, kernel: &kernel::Own, file: &Path) -> serde_json::Result<Script<()>> {
    Ok(script!("image/derive" with ["cell/lib", "image/lib"], |_| Ok(()))
        .input("FROM", from.id.as_str())
        .input("ID", to.id.as_str())
        .input("KERNEL_SHA256", kernel.sha256.to_string())
        .input("IMAGE_JSON", serde_json::to_string(to)?)
        .payload(file.to_owned()))
}

/// Writes an image to standard output, as a tar of its files, after the start mark.
pub fn export(image: &Image) -> Script<()> {
    script!("image/export", |_| Ok(()))
        .input("ID", image.id.as_str())
        .input("TOOLS", if image.tools.is_some() { "tools" } else { "" })
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A squashfs tells its own size (Documentation/filesystems/squashfs.rst).
pub(crate) fn check_squashfs(path: &Path) -> std::result::Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut file = fs_err::File::open(path).map_err(text)?;
    let mut head = [0; 48];
    let bytes = file.seek(SeekFrom::End(0)).map_err(text)?;
    file.rewind().map_err(text)?;
    if file.read_exact(&mut head).is_err() || head[..4] != *b"hsqs" {
        return Err("it is no squashfs".to_owned());
    }
    let used = head.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if used > bytes {
        return Err(format!("its squashfs has {used} bytes, and there are {bytes}"));
    }
    Ok(())
}
