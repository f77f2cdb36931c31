//! Installing Lima: by Homebrew where it is, else from Lima's own releases.

use std::path::Path;

use super::{Host, Os, PINNED};
use crate::config::{Mirror, Network};
use crate::digest;
use crate::download::{Downloads, Size, Wanted};
use crate::error::{Error, Result};
use crate::shell::{self, Call, Event, Output};

/// How Lima would be installed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Homebrew,
    /// The release tarball, into `~/.local`.
    Release,
}

impl How {
    pub fn describe(self) -> &'static str {
        match self {
            Self::Homebrew => "with Homebrew",
            Self::Release => "from Lima's own release, into ~/.local",
        }
    }

    /// What is there.
    pub fn look() -> Self {
        match shell::run(&Call::new(["brew", "--version"]), &mut |_| {}) {
            Ok(output) if output.status.success() => Self::Homebrew,
            _ => Self::Release,
        }
    }
}

/// `brew install lima`, without questions and without an update of everything else.
pub fn with_homebrew(on_event: &mut dyn FnMut(Event<'_>)) -> std::io::Result<Output> {
    on_event(Event::Step("Installing Lima with Homebrew"));
    let call = Call::new([
        "env",
        "HOMEBREW_NO_AUTO_UPDATE=1",
        "HOMEBREW_NO_INSTALL_CLEANUP=1",
        "HOMEBREW_NO_ENV_HINTS=1",
        "NONINTERACTIVE=1",
        "brew",
        "install",
        "lima",
    ]);
    shell::run(&call, &mut |event| match event {
        Event::Log(line) => on_event(Event::Detail(line)),
        other => on_event(other),
    })
}

/// The name of the release's tarball: `arm64` on macOS, `aarch64` on Linux (Lima's Makefile).
fn release_name(os: Os, arch: &str) -> String {
    let (os, arch) = match (os, arch) {
        (Os::MacOs(..), "aarch64") => ("Darwin", "arm64"),
        (Os::MacOs(..), arch) => ("Darwin", arch),
        (Os::Linux, arch) => ("Linux", arch),
    };
    format!("lima-{PINNED}-{os}-{arch}.tar.gz")
}

/// Bytes; 2.2.0 has 40 million.
const LONGEST: u64 = 500 << 20;

/// Installs Lima's release for `host` into `prefix`, such as `~/.local`: its programs find their data beside them.
pub fn with_release(
    host: &Host,
    prefix: &Path,
    mirror: &Mirror,
    network: &Network,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<()> {
    let (name, origin) = (release_name(host.os, &host.arch), mirror.lima());
    let downloads = Downloads::new(network)?;
    on_event(Event::Step(&format!("Downloading Lima {PINNED}")));
    let at = |name: &str| origin.url(&format!("v{PINNED}/{name}"));
    let list =
        downloads.text(&at("SHA256SUMS"), true, on_event).map_err(|error| error.from_origin(&origin))?;
    let sha256 = digest::find_in_list(&list, &name).ok_or_else(|| {
        Error::failure(format!("Lima's release {PINNED} has no {name} ({})", at("SHA256SUMS")))
            .hint("install Lima by your own means, then run this again")
    })?;
    let url = at(&name);
    let wanted =
        Wanted { what: &name, url: &url, headers: &[], sha256: Some(sha256), size: Size::AtMost(LONGEST) };
    let fetched = downloads.fetch(&wanted, on_event).map_err(|error| error.from_origin(&origin))?;
    on_event(Event::Step(&format!("Installing Lima {PINNED} into {}", prefix.display())));
    fs_err::create_dir_all(prefix)?;
    let mut unpack = Call::new(["tar", "-xzmf"]);
    unpack.argv.extend([fetched.path.into(), "-C".into(), prefix.into()]);
    let output = shell::run(&unpack, on_event)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::failure(format!(
        "{name} cannot be unpacked into {}: {}",
        prefix.display(),
        output.log.join("; ")
    ))
    .hint("make room there, and see that the folder is yours; then run this again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_named_as_lima_names_them() {
        let mac = Os::MacOs(15, 0);
        assert_eq!(release_name(mac, "aarch64"), format!("lima-{PINNED}-Darwin-arm64.tar.gz"));
        assert_eq!(release_name(mac, "x86_64"), format!("lima-{PINNED}-Darwin-x86_64.tar.gz"));
        assert_eq!(release_name(Os::Linux, "aarch64"), format!("lima-{PINNED}-Linux-aarch64.tar.gz"));
    }
}
