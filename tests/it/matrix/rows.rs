//! The matrix: each command that changes something, from each state that matters, with the places at which harm is done.

use super::fault::Fault;
use super::host::{Before, Vmm};

/// What the machine's disk may have of its guest's file afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// What was fsynced last.
    Last,
    /// That, or what the command is to bring back or to make of it: `first` in snapshots, nothing on an empty disk.
    LastOr(&'static str),
    /// The machine is new.
    None,
}

pub(super) struct Row {
    pub(super) vmm: Vmm,
    /// As in the report; words that are no flags name the command for `every_command_is_in_the_matrix`.
    pub(super) command: &'static [&'static str],
    pub(super) before: Before,
    pub(super) data: Data,
    pub(super) places: &'static [&'static str],
}

const fn row(
    command: &'static [&'static str],
    before: Before,
    data: Data,
    places: &'static [&'static str],
) -> Row {
    Row { vmm: Vmm::Qemu, command, before, data, places }
}

/// Where Firecracker is spoken to otherwise than QEMU, or keeps its memory otherwise.
const fn firecracker(
    command: &'static [&'static str],
    before: Before,
    data: Data,
    places: &'static [&'static str],
) -> Row {
    Row { vmm: Vmm::Firecracker, command, before, data, places }
}

/// In place of a port of this host that no other cell has.
pub(super) const PORT: &str = "PORT";

use Before::{
    Checkpointed, Golden, Kept, Littered, Nothing, Resumed, Running, RunningKept, Stopped, Suspended,
};

/// The steps of a resume, whichever VMM it is.
const RESUMES: &[&str] = &["start.locked", "start.loaded", "start.thawing", "start.resumed", "start.ready"];
/// Those of a suspension, once its script is at work.
const SUSPENDS: &[&str] =
    &["freeze.begun", "freeze.paused", "freeze.written", "suspend.synced", "suspend.placed", "suspend.ended"];

