//! What has to hold after each cell of the matrix, whatever happened.

use std::path::Path;

use crate::common::process::lives;
use crate::matrix::host::{Host, names_in};
use crate::matrix::rows::{Data, Row};

/// Every command that a user may turn to works, the data are there, and when the machines are removed nothing is left.
/// `stops_first` is what the user does first: stop it, or `dev`.
pub(super) fn check(host: &Host, row: &Row, stops_first: bool) -> Result<(), String> {
    let _ = host.ok(&["status"])?;
    let _ = host.ok(&["ls"])?;
    let machines = host.machines();
    for name in &machines {
        let _ = host.ok(&["why", name])?;
    }
    let holds = row.data != Data::None && !machines.is_empty();
    let machines = if machines.is_empty() { vec!["web".to_owned()] } else { machines };
    for name in &machines {
        if stops_first {
            if host.machine(name).exists() {
                let _ = host.ok(&["stop", name])?;
            }
            let _ = host.ok(&["start", name, "-d"])?;
        }
        let _ = host.ok(&["dev", name])?;
        let listed = host.ok(&["ls", "--json"])?.stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).map_err(|error| error.to_string())?;
        let state =
            listed.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == name.as_str()));
        if state.is_none_or(|entry| entry["state"] != "running") {
            return Err(format!("after `dev {name}` it is not running: {listed}"));
        }
        if holds {
            let mark = host.read_mark(name);
            let right = match row.data {
                Data::LastOr(other) => mark == "last" || mark == other,
                Data::Last | Data::None => mark == "last",
            };
            if !right {
                return Err(format!("the file of `{name}` has `{mark}`"));
            }
        }
        let _ = host.ok(&["stop", name])?;
        let halves = half_done(&host.machine(name));
        if !halves.is_empty() {
            return Err(format!("left in the machine's folder: {}", halves.join(", ")));
        }
        if !stops_first {
            let _ = host.ok(&["start", name, "-d"])?;
        }
    }
    if row.command[0] == "image" {
        let _ = host.ok(&["image", "import", "app.tar", "--as", "app"])?;
        let _ = host.ok(&["image", "rm", "app"])?;
    }
    for name in &machines {
        let _ = host.ok(&["rm", name, "--yes"])?;
    }
    leftovers(host)
}

/// What has been begun below a folder, and not been brought to its end.
fn half_done(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in names_in(dir) {
        let path = dir.join(&name);
        if name.starts_with('.')
            || Path::new(&name).extension().is_some_and(|end| end == "new")
            || name == "restore"
        {
            found.push(path.display().to_string());
        } else if path.is_dir() && !path.is_symlink() {
            found.extend(half_done(&path));
        }
    }
    found
}

fn leftovers(host: &Host) -> Result<(), String> {
    let mut left = Vec::new();
    let home = host.home();
    let mut names = |dir: &str, may_stay: &dyn Fn(&str) -> bool| {
        let found = names_in(&home.join(dir)).into_iter().filter(|name| !may_stay(name));
        left.extend(found.map(|name| format!("{}/{name}", if dir.is_empty() { "." } else { dir })));
    };
    names("", &|name| ["bin", "cache", "downloads", "golden", "images", "locks", "machines"].contains(&name));
    names("machines", &|_| false);
    // Locks of what is no machine's.
    names("locks", &|name| name.starts_with('.'));
    names("images", &|name| name == super::host::IMAGE);
    names("golden", &|name| !name.starts_with('.'));
    left.extend(names_in(&host.path("tmp")).into_iter().filter(|name| name != ".keep"));
    let root = host.path("").to_string_lossy().trim_end_matches('/').to_owned();
    for file in ["/proc/self/mounts", "/proc/net/unix"] {
        let text = fs_err::read_to_string(file).map_err(|error| error.to_string())?;
        left.extend(text.lines().filter(|line| line.contains(&root)).map(str::to_owned));
    }
    if !left.is_empty() {
        return Err(format!("left behind: {}", left.join(", ")));
    }
    // With them go their namespaces. Some are just ending.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let processes = host.processes();
        if processes.is_empty() {
            break;
        }
        if std::time::Instant::now() > deadline {
            return Err(format!("processes are left: {processes:?}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    if lives(host.stranger.id()) { Ok(()) } else { Err("a stranger's process was ended".to_owned()) }
}
