//! What a VMM is told to write a machine's memory into its folder, and to go on from it.
//! `resources/scripts/vmm/lib.sh` says it, a line each: `METHOD PATH JSON` to Firecracker, a command of QMP to QEMU.

use semver::Version;
use serde::Serialize;
use serde_json::json;

use super::Kind;
use super::firecracker::API_SOCKET;
use crate::microvm::{HostFacts, Program};

/// The folder that the VMM writes a memory into, as seen from the machine's: the one folder that it may write to.
const NEW: &str = "run/out";
/// The folder of a memory that is whole.
const WHOLE: &str = "frozen";
/// Enough for any disk, in bytes a second; QEMU's own limit is meant for networks.
const UNLIMITED: u64 = 1 << 40;

/// The words, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    pub pause: String,
    pub unpause: String,
    pub save: String,
    /// Writes only what changed since the machine was resumed; before that, only what was ever touched. Empty where the VMM
    /// cannot.
    pub save_changes: String,
    pub load: String,
    /// The VMM's words for a machine that is to be resumed; empty where those that it was started with are kept.
    pub argv: Vec<String>,
}

/// `PUT /snapshot/create`
#[derive(Serialize)]
struct CreateSnapshot {
    snapshot_type: &'static str,
    snapshot_path: String,
    mem_file_path: String,
}

/// `PUT /snapshot/load`
#[derive(Serialize)]
struct LoadSnapshot {
    snapshot_path: String,
    mem_backend: Backend,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    track_dirty_pages: bool,
    resume_vm: bool,
}

#[derive(Serialize)]
struct Backend {
    backend_type: &'static str,
    backend_path: String,
}

/// What the VMM of this kind and version is told. `id` is the machine's name.
pub fn words(kind: Kind, program: Option<&Program>, id: &str) -> Words {
    match kind {
        Kind::Qemu => qemu(),
        Kind::Firecracker => firecracker(program, id),
    }
}

fn qemu() -> Words {
    let command = |name: &str| json!({ "execute": name }).to_string();
    // The marks tell that the file is closed: QEMU itself is through when its pipe has taken the last bytes.
    let uri = format!("exec:cat >{NEW}/memory && : >{NEW}/whole || : >{NEW}/short");
    let unlimited =
        json!({"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": UNLIMITED}}).to_string();
    let migrate = json!({"execute": "migrate", "arguments": {"uri": uri}}).to_string();
    Words {
        pause: command("stop"),
        unpause: command("cont"),
        save: format!("{unlimited}\n{migrate}"),
        save_changes: String::new(),
        load:
            json!({"execute": "migrate-incoming", "arguments": {"uri": format!("exec:cat {WHOLE}/memory")}})
                .to_string(),
        argv: Vec::new(),
    }
}

fn firecracker(program: Option<&Program>, id: &str) -> Words {
    // Before 1.15 changes are written wrongly for more than 3 GiB.
    let writes_changes = program
        .and_then(|program| Version::parse(&program.version).ok())
        .is_some_and(|version| version >= Version::new(1, 15, 0));
    let state = |paused: bool| {
        let state = if paused { "Paused" } else { "Resumed" };
        format!("PATCH /vm {}", json!({ "state": state }))
    };
    let save = |kind| {
        let call = CreateSnapshot {
            snapshot_type: kind,
            snapshot_path: format!("{NEW}/state"),
            mem_file_path: format!("{NEW}/memory"),
        };
        format!("PUT /snapshot/create {}", json!(call))
    };
    let load = LoadSnapshot {
        snapshot_path: format!("{WHOLE}/state"),
        mem_backend: Backend { backend_type: "File", backend_path: format!("{WHOLE}/memory") },
        track_dirty_pages: writes_changes,
        resume_vm: false,
    };
    let path = program.map_or("firecracker", |program| program.path.as_str());
    Words {
        pause: state(true),
        unpause: state(false),
        save: save("Full"),
        save_changes: if writes_changes { save("Diff") } else { String::new() },
        load: format!("PUT /snapshot/load {}", json!(load)),
        argv: [path, "--api-sock", API_SOCKET, "--id", id, "--log-path", "vmm.log", "--level", "Warning"]
            .map(str::to_owned)
            .into(),
    }
}

/// What the VMM is told when the machine's disk is to have `bytes`; the file has them already.
pub fn grow(kind: Kind, bytes: u64) -> String {
    match kind {
        Kind::Qemu => {
            json!({"execute": "block_resize", "arguments": {"device": "disk", "size": bytes}}).to_string()
        }
        Kind::Firecracker => {
            format!("PATCH /drives/disk {}", json!({"drive_id": "disk", "path_on_host": "disk.img"}))
        }
    }
}

/// The program of that kind which the host has.
pub fn program(kind: Kind, host: &HostFacts) -> Option<&Program> {
    match kind {
        Kind::Firecracker => host.firecracker.as_ref(),
        Kind::Qemu => host.qemu.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firecracker_is_told_by_its_api() {
        let program = |version: &str| Program { path: "/bin/fc".into(), version: version.into() };
        let new = words(Kind::Firecracker, Some(&program("1.16.1")), "web");
        assert_eq!(new.pause, r#"PATCH /vm {"state":"Paused"}"#);
        assert_eq!(
            new.save,
            r#"PUT /snapshot/create {"mem_file_path":"run/out/memory","snapshot_path":"run/out/state","snapshot_type":"Full"}"#
        );
        assert!(new.save_changes.contains("Diff") && new.load.contains(r#""track_dirty_pages":true"#));
        assert_eq!(new.argv[0], "/bin/fc");
        let old = words(Kind::Firecracker, Some(&program("1.14.2")), "web");
        assert!(old.save_changes.is_empty() && !old.load.contains("track"), "{old:?}");
    }

    #[test]
    fn qemu_is_told_by_lines_of_json() {
        let Words { pause, unpause, save, load, .. } = words(Kind::Qemu, None, "web");
        for line in [pause, unpause, save, load].iter().flat_map(|words| words.lines()) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["execute"].is_string(), "{line}");
        }
    }
}
