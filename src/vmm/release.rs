//! Firecracker's releases: which ones mvm works with, and the installation of one beside the others.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use semver::{Version, VersionReq};

use crate::digest::Sha256;
use crate::microvm::Program;
use crate::script;
use crate::shell::Script;

/// From 1.11 on there are the config file's fields and the ACPI devices that mvm uses; what 2 brings nobody knows.
pub const SUPPORTED: &str = ">=1.11, <2";
/// What is installed when no other release is asked for.
const PINNED: Version = Version::new(1, 16, 1);
/// A tarball of today has 30 MiB.
pub const LARGEST: u64 = 512 << 20;

/// A release that mvm works with: `v1.16.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release(Version);

impl Release {
    pub fn pinned() -> Self {
        Self(PINNED)
    }

    /// Where it is on the Linux side once it is installed.
    pub fn path(&self, home: &str) -> String {
        format!("{home}/bin/firecracker-{self}")
    }

    /// The tarball's place below the release page.
    pub fn tarball(&self, arch: &str) -> String {
        format!("{self}/{}", self.tarball_name(arch))
    }

    pub fn tarball_name(&self, arch: &str) -> String {
        format!("firecracker-{self}-{arch}.tgz")
    }

    /// Installs the tarball `file`; with `choose` it goes before the one on PATH.
    pub fn install(&self, file: PathBuf, sha256: Sha256, choose: bool) -> Script<()> {
        script!("vmm/firecracker" with ["cell/lib"], |_| Ok(()))
            .input("VERSION", self.to_string())
            .input("SHA256", sha256.to_string())
            .input("CHOOSE", if choose { "yes" } else { "no" })
            .payload(file)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("v{}", self.0))
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let version = Version::parse(text.strip_prefix('v').unwrap_or(text))
            .map_err(|_| format!("a release is called like `{}`", Self::pinned()))?;
        if is_supported(&version) {
            Ok(Self(version))
        } else {
            Err(format!(
                "mvm works with {SUPPORTED}: the config file and devices that it uses are those of 1.11 and later"
            ))
        }
    }
}

fn is_supported(version: &Version) -> bool {
    VersionReq::parse(SUPPORTED).is_ok_and(|supported| supported.matches(version))
}

/// The version of a Firecracker that mvm works with.
pub fn supported(program: &Program) -> Option<Version> {
    Version::parse(&program.version).ok().filter(is_supported)
}

/// The Firecracker to take: the one chosen by `mvm setup --firecracker`, then PATH's where mvm works with it, then the
/// newest that mvm installed.
pub fn preferred(on_path: Option<Program>, installed: Vec<(Program, bool)>) -> Option<Program> {
    let (chosen, others): (Vec<_>, Vec<_>) = installed.into_iter().partition(|(_, chosen)| *chosen);
    let mut others: Vec<_> = others.into_iter().map(|(program, _)| program).collect();
    others.sort_by_key(supported);
    let in_order =
        chosen.into_iter().map(|(program, _)| program).chain(on_path.clone()).chain(others.into_iter().rev());
    in_order.into_iter().find(|program| supported(program).is_some()).or(on_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(version: &str, path: &str) -> Program {
        Program { path: path.into(), version: version.into() }
    }

    #[test]
    fn releases_by_name() {
        assert_eq!(
            "1.15.1".parse::<Release>().unwrap().tarball("aarch64"),
            "v1.15.1/firecracker-v1.15.1-aarch64.tgz"
        );
        assert!("v1.10.0".parse::<Release>().unwrap_err().contains(SUPPORTED));
        for bad in ["", "latest", "v1.16", "v2.0.0", "../v1.16.1"] {
            assert!(bad.parse::<Release>().is_err(), "{bad}");
        }
        assert!(is_supported(&PINNED));
    }

    #[test]
    fn the_one_that_is_taken() {
        let path = |version: &str| Some(program(version, "/usr/bin/firecracker"));
        let own = |version: &str, chosen| (program(version, "bin"), chosen);
        for (on_path, installed, expected) in [
            (None, vec![], None),
            (path("1.16.0"), vec![own("1.16.1", false)], Some("1.16.0")),
            (path("1.16.0"), vec![own("1.15.1", true), own("1.16.1", false)], Some("1.15.1")),
            (
                path("1.4.0"),
                vec![own("1.9.0", false), own("1.15.1", false), own("1.16.1", false)],
                Some("1.16.1"),
            ),
            (path("1.4.0"), vec![], Some("1.4.0")),
        ] {
            let taken = preferred(on_path, installed);
            assert_eq!(taken.as_ref().map(|program| program.version.as_str()), expected);
        }
    }
}
