//! The image `debian`, made by mmdebstrap without root.

use std::fmt;

use crate::config::Mirror;
use crate::script;
use crate::shell::Script;

/// Free space the making of an image needs, in bytes: measured at its peak, with room to spare.
pub const SPACE_NEEDED: u64 = 1 << 30;

/// A release of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    Bookworm,
    Trixie,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        })
    }
}

/// Builds the image; its answer is the image's id.
pub fn build(suite: Suite, mirror: &Mirror) -> Script<String> {
    script!("image/debian" with ["cell/lib", "image/lib"], |answer| answer.get("ID"))
        .input("SUITE", suite.to_string())
        .input("MIRROR", mirror.debian.clone().unwrap_or_default())
}
