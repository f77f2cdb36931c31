//! Installing Lima: by Homebrew where it is, else from Lima's own releases.

use super::{Host, Os, PINNED};
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

/// Where Lima's releases are; their names have `arm64` on macOS and `aarch64` on Linux (Lima's Makefile).
pub fn release_name(os: Os, arch: &str) -> String {
    let (os, arch) = match (os, arch) {
        (Os::MacOs(..), "aarch64") => ("Darwin", "arm64"),
        (Os::MacOs(..), arch) => ("Darwin", arch),
        (Os::Linux, arch) => ("Linux", arch),
    };
    format!("lima-{PINNED}-{os}-{arch}.tar.gz")
}

/// Lima's release for this host, into `~/.local`: its programs find their data beside them.
pub fn with_release(host: &Host, _on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    let name = release_name(host.os, &host.arch);
    Err(Error::failure(format!("{name} cannot be downloaded yet")))
}
