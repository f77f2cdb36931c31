//! The image `debian`, made by mmdebstrap without root.

use std::fmt;

use crate::config::Mirror;
use crate::script;
use crate::shell::Script;
use crate::version;

/// Free space the making of an image needs, in bytes: measured at its peak, with room to spare.
pub const SPACE_NEEDED: u64 = 1 << 30;

/// The number of what the image is made by. One with a lower number was built by an older mvm, and lacks what came since: in 1 `sshfs`
/// and `python3`, in 2 a guest that notices that it has no timer; in 3 a guest that is up sooner.
pub const RECIPE: u32 = 3;

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
        .input("VERSION", version::IMAGE.version.to_string())
        .input("RECIPE", RECIPE.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    #[test]
    fn other_packages_are_another_recipe() {
        let script = include_str!("../../resources/scripts/image/debian.sh");
        let packages: Vec<_> = script
            .lines()
            .filter(|line| line.contains("packages+=") || line.starts_with("packages="))
            .collect();
        let digest = Sha256::of(packages.join("\n").as_bytes()).to_string();
        assert_eq!((RECIPE, &digest[..8]), (3, "968af51f"), "with new packages the recipe has a new number");
    }
}
