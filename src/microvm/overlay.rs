//! What a machine's root is made of, seen from outside: its disk's folder `upper` over the image's base, as the kernel's overlayfs lays
//! them. Read from the words of `debugfs` and `unsquashfs` (resources/scripts/snapshot/diff.sh).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::shell::Answer;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Meta {
    /// As `ls -l` begins its lines: `-`, `d`, `l`, `c` …
    kind: char,
    /// The twelve bits of permissions.
    mode: u32,
    /// `user/group`
    owner: String,
    size: u64,
    /// Of the last write; as the file system wrote it.
    time: String,
    /// Where a link leads, a device's numbers.
    target: String,
}

/// A file or folder of a disk.
#[derive(Debug, Clone, Default)]
struct Inode {
    meta: Meta,
    /// A folder that hides what the base has there.
    opaque: bool,
    /// Where the base has what this folder lies over, if not in its own place.
    redirect: Option<String>,
    /// A folder's entries.
    below: Vec<(String, u32)>,
}

impl Inode {
    /// What overlayfs leaves where something of the base was removed.
    fn is_whiteout(&self) -> bool {
        self.meta.kind == 'c' && self.meta.target == "0:0"
    }
}

/// A disk, or a base that is ext4.
#[derive(Debug, Clone, Default)]
struct Disk {
    inodes: HashMap<u32, Inode>,
    /// The folders that machines see of it, by their name on it.
    roots: HashMap<String, u32>,
}

impl Disk {
    fn read(answer: &Answer, key: &str) -> Self {
        let mut disk = Self::default();
        for root in answer.all(&format!("{key}_ROOT")).filter_map(|line| line.split_once(' ')) {
            if let Ok(inode) = root.1.parse() {
                disk.roots.insert(root.0.to_owned(), inode);
            }
        }
        let mut folder = 0;
        for line in answer.all(&format!("{key}_LS")) {
            if let Some(inode) = line.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
                folder = inode.parse().unwrap_or(0);
            } else if let Some((name, inode)) = read_entry(line) {
                disk.inodes.entry(folder).or_default().below.push((name.to_owned(), inode));
            }
        }
        let mut inode = 0;
        for line in answer.all(&format!("{key}_STAT")) {
            if let Some(rest) = line.strip_prefix("Inode:") {
                inode = rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
            }
            read_stat(line, disk.inodes.entry(inode).or_default());
        }
        disk
    }
}

/// `/INODE/MODE/UID/GID/NAME/SIZE/`; a name has no `/`.
fn read_entry(line: &str) -> Option<(&str, u32)> {
    let mut words = line.strip_prefix('/')?.split('/');
    let inode = words.next()?.parse().ok()?;
    let name = words.nth(3)?;
    (!matches!(name, "" | "." | "..") && inode != 0).then_some((name, inode))
}

/// A line of debugfs's `stat`.
fn read_stat(line: &str, inode: &mut Inode) {
    let after = |word: &str| {
        let rest = line.split_once(word)?.1.trim_start();
        Some(rest.split(|c: char| c.is_whitespace()).next().unwrap_or_default())
    };
    if line.starts_with("Inode:") {
        inode.meta.kind = match after("Type:") {
            Some("regular") => '-',
            Some("directory") => 'd',
            Some("symlink") => 'l',
            Some("character") => 'c',
            Some("block") => 'b',
            Some("FIFO") => 'p',
            Some("socket") => 's',
            _ => '?',
        };
        inode.meta.mode = after("Mode:").and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(0);
    } else if line.starts_with("User:") {
        inode.meta.owner =
            format!("{}/{}", after("User:").unwrap_or_default(), after("Group:").unwrap_or_default());
        inode.meta.size = after("Size:").and_then(|size| size.parse().ok()).unwrap_or(0);
    } else if line.starts_with("mtime:") {
        after("mtime:").unwrap_or_default().clone_into(&mut inode.meta.time);
    } else if let Some(target) = line.strip_prefix("Fast link dest: ") {
        target.trim_matches('"').clone_into(&mut inode.meta.target);
    } else if line.contains("Device major/minor") {
        // `(New-style) Device major/minor number: 00:00 (hex 00:00)`
        let numbers = after("number:").and_then(|numbers| numbers.split_once(':')).unwrap_or_default();
        let number = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        inode.meta.target = format!("{}:{}", number(numbers.0), number(numbers.1));
    } else if line.starts_with("trusted.overlay.opaque") {
        inode.opaque = line.ends_with("\"y\"");
    } else if let Some((_, value)) =
        line.strip_prefix("trusted.overlay.redirect").and_then(|line| line.split_once(" = "))
    {
        inode.redirect = Some(value.trim_matches('"').to_owned());
    }
}