pub(super) const ROWS: &[Row] = &[
    row(
        &["start", "web", "-d", "--disk", "64M", "--memory", "128M"],
        Nothing,
        Data::None,
        &[
            "sends microvm/create",
            "create.begun",
            "create.made",
            "create.placed",
            "sends microvm/start",
            "start.locked",
            "start.prepared",
            "start.written",
            "start.supervised",
            "start.ready",
        ],
    ),
    row(
        &["dev", "web", "--disk", "96M"],
        Stopped,
        Data::Last,
        &["start.locked", "start.grows", "start.written", "start.supervised"],
    ),
    row(&["resume", "web"], Suspended, Data::LastOr("first"), RESUMES),
    row(
        &["stop", "web"],
        Running,
        Data::Last,
        &["sends microvm/stop", "stop.locked", "stop.asked", "stop.ended"],
    ),
    row(&["stop", "web"], Suspended, Data::LastOr("first"), &["stop.asked", "stop.ended"]),
    row(
        &["suspend", "web"],
        Running,
        Data::Last,
        &[
            "sends microvm/suspend",
            "freeze.begun",
            "freeze.paused",
            "freeze.written",
            "suspend.synced",
            "suspend.placed",
            "suspend.ended",
        ],
    ),
    row(
        &["snapshot", "create", "web@now"],
        Running,
        Data::Last,
        &[
            "sends snapshot/create",
            "snapshot.begun",
            "freeze.begun",
            "freeze.paused",
            "freeze.written",
            "freeze.goes-on",
            "freeze.kept",
            "snapshot.copied",
            "snapshot.synced",
            "snapshot.placed",
        ],
    ),
    row(&["snapshot", "create", "web@now"], Stopped, Data::Last, &["snapshot.begun", "snapshot.synced"]),
    row(
        &["snapshot", "restore", "web@kept", "--yes"],
        RunningKept,
        Data::LastOr("first"),
        &[
            "sends snapshot/restore",
            "restore.copied",
            "restore.ended",
            "restore.decided",
            "restore.disk",
            "restore.memory",
            "sends microvm/start",
        ],
    ),
    row(
        &["snapshot", "restore", "web@kept", "--yes"],
        Kept,
        Data::LastOr("first"),
        &["restore.copied", "restore.decided", "restore.disk"],
    ),
    row(
        &["snapshot", "restore", "web@kept", "--as", "copy"],
        Kept,
        Data::LastOr("first"),
        &["sends snapshot/clone", "clone.copied", "clone.made", "clone.placed"],
    ),
    row(
        &["undo", "web", "--yes"],
        Checkpointed,
        Data::LastOr("first"),
        &[
            "sends snapshot/restore",
            "restore.copied",
            "restore.ended",
            "restore.decided",
            "restore.disk",
            "restore.memory",
            "sends microvm/start",
        ],
    ),
    row(
        &["snapshot", "rm", "web@kept", "--yes"],
        Kept,
        Data::Last,
        &["sends snapshot/remove", "snapshot-remove.renamed"],
    ),
    row(
        &["fork", "web", "-n", "2"],
        Running,
        Data::Last,
        &[
            "sends microvm/fork",
            "freeze.paused",
            "freeze.kept",
            "fork.frozen",
            "fork.made",
            "fork.placed",
            "start.loaded",
            "start.resumed",
            "start.ready",
        ],
    ),
    row(
        &["fork", "web", "-n", "2", "--", "true"],
        Running,
        Data::Last,
        &["fork.placed", "start.loaded", "start.ready", "remove.ended"],
    ),
    row(
        &["exec", "--checkpoint", "web", "--", "true"],
        Running,
        Data::Last,
        &["sends snapshot/create", "freeze.written", "snapshot.placed"],
    ),
    row(
        &["set", "web", "--memory", "192M"],
        Stopped,
        Data::Last,
        &["sends microvm/set", "spec.written", "set.written"],
    ),
    row(
        &["set", "web", "--disk", "96M"],
        Running,
        Data::Last,
        &["set.written", "sends microvm/grow", "grow.truncated", "grow.grown"],
    ),
    row(
        &["port", "add", PORT, "web"],
        Running,
        Data::Last,
        &["sends microvm/ports", "spec.written", "ports.written", "ports.asked"],
    ),
    row(
        &["net", "set", "none", "web"],
        Running,
        Data::Last,
        &["sends microvm/net", "net.ruled", "net.asked", "spec.written"],
    ),
    row(&["net", "set", "none", "web"], Stopped, Data::Last, &["sends microvm/net", "spec.written"]),
    row(&["gc", "--yes"], Littered, Data::Last, &["sends gc/remove", "gc.removed"]),
    row(
        &["rename", "web", "shop"],
        Stopped,
        Data::Last,
        &["sends microvm/rename", "rename.known", "rename.moved", "rename.written"],
    ),
    row(
        &["reset", "web", "--yes"],
        Running,
        Data::LastOr(""),
        &["sends microvm/reset", "reset.ended", "reset.made", "reset.placed"],
    ),
    row(
        &["destroy", "web", "--yes"],
        Running,
        Data::LastOr(""),
        &["sends microvm/destroy", "remove.ended", "remove.renamed", "remove.removed"],
    ),
    row(
        &["run", "--quiet", "--", "true"],
        Nothing,
        Data::None,
        &[
            "create.placed",
            "start.ready",
            "sends golden/make",
            "golden.frozen",
            "golden.synced",
            "remove.ended",
        ],
    ),
    row(
        &["run", "--quiet", "--", "true"],
        Golden,
        Data::None,
        &["create.placed", "start.loaded", "start.resumed", "start.ready", "remove.ended"],
    ),
    row(
        &["image", "import", "app.tar", "--as", "app"],
        Stopped,
        Data::Last,
        &[
            "sends image/pack",
            "pack.written",
            "sends image/seal",
            "seal.linked",
            "seal.described",
            "image.synced",
            "image.placed",
        ],
    ),
    row(&["image", "rm", "app"], Stopped, Data::Last, &["sends image/remove", "image-remove.renamed"]),
    firecracker(
        &["start", "web", "-d", "--disk", "64M", "--memory", "128M"],
        Nothing,
        Data::None,
        &["start.written", "start.supervised", "start.ready"],
    ),
    firecracker(&["resume", "web"], Suspended, Data::LastOr("first"), RESUMES),
    firecracker(&["stop", "web"], Running, Data::Last, &["stop.locked", "stop.asked", "stop.ended"]),
    firecracker(&["suspend", "web"], Running, Data::Last, SUSPENDS),
    firecracker(&["suspend", "web"], Resumed, Data::Last, SUSPENDS),
    firecracker(
        &["snapshot", "create", "web@now"],
        Resumed,
        Data::Last,
        &[
            "freeze.begun",
            "freeze.paused",
            "freeze.written",
            "freeze.goes-on",
            "freeze.kept",
            "snapshot.synced",
        ],
    ),
    firecracker(
        &["snapshot", "restore", "web@kept", "--yes"],
        RunningKept,
        Data::LastOr("first"),
        &["restore.copied", "restore.decided", "restore.disk", "restore.memory"],
    ),
    firecracker(
        &["fork", "web", "-n", "2"],
        Running,
        Data::Last,
        &[
            "freeze.paused",
            "freeze.kept",
            "fork.frozen",
            "fork.made",
            "fork.placed",
            "start.loaded",
            "start.resumed",
            "start.ready",
        ],
    ),
    firecracker(&["set", "web", "--disk", "96M"], Running, Data::Last, &["grow.truncated", "grow.grown"]),
    firecracker(
        &["run", "--quiet", "--", "true"],
        Nothing,
        Data::None,
        &["start.ready", "golden.frozen", "golden.synced", "remove.ended"],
    ),
    firecracker(
        &["run", "--quiet", "--", "true"],
        Golden,
        Data::None,
        &["create.placed", "start.loaded", "start.resumed", "start.ready", "remove.ended"],
    ),
];

