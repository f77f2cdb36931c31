//! What mends an instance that Lima calls Broken.

use std::path::{Path, PathBuf};

use crate::shell::{self, Call};

/// The programs whose PIDs Lima writes down.
const PROGRAMS: &[&str] = &["limactl", "qemu", "lima-driver", "krunkit"];

/// Removes the PID files that name strangers, since `limactl stop -f` kills whatever they name: after a reboot of the host
/// a PID may be anyone's. Returns those removed.
pub fn verify_pids(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for (path, name) in strangers(dir)? {
        fs_err::remove_file(&path)?;
        removed.push(format!("{} ({name})", path.display()));
    }
    Ok(removed)
}

/// The PID files that name strangers, and what these are called.
pub fn strangers(dir: &Path) -> std::io::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pid") {
            continue;
        }
        let pid = fs_err::read_to_string(&path)?;
        let name = program(pid.trim());
        found.extend(name.filter(|name| !is_limas(name)).map(|name| (path, name)));
    }
    Ok(found)
}

fn is_limas(name: &str) -> bool {
    PROGRAMS.iter().any(|program| name.starts_with(program))
}

/// The name of a process's program; `None` when there is no such process.
fn program(pid: &str) -> Option<String> {
    // The same on macOS (a path) and Linux (a name).
    let output = shell::run(&Call::new(["ps", "-o", "comm=", "-p", pid]), &mut |_| {}).ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let name = text.rsplit('/').next().unwrap_or_default().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Whether the instance's last start has not come to its end: its host agent has not said `running` yet. (Lima calls an
/// instance Running from the first moment on.)
pub fn still_booting(dir: &Path) -> bool {
    let Ok(text) = fs_err::read_to_string(dir.join("ha.stdout.log")) else {
        return true;
    };
    let last = text.lines().rev().find_map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        event.get("status").cloned()
    });
    !last.is_some_and(|status| status["running"] == true || status["exiting"] == true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_not_to_be_killed() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("ha.pid"), format!("{}\n", std::process::id())).unwrap();
        fs_err::write(dir.path().join("qemu.pid"), "999999999").unwrap();
        fs_err::write(dir.path().join("ha.stdout.log"), "").unwrap();
        let removed = verify_pids(dir.path()).unwrap();
        assert!(removed.len() == 1 && removed[0].contains("ha.pid"), "{removed:?}");
        assert!(dir.path().join("qemu.pid").exists() && is_limas("qemu-system-x86"));
    }

    #[test]
    fn an_instance_boots_until_its_agent_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        assert!(still_booting(dir.path()));
        let log = dir.path().join("ha.stdout.log");
        fs_err::write(&log, "{\"status\":{\"sshLocalPort\":1}}\n").unwrap();
        assert!(still_booting(dir.path()));
        fs_err::write(&log, "{\"status\":{}}\n{\"status\":{\"running\":true}}\nnoise\n").unwrap();
        assert!(!still_booting(dir.path()));
    }
}