/// An image's base: what is at each path.
#[derive(Debug, Clone, Default)]
struct Base {
    metas: HashMap<String, Meta>,
    below: HashMap<String, Vec<String>>,
}

impl Base {
    fn read(answer: &Answer) -> Self {
        let mut base = Self::default();
        for (path, meta) in answer.all("BASE").filter_map(read_listed) {
            base.add(&path, meta);
        }
        let disk = Disk::read(answer, "BASE");
        let mut folders = vec![(String::new(), 2)];
        let mut seen = BTreeSet::new();
        while let Some((path, inode)) = folders.pop() {
            let Some(folder) = disk.inodes.get(&inode).filter(|_| seen.insert(inode)) else { continue };
            for (name, inode) in &folder.below {
                let path = format!("{path}/{name}");
                base.add(&path, disk.inodes.get(inode).map(|inode| inode.meta.clone()).unwrap_or_default());
                folders.push((path, *inode));
            }
        }
        base
    }

    fn add(&mut self, path: &str, meta: Meta) {
        if let Some((parent, name)) = path.rsplit_once('/') {
            self.below.entry(parent.to_owned()).or_default().push(name.to_owned());
        }
        self.metas.insert(path.to_owned(), meta);
    }

    fn is_folder(&self, path: &str) -> bool {
        path.is_empty() || self.metas.get(path).is_some_and(|meta| meta.kind == 'd')
    }
}

/// A line of `unsquashfs -lln`: `-rw-r--r-- 0/0   3040 2023-05-25 15:54 /etc/adduser.conf`.
fn read_listed(line: &str) -> Option<(String, Meta)> {
    let (permissions, rest) = line.split_once(' ')?;
    let (owner, rest) = rest.trim_start().split_once(' ')?;
    // A device has two numbers there: `1, 3`.
    let (numbers, rest) = rest.split_once('/').map(|(before, path)| (before.trim(), format!("/{path}")))?;
    let mut words = numbers.rsplitn(3, ' ');
    let (clock, day) = (words.next()?, words.next()?);
    let size = words.next()?.trim();
    let kind = permissions.chars().next()?;
    let (path, target) = match rest.split_once(" -> ").filter(|_| kind == 'l') {
        Some((path, target)) => (path.to_owned(), target.to_owned()),
        None => (rest, size.replace(", ", ":")),
    };
    let target = if matches!(kind, 'l' | 'c' | 'b') { target } else { String::new() };
    let meta = Meta {
        kind,
        mode: mode_of(permissions),
        owner: owner.to_owned(),
        size: size.parse().unwrap_or(0),
        time: format!("{day} {clock}"),
        target,
    };
    Some((path, meta))
}

/// The bits of `drwxr-sr-t`.
fn mode_of(permissions: &str) -> u32 {
    let mut mode = 0;
    for (index, letter) in permissions.chars().skip(1).take(9).enumerate() {
        let (bit, special) = (0o400 >> index, [0o4000, 0o2000, 0o1000][index / 3]);
        mode |= match letter {
            '-' => 0,
            's' | 't' => bit | special,
            'S' | 'T' => special,
            _ => bit,
        };
    }
    mode
}