/// Places that are in no row, and why.
pub(super) const EXCUSED_PLACES: &[(&str, &str)] = &[
    ("receive.written", "tests/it/ubuntu.rs cuts these downloads"),
    (
        "derive.written",
        "the kernel of one's own arrives as image/pack's input does, and is placed by the same function",
    ),
    ("firecracker.unpacked", "tests/it/firecracker_release.rs cuts this download"),
    ("firecracker.placed", "tests/it/firecracker_release.rs repeats it"),
    ("debian.built", "it needs Debian's packages; tests/vm/image.rs kills it"),
    ("sends bootstrap/admin", "it changes the host by its own package manager alone"),
    ("sends image/debian", "it needs Debian's packages; tests/vm/image.rs kills it"),
    ("sends image/derive", "see derive.written"),
    ("sends image/receive", "see receive.written"),
    ("sends image/ubuntu", "see receive.written"),
    ("sends lima/provision", "tests/vm/lima/faults.rs kills it"),
    ("sends vmm/firecracker", "see firecracker.unpacked"),
];

/// Commands that are in no row, and why.
pub(super) const EXCUSED_COMMANDS: &[(&str, &str)] = &[
    ("up", "it is `start` for each machine of mvm.toml, tests/it/project.rs"),
    ("down", "it is `stop` for each machine of mvm.toml"),
    ("ssh", "what it changes is the guest's"),
    ("shell", "what it changes is the Lima VM's"),
    ("cp", "it writes files of the user's own, tests/vm/session.rs"),
    ("mount", "what it serves ends with mvm, tests/vm/mount.rs"),
    ("bench", "it is `run` and `stop`, timed"),
    ("setup", "packages and images: see the places that are not in the matrix"),
    ("bootstrap", "`setup`, after Lima's installation, tests/it/lima.rs"),
    ("ssh-config", "one file, written by one rename, tests/it/access.rs"),
    ("completions", "one file, written by one rename"),
    ("man", "files of mvm's own"),
    ("verify", "it changes nothing"),
    ("proxy", "it changes nothing"),
    ("diff", "it changes nothing"),
    ("ls", "it changes nothing"),
    ("logs", "it changes nothing"),
    ("console", "what it changes is the guest's"),
    ("top", "it changes nothing"),
    ("why", "it changes nothing"),
    ("status", "it changes nothing"),
    ("doctor", "it changes nothing"),
    ("schema", "it changes nothing"),
];

impl Row {
    /// What is there before the command, as in the report.
    pub(super) fn from(&self) -> String {
        let before = format!("{:?}", self.before).to_lowercase();
        match self.vmm {
            Vmm::Qemu => before,
            Vmm::Firecracker => format!("{before}, Firecracker"),
        }
    }

    /// Whether this harm can be done there, and is another one than at the other places.
    pub(super) fn has(&self, place: &str, fault: Fault) -> bool {
        // mvm itself waits there, and no script has been sent yet.
        if place.starts_with("sends ") {
            return match fault {
                Fault::AllKilled | Fault::TwoAtOnce => true,
                Fault::Cut => place == "sends image/pack",
                _ => false,
            };
        }
        let begins = [
            "start.supervised",
            "start.loaded",
            "start.thawing",
            "start.resumed",
            "start.ready",
            "golden.frozen",
        ];
        let over = [
            "stop.ended",
            "suspend.ended",
            "restore.ended",
            "restore.decided",
            "restore.disk",
            "restore.memory",
        ];
        let runs = match self.before {
            Before::Running | Before::RunningKept | Before::Resumed | Before::Checkpointed => {
                !over.contains(&place) && !place.starts_with("reset.") && !place.starts_with("remove.")
            }
            _ => begins.contains(&place),
        };
        let waits = ["start.", "stop.", "freeze.", "suspend.", "ports.", "golden."];
        match fault {
            Fault::VmmKilled | Fault::SupervisorKilled | Fault::PidReused => runs,
            // Whatever is done, the supervisor starts another one.
            Fault::PastaKilled => runs && (place.starts_with("st") || place == "freeze.paused"),
            Fault::ClockAhead | Fault::ClockBack => waits.iter().any(|start| place.starts_with(start)),
            Fault::Cut => false,
            // It would wait for three minutes, as for any guest that does not come up.
            Fault::MemoryShort => place != "start.supervised",
            _ => true,
        }
    }
}
