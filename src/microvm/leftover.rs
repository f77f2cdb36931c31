//! What nothing refers to any more, in MVM_HOME (resources/scripts/gc).

use super::HostFacts;
use crate::script;
use crate::shell::{Answer, AnswerError, Script};
use crate::vmm::Release;

/// What something is that was left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What a killed command was making, or removing.
    HalfMade,
    /// Of a machine that ended.
    Memory,
    /// Of which no run will go on.
    Golden,
    Download,
    Firecracker,
    Lock,
    Socket,
    /// Keys for a machine that is not there.
    Access,
    /// Of shared folders.
    Share,
}

impl Kind {
    /// As the script, and `--json`, call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::HalfMade => "half-made",
            Self::Memory => "memory",
            Self::Golden => "golden",
            Self::Download => "download",
            Self::Firecracker => "firecracker",
            Self::Lock => "lock",
            Self::Socket => "socket",
            Self::Access => "access",
            Self::Share => "share",
        }
    }

    /// Whether only what was killed leaves it.
    pub fn is_debris(self) -> bool {
        !matches!(self, Self::Golden | Self::Download | Self::Firecracker)
    }

    fn read(word: &str) -> Option<Self> {
        [Self::HalfMade, Self::Memory, Self::Download, Self::Firecracker, Self::Lock, Self::Socket]
            .into_iter()
            .find(|kind| kind.word() == word)
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::HalfMade => "what a killed command left half-made",
            Self::Memory => "memory of a machine that ended",
            Self::Golden => "a golden memory that no run will go on from",
            Self::Download => "kept from a download",
            Self::Firecracker => "a Firecracker that nothing uses",
            Self::Lock => "the lock of a machine that is gone",
            Self::Socket => "a socket that nobody answers on",
            Self::Access => "keys for a machine that is gone",
            Self::Share => "of shared folders that nobody keeps",
        }
    }
}

/// One thing that was left over on the Linux side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub kind: Kind,
    /// Below MVM_HOME.
    pub path: String,
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
    /// Whether another mvm is at work on it.
    pub busy: bool,
    /// The lock that it is removed under.
    pub lock: String,
}

/// What was left over; of Firecracker the pinned release stays, and the one that is taken.
pub fn leftovers(host: &HostFacts) -> Script<Vec<Leftover>> {
    let pinned = Release::pinned().path(&host.home);
    let taken = host.firecracker.as_ref().map_or("", |program| program.path.as_str());
    script!("gc/list" with ["cell/lib", "gc/lib"], read).input("KEEP", format!("{pinned}\n{taken}"))
}

fn read(answer: &Answer) -> Result<Vec<Leftover>, AnswerError> {
    let one = |line: &str| {
        let mut words = line.splitn(5, ' ');
        Some(Leftover {
            bytes: words.next()?.parse().ok()?,
            busy: words.next()? == "yes",
            kind: Kind::read(words.next()?)?,
            lock: words.next()?.to_owned(),
            path: words.next()?.to_owned(),
        })
    };
    let lines = answer.all("LEFT").map(|line| {
        one(line).ok_or_else(|| AnswerError::Invalid { key: "LEFT".to_owned(), value: line.to_owned() })
    });
    lines.collect()
}

/// Removes them; the answer is what that freed, in bytes, and the paths that another mvm has begun to work on.
pub fn remove_leftovers<'a>(all: impl IntoIterator<Item = &'a Leftover>) -> Script<(u64, Vec<String>)> {
    let read = |answer: &Answer| {
        // Without an MVM_HOME there is nothing.
        let freed = answer.optional("FREED")?.unwrap_or(0);
        Ok((freed, answer.all("LEFT").map(str::to_owned).collect()))
    };
    script!("gc/remove" with ["cell/lib", "gc/lib"], read)
        .args(all.into_iter().flat_map(|one| [one.lock.clone(), one.path.clone()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_whatever_is_in_a_path() {
        let text = "::mvm::\nLEFT=4096 no half-made web machines/.web.new\nLEFT=0 yes socket a machines/a/run/ports/tcp 1.sock\n";
        let read = read(&Answer::parse(text).unwrap()).unwrap();
        assert_eq!((read[0].bytes, read[0].busy, read[0].kind), (4096, false, Kind::HalfMade));
        assert_eq!((read[1].busy, read[1].path.as_str()), (true, "machines/a/run/ports/tcp 1.sock"));
        assert!(super::read(&Answer::parse("::mvm::\nLEFT=4096 no other web x\n").unwrap()).is_err());
    }
}