/// What a machine sees at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen<'a> {
    /// Its own, on its disk.
    Own(&'a Meta),
    /// The base's, and where that has it.
    Base(&'a Meta, String),
}

type Tree<'a> = BTreeMap<String, Seen<'a>>;

/// What the machine of a disk sees.
fn tree<'a>(disk: &'a Disk, base: &'a Base) -> Tree<'a> {
    let mut tree = Tree::new();
    // Where the disk itself serves there is nothing below.
    let own = [("docker", "/var/lib/docker"), ("containerd", "/var/lib/containerd")];
    let mut left = vec![(String::new(), disk.roots.get("upper").copied(), Some(String::new()))];
    left.extend(
        own.iter().filter_map(|(name, path)| Some(((*path).to_owned(), Some(*disk.roots.get(*name)?), None))),
    );
    let mut seen = BTreeSet::new();
    while let Some((path, upper, lower)) = left.pop() {
        let upper = upper.filter(|inode| seen.insert(*inode)).and_then(|inode| disk.inodes.get(&inode));
        let mut hidden = BTreeSet::new();
        for (name, number) in upper.iter().flat_map(|inode| &inode.below) {
            hidden.insert(name);
            let Some(inode) = disk.inodes.get(number) else { continue };
            let path = format!("{path}/{name}");
            if inode.is_whiteout() && lower.is_some() {
                continue;
            }
            if inode.meta.kind == 'd' && !own.iter().any(|(_, own)| path == *own) {
                let there = match (&inode.redirect, &lower) {
                    _ if inode.opaque => None,
                    (Some(from), _) if from.starts_with('/') => Some(from.clone()),
                    (Some(from), Some(lower)) => Some(format!("{lower}/{from}")),
                    (None, Some(lower)) => Some(format!("{lower}/{name}")),
                    (_, None) => None,
                };
                left.push((path.clone(), Some(*number), there.filter(|there| base.is_folder(there))));
            }
            tree.insert(path, Seen::Own(&inode.meta));
        }
        let Some(lower) = lower else { continue };
        for name in base.below.get(&lower).into_iter().flatten().filter(|name| !hidden.contains(name)) {
            let (path, there) = (format!("{path}/{name}"), format!("{lower}/{name}"));
            let Some(meta) = base.metas.get(&there) else { continue };
            if meta.kind == 'd' && !own.iter().any(|(_, own)| path == *own) {
                left.push((path.clone(), None, Some(there.clone())));
            }
            tree.insert(path, Seen::Base(meta, there));
        }
    }
    tree
}

/// Whether two states of a file are the same, as far as that can be told without reading it.
fn same(one: &Seen<'_>, other: &Seen<'_>) -> bool {
    let alike = |one: &Meta, other: &Meta| {
        one.kind == other.kind
            && one.mode == other.mode
            && one.owner == other.owner
            && one.target == other.target
    };
    match (one, other) {
        (Seen::Base(_, one), Seen::Base(_, other)) if one == other => true,
        // A folder's size and times are its entries' business.
        (Seen::Own(one) | Seen::Base(one, _), Seen::Own(other) | Seen::Base(other, _)) if one.kind == 'd' => {
            alike(one, other)
        }
        (Seen::Own(one), Seen::Own(other)) | (Seen::Base(one, _), Seen::Base(other, _)) => {
            alike(one, other) && one.size == other.size && one.time == other.time
        }
        // The base's own times are known to the minute only: what was copied up was touched.
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Added,
    Changed,
    Removed,
}

impl How {
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// A path that is not the same on both disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub how: How,
    pub path: String,
    pub folder: bool,
}

/// What differs between the machines of two disks, in the order of paths.
pub fn differences(answer: &Answer) -> Vec<Difference> {
    let base = Base::read(answer);
    let (one, other) = (Disk::read(answer, "A"), Disk::read(answer, "B"));
    let (one, other) = (tree(&one, &base), tree(&other, &base));
    let paths: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let folder = |seen: &Seen<'_>| matches!(seen, Seen::Own(meta) | Seen::Base(meta, _) if meta.kind == 'd');
    paths
        .into_iter()
        .filter_map(|path| {
            let (how, seen) = match (one.get(path), other.get(path)) {
                (Some(one), Some(other)) if same(one, other) => return None,
                (Some(_), Some(other)) => (How::Changed, other),
                (Some(one), None) => (How::Removed, one),
                (None, Some(other)) => (How::Added, other),
                (None, None) => return None,
            };
            Some(Difference { how, path: path.clone(), folder: folder(seen) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As debugfs 1.47 and unsquashfs 4.5 write it.
    const ANSWER: &str = r#"::mvm::
BASE=drwxr-xr-x 0/0                     269 2026-11-28 07:15 
BASE=drwxr-xr-x 0/0                    1919 2026-11-28 07:15 /etc
BASE=-rw-r--r-- 0/0                    3040 2023-05-25 15:54 /etc/adduser.conf
BASE=-rw-r--r-- 0/0                    1974 2023-05-25 15:54 /etc/passwd
BASE=lrwxrwxrwx 0/0                      13 2022-06-17 15:35 /etc/mtab -> /proc/mounts
BASE=drwxr-xr-x 0/0                      20 2026-11-28 07:15 /opt
BASE=-rwsr-xr-t 0/0                    9999 2026-11-28 07:15 /opt/tool
BASE=crw-rw-rw- 0/0                  1,   3 2026-11-28 07:15 /opt/null
A_ROOT=upper 20
A_LS=<20>
A_LS=/20/040755/0/0/.//
A_LS=/21/040755/0/0/etc//
A_LS=<21>
A_LS=/22/100644/0/0/new/5/
A_LS=/23/100644/0/0/kept/5/
A_STAT=Inode: 21   Type: directory    Mode:  0755   Flags: 0x80000
A_STAT=Inode: 22   Type: regular    Mode:  0644   Flags: 0x80000
A_STAT=User:     0   Group:     0   Project:     0   Size: 5
A_STAT=mtime: 0x6b0a7fae:baaab0f4 -- Sat Nov 28 07:15:58 2026
A_STAT=Inode: 23   Type: regular    Mode:  0644   Flags: 0x80000
A_STAT=User:     0   Group:     0   Project:     0   Size: 5
A_STAT=mtime: 0x6b0a7fae:00000000 -- Sat Nov 28 07:15:58 2026
B_ROOT=upper 30
B_LS=<30>
B_LS=/31/040755/0/0/etc//
B_LS=/37/020000/0/0/opt//
B_LS=/38/040755/0/0/moved//
B_LS=<31>
B_LS=/32/100644/0/0/new/5/
B_LS=/33/100644/0/0/kept/5/
B_LS=/34/020000/0/0/adduser.conf//
B_LS=/35/100644/0/0/passwd/1974/
B_LS=/36/120777/0/0/a b/7/
B_LS=/31/040755/0/0/circle//
B_STAT=Inode: 31   Type: directory    Mode:  0755   Flags: 0x80000
B_STAT=Inode: 32   Type: regular    Mode:  0644   Flags: 0x80000
B_STAT=User:     0   Group:     0   Project:     0   Size: 5
B_STAT=mtime: 0x6b0a8000:baaab0f4 -- Sat Nov 28 07:17:20 2026
B_STAT=Inode: 33   Type: regular    Mode:  0644   Flags: 0x80000
B_STAT=User:     0   Group:     0   Project:     0   Size: 5
B_STAT=mtime: 0x6b0a7fae:00000000 -- Sat Nov 28 07:15:58 2026
B_STAT=Inode: 34   Type: character special    Mode:  0000   Flags: 0x0
B_STAT=Device major/minor number: 00:00 (hex 00:00)
B_STAT=Inode: 35   Type: regular    Mode:  0644   Flags: 0x80000
B_STAT=Inode: 36   Type: symlink    Mode:  0777   Flags: 0x0
B_STAT=Fast link dest: "usr/bin"
B_STAT=Inode: 37   Type: character special    Mode:  0000   Flags: 0x0
B_STAT=(New-style) Device major/minor number: 00:00 (hex 00:00)
B_STAT=Inode: 38   Type: directory    Mode:  0755   Flags: 0x80000
B_STAT=trusted.overlay.redirect (3) = "opt"
"#;

    fn shown(answer: &str) -> Vec<String> {
        let answer = Answer::parse(answer).unwrap();
        let shown = |difference: &Difference| {
            format!(
                "{} {}{}",
                difference.how.word(),
                difference.path,
                if difference.folder { "/" } else { "" }
            )
        };
        differences(&answer).iter().map(shown).collect()
    }

    #[test]
    fn a_disk_is_seen_over_its_base() {
        assert_eq!(
            shown(ANSWER),
            [
                "added /etc/a b",
                "removed /etc/adduser.conf",
                "added /etc/circle/",
                "changed /etc/new",
                "changed /etc/passwd",
                "added /moved/",
                "added /moved/null",
                "added /moved/tool",
                "removed /opt/",
                "removed /opt/null",
                "removed /opt/tool",
            ]
        );
    }

    #[test]
    fn an_opaque_folder_hides_the_bases() {
        let opaque = ANSWER
            .replace("B_STAT=Inode: 32 ", "B_STAT=trusted.overlay.opaque (1) = \"y\"\nB_STAT=Inode: 32 ");
        let shown = shown(&opaque);
        assert!(shown.contains(&"removed /etc/mtab".to_owned()), "{shown:?}");
        assert!(shown.contains(&"changed /etc/passwd".to_owned()), "{shown:?}");
    }

    #[test]
    fn what_the_base_has_is_read() {
        let (path, meta) =
            read_listed("-rwsr-xr-t 0/42                    9999 2026-11-28 07:15 /opt/to ol").unwrap();
        assert_eq!(
            (path.as_str(), meta.mode, meta.size, meta.owner.as_str()),
            ("/opt/to ol", 0o5755, 9999, "0/42")
        );
        let (path, meta) =
            read_listed("lrwxrwxrwx 0/0 13 2022-06-17 15:35 /etc/mtab -> /proc/mounts").unwrap();
        assert_eq!((path.as_str(), meta.target.as_str()), ("/etc/mtab", "/proc/mounts"));
        assert_eq!(read_listed("drwxr-xr-x 0/0                     269 2026-11-28 07:15 "), None);
        // A base that is ext4 itself.
        let ext4 = "::mvm::\nBASE_LS=<2>\nBASE_LS=/2/040755/0/0/.//\nBASE_LS=/12/040755/0/0/etc//\nBASE_LS=<12>\n\
                    BASE_LS=/13/100644/0/0/passwd/9/\nBASE_LS=/12/040755/0/0/circle//\n\
                    BASE_STAT=Inode: 12   Type: directory    Mode:  0755   Flags: 0x0\n\
                    BASE_STAT=Inode: 13   Type: regular    Mode:  0644   Flags: 0x0\n";
        let base = Base::read(&Answer::parse(ext4).unwrap());
        assert!(base.is_folder("/etc") && base.metas["/etc/passwd"].kind == '-');
    }
}
