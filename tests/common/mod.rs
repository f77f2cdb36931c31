//! What the test suites need of the machine they run on.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, dead_code, reason = "tests")]

pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod tunnel;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn skipped(why: &str) {
    said(&format!("SKIPPED: {why}"));
}

/// Said even where the test runner captures what tests print: that is what goes through the macros.
pub(crate) fn said(line: &str) {
    std::io::stderr().write_all(format!("\n{line}\n").as_bytes()).unwrap_or_default();
}

pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Installs the packages of `programs` that are missing: as root, in the suite that may (feature `e2e`).
pub(crate) fn install(programs: &[(&str, &str)]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let missing: Vec<_> = programs
        .iter()
        .filter(|(program, _)| which(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() || !cfg!(feature = "e2e") || !is_root() || !Path::new("/usr/bin/apt-get").exists() {
        return;
    }
    let packages = missing.join(" ");
    let line = format!(
        "apt-get -o DPkg::Lock::Timeout=120 -q update && \
         DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -q install -y --no-install-recommends {packages}"
    );
    let output = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{packages}: {}", String::from_utf8_lossy(&output.stderr));
}
