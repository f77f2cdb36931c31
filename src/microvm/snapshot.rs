//! Snapshots of a machine: its disk at one moment, and the memory that went with it (resources/scripts/snapshot).

use std::fmt;
use std::str::FromStr;

use super::keys::NewKeys;
use super::overlay::{Difference, differences};
use super::steps::{freezing, syncing};
use super::{Frozen, HostFacts, Machine, MachineName, Spec};
use crate::script;
use crate::shell::{Answer, AnswerError, Script};
use crate::version;
use crate::vmm::Kind;

/// What `mvm exec --checkpoint` calls its snapshots, with a number after it.
const CHECKPOINT: &str = "checkpoint-";
/// How many of those stay, the newest.
pub const CHECKPOINTS_KEPT: u32 = 3;

/// A snapshot's name within its machine: a letter or digit, then up to 39 of letters, digits, `.`, `_` and `-`, all lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of a checkpoint.
    fn checkpoint(&self) -> Option<u32> {
        self.0.strip_prefix(CHECKPOINT)?.parse().ok()
    }

    /// Whether a user may not give it.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(CHECKPOINT)
    }
}

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let rest = |byte: u8| first(byte) || matches!(byte, b'.' | b'_' | b'-');
        let mut bytes = text.bytes();
        let valid = bytes.next().is_some_and(first) && bytes.all(rest) && !text.ends_with('-');
        if valid && text.len() <= 40 {
            Ok(Self(text.to_owned()))
        } else {
            Err("a snapshot's tag is 1 to 40 of `a-z`, `0-9`, `.`, `_` and `-`, begins with a letter or digit and does not end with `-`"
                .to_owned())
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A machine, and perhaps one of its snapshots: `NAME` or `NAME@TAG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaybeTagged {
    pub machine: MachineName,
    pub tag: Option<Tag>,
}

impl FromStr for MaybeTagged {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (machine, tag) = match text.split_once('@') {
            Some((machine, tag)) => (machine, Some(tag.parse()?)),
            None => (text, None),
        };
        Ok(Self { machine: machine.parse()?, tag })
    }
}

/// A snapshot of a machine: `NAME@TAG`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    pub machine: MachineName,
    pub tag: Tag,
}

impl FromStr for SnapshotName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let MaybeTagged { machine, tag } = text.parse()?;
        let tag = tag.ok_or_else(|| format!("give `NAME@TAG`; `mvm snapshot ls {machine}` lists them"))?;
        Ok(Self { machine, tag })
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}", self.machine, self.tag))
    }
}

/// What a machine was when a snapshot was taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Running,
    Suspended,
    Stopped,
}

impl Of {
    fn read(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "suspended" => Self::Suspended,
            _ => Self::Stopped,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Stopped => "stopped",
        }
    }
}

/// A snapshot as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub name: SnapshotName,
    /// Of its `meta`, or why that cannot be read.
    version: Result<u32, String>,
    /// When it was taken, in unix seconds.
    pub at: u64,
    pub of: Of,
    /// What its disk takes, in bytes, as if nothing of it were shared.
    pub disk: u64,
    /// What the machine was asked to be then, or why that cannot be read.
    pub spec: Result<Spec, String>,
    /// The memory that goes with it.
    pub frozen: Option<Frozen>,
}

impl Snapshot {
    /// What it takes, in bytes, as if nothing of it were shared.
    pub fn bytes(&self) -> u64 {
        self.disk + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// Whether this mvm can restore it at all; else why not.
    pub fn readable(&self) -> Result<(), String> {
        self.version.clone().map(drop)
    }

    /// Why its memory would not be restored on this host, if it has one that would not.
    pub fn unfit(&self, host: &HostFacts) -> Option<String> {
        self.frozen.as_ref().and_then(|frozen| frozen.fits(host).err())
    }
}

/// The checkpoint that was made last, of `mvm exec --checkpoint`.
pub fn last_checkpoint(snapshots: &[Snapshot]) -> Option<&Snapshot> {
    snapshots
        .iter()
        .filter(|snapshot| snapshot.name.tag.checkpoint().is_some())
        .max_by_key(|snapshot| snapshot.name.tag.checkpoint())
}

/// The snapshots of these machines, oldest first.
pub fn list<'a>(machines: impl IntoIterator<Item = &'a MachineName>) -> Script<Vec<Snapshot>> {
    script!("snapshot/list" with ["vmm/kept"], |answer| Ok(read_list(answer)))
        .args(machines.into_iter().map(MachineName::as_str))
}

fn read_list(answer: &Answer) -> Vec<Snapshot> {
    let mut snapshots: Vec<_> = answer.all("SNAPSHOT").filter_map(|key| read(key, answer)).collect();
    snapshots.sort_by_key(|snapshot| (snapshot.name.machine.clone(), snapshot.at, snapshot.name.tag.clone()));
    snapshots
}

/// `None` for a folder that is none of mvm's.
fn read(key: &str, answer: &Answer) -> Option<Snapshot> {
    let of = |fact: &str| answer.text(&format!("{fact}.{key}"));
    let lines = |fact: &str| of(fact).unwrap_or_default();
    let meta = |wanted: &str| {
        lines("META")
            .split('\t')
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == wanted)
            .map(|(_, value)| value)
    };
    let number = |wanted: &str| meta(wanted).and_then(|value| value.parse().ok()).unwrap_or(0);
    let frozen = of("FROZEN").map(|meta| Frozen::read(meta.split('\t'), lines("FROZEN_NOW")));
    Some(Snapshot {
        name: key.parse().ok()?,
        version: version::SNAPSHOT.check_text(meta("FORMAT").unwrap_or_default()),
        at: number("AT"),
        of: Of::read(meta("OF").unwrap_or_default()),
        disk: lines("DISK").parse().unwrap_or(0),
        spec: Spec::parse(lines("SPEC")),
        frozen,
    })
}

/// A snapshot that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub tag: String,
    pub of: Of,
    /// Bytes.
    pub disk: u64,
    /// Bytes; nothing where it has no memory.
    pub memory: Option<u64>,
    /// How long the machine stood still, in milliseconds.
    pub paused: u64,
    /// All in all, in milliseconds.
    pub took: u64,
    /// Whether the guest wrote out its files before.
    pub synced: bool,
}

/// Which tag a snapshot is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Called {
    /// The next number.
    Number,
    Tag(Tag),
    Checkpoint,
}

/// Takes a snapshot of `machine` as it is.
pub fn create(machine: &Machine, called: &Called, host: &HostFacts) -> Script<Taken> {
    let script =
        script!("snapshot/create" with ["cell/lib", "microvm/lib", "vmm/lib", "vmm/freeze"], read_taken);
    let script = of_machine(script, machine, host);
    let (tag, keep) = match called {
        Called::Number => ("", 0),
        Called::Tag(tag) => (tag.as_str(), 0),
        Called::Checkpoint => (CHECKPOINT, CHECKPOINTS_KEPT),
    };
    script
        .input("FORMAT", version::SNAPSHOT.version.to_string())
        .input("TAG", tag)
        .input("KEEP", keep.to_string())
}

fn read_taken(answer: &Answer) -> Result<Taken, AnswerError> {
    Ok(Taken {
        tag: answer.get("TAG")?,
        of: Of::read(answer.text("OF").unwrap_or_default()),
        disk: answer.get("DISK")?,
        memory: answer.optional("MEMORY")?,
        paused: answer.get("PAUSED")?,
        took: answer.get("TOOK")?,
        synced: answer.text("SYNCED") == Some("yes"),
    })
}

/// What differs between a snapshot and another one, or the present disk of `machine`; both lie over the image `image_id`.
pub fn diff(
    one: &SnapshotName,
    other: &MaybeTagged,
    machine: &Machine,
    image_id: &str,
    host: &HostFacts,
) -> Script<Vec<Difference>> {
    let script = script!("snapshot/diff" with ["cell/lib", "microvm/lib", "vmm/lib", "vmm/freeze"], |answer| Ok(differences(answer)));
    let script = of_machine(script, machine, host);
    let disk = |machine: &MachineName, tag: Option<&Tag>| match tag {
        Some(tag) => format!("{machine}/snapshots/{tag}/disk.img"),
        None => format!("{machine}/disk.img"),
    };
    script
        .input("ONE", disk(&one.machine, Some(&one.tag)))
        .input("OTHER", disk(&other.machine, other.tag.as_ref()))
        .input("IMAGE", image_id)
}

/// With what a script needs that has the machine stand still, where it runs.
fn of_machine<T>(script: Script<T>, machine: &Machine, host: &HostFacts) -> Script<T> {
    let kind = machine.state.running().and_then(|running| Kind::read(&running.vmm));
    match (kind, machine.started_as()) {
        (Some(kind), Some(spec)) => freezing(script, spec, kind, host),
        _ => script.input("NAME", machine.name.as_str()),
    }
}

/// Removes a snapshot; the answer is what that freed, in bytes.
pub fn remove(name: &SnapshotName) -> Script<u64> {
    script!("snapshot/remove" with ["cell/lib"], |answer| answer.get("FREED"))
        .input("NAME", name.machine.as_str())
        .input("TAG", name.tag.as_str())
}

/// Makes a machine what the snapshot is, with its memory or without; it is `used_up`, or stays. The answer is why the memory was
/// lost, where that is found out only then.
pub fn restore(name: &SnapshotName, home: &str, memory: bool, used_up: bool) -> Script<Option<String>> {
    let yes = |is: bool| if is { "yes" } else { "no" };
    script!("snapshot/restore" with ["cell/lib", "microvm/lib", "vmm/lib", "snapshot/lib"], |answer| answer.optional("LOST"))
        .input("NAME", name.machine.as_str())
        .input("TAG", name.tag.as_str())
        .input("MEMORY", yes(memory))
        .input("MOVE", yes(used_up))
        .args(syncing(home, &name.machine))
}

/// Makes the machine `spec` of the snapshot, with its memory or without; the answer is as that of [`restore`].
pub fn clone(name: &SnapshotName, spec: &Spec, memory: bool) -> anyhow::Result<Script<Option<String>>> {
    let script = script!("snapshot/clone" with ["cell/lib", "microvm/lib", "vmm/lib", "snapshot/lib"], |answer| answer.optional("LOST"));
    Ok(script
        .input("NAME", name.machine.as_str())
        .input("TAG", name.tag.as_str())
        .input("NEW_NAME", spec.name.as_str())
        .input("MEMORY", if memory { "yes" } else { "no" })
        .payload([&spec.line()?, NewKeys::make(spec.name.as_str())?.line()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name: SnapshotName = "web@before-upgrade".parse().unwrap();
        assert_eq!((name.machine.as_str(), name.tag.as_str()), ("web", "before-upgrade"));
        assert_eq!(name.to_string(), "web@before-upgrade");
        for bad in
            ["web", "web@", "@a", "web@-a", "web@.new", "web@A", "web@a/b", "web@a@b", "web@a-", "web@.."]
        {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
        let machine: MaybeTagged = "web".parse().unwrap();
        assert_eq!(machine.tag, None);
        assert!("checkpoint-1".parse::<Tag>().unwrap().is_reserved());
    }

    fn answer() -> Answer {
        Answer::parse(
            "::mvm::\nSNAPSHOT=web@checkpoint-9\nMETA.web@checkpoint-9=FORMAT=1\tAT=300\tOF=running\tDISK=1024 7.5 abc\t\n\
             DISK.web@checkpoint-9=4096\nFROZEN.web@checkpoint-9=FORMAT=1\tAT=299\tMEMORY=512\t\n\
             FROZEN_NOW.web@checkpoint-9=300 512 1024 7.5\n\
             SNAPSHOT=web@checkpoint-10\nMETA.web@checkpoint-10=FORMAT=2\tAT=400\tOF=stopped\t\nDISK.web@checkpoint-10=8\n\
             SNAPSHOT=web@1\nMETA.web@1=FORMAT=1\tAT=100\tOF=suspended\t\nDISK.web@1=1\nSNAPSHOT=web@lost+found\n",
        )
        .unwrap()
    }

    #[test]
    fn what_is_there_is_listed_oldest_first() {
        let snapshots = read_list(&answer());
        let names: Vec<_> = snapshots.iter().map(|snapshot| snapshot.name.to_string()).collect();
        assert_eq!(names, ["web@1", "web@checkpoint-9", "web@checkpoint-10"]);
        assert_eq!((snapshots[1].bytes(), snapshots[1].of), (4096 + 300, Of::Running));
        assert!(snapshots[1].readable().is_ok() && snapshots[2].readable().is_err());
        assert_eq!(snapshots[0].frozen, None);
        // No VMM of this host wrote that memory.
        assert!(snapshots[1].unfit(&HostFacts::default()).is_some());
        assert_eq!(last_checkpoint(&snapshots).unwrap().name.tag.as_str(), "checkpoint-10");
        assert_eq!(last_checkpoint(&snapshots[..1]), None);
    }
}
