//! Images: a kernel, a base root filesystem and an initrd, prepared once and never written again.

pub mod debian;
pub mod kernel;
pub mod merge;
pub mod seed;
pub mod ubuntu;

use serde::Deserialize;

pub use debian::Suite;

/// `image.json`, written by the script that makes the image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImageFile {
    pub bytes: u64,
}

impl Image {
    pub const VERSION: u32 = 1;

    /// As the user asks for it.
    pub fn label(&self) -> String {
        if self.suite.is_empty() { self.name.clone() } else { format!("{}:{}", self.name, self.suite) }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
