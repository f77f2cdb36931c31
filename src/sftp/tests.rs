use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::sftp::request::{kind, open, status};
use crate::sftp::wire::Input;

const SECRET: &str = "what is outside";

/// A folder with links of all kinds, and what lies around it.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for dir in ["in/sub/deep", "out/sub"] {
            fs_err::create_dir_all(tree.0.path().join(dir)).unwrap();
        }
        for file in ["out/secret", "out/sub/secret", "secret"] {
            fs_err::write(tree.0.path().join(file), SECRET).unwrap();
        }
        tree.restore();
        tree
    }

    /// What was moved or removed within is put back: each request is to find the same.
    fn restore(&self) {
        let abs = self.0.path().join("out");
        for (name, target) in [
            ("out", "../out"),
            ("abs", abs.to_str().unwrap()),
            ("up", ".."),
            ("sub/up", "../.."),
            ("secret", "../secret"),
            ("loop", "loop"),
            ("own", "sub"),
        ] {
            let link = self.inside(name);
            if fs_err::read_link(&link).is_ok_and(|is| is == Path::new(target)) {
                continue;
            }
            fs_err::create_dir_all(self.inside("sub")).unwrap();
            fs_err::remove_file(&link).unwrap_or_default();
            symlink(target, link).unwrap();
        }
        fs_err::set_permissions(self.inside("sub"), PermissionsExt::from_mode(0o755)).unwrap();
        for made in ["new", "sub/new", "hard", "here"] {
            let made = self.inside(made);
            fs_err::remove_file(&made).or_else(|_| fs_err::remove_dir_all(made)).unwrap_or_default();
        }
        if !self.inside("file").is_file() {
            fs_err::write(self.inside("file"), "content").unwrap();
        }
    }

    fn inside(&self, name: &str) -> PathBuf {
        let inside = self.0.path().join("in");
        if name == "." { inside } else { inside.join(name) }
    }

    fn folder(&self, read_only: bool) -> Folder {
        Folder::open(&self.inside("."), read_only).unwrap()
    }

    /// All that is not inside, with all that can be seen of it but access times.
    fn outside(&self) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
        let mut seen = BTreeMap::new();
        let mut left = vec![self.0.path().to_owned()];
        while let Some(dir) = left.pop() {
            for entry in fs_err::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs_err::symlink_metadata(&path).unwrap();
                if path == self.inside(".") {
                    continue;
                }
                if metadata.is_dir() {
                    left.push(path.clone());
                }
                let content = if metadata.is_file() { fs_err::read(&path).unwrap() } else { Vec::new() };
                seen.insert(path, (metadata.mode(), metadata.mtime(), content));
            }
        }
        seen
    }
}

/// A packet of a kind, its content put together of numbers and strings.
#[derive(Clone)]
struct Packet(Vec<u8>);

impl Packet {
    fn new(kind: u8) -> Self {
        let mut bytes = vec![kind];
        wire::number(&mut bytes, 7);
        Self(bytes)
    }

    fn string(mut self, bytes: &[u8]) -> Self {
        wire::string(&mut self.0, bytes);
        self
    }

    fn number(mut self, number: u32) -> Self {
        wire::number(&mut self.0, number);
        self
    }

    fn long(mut self, number: u64) -> Self {
        wire::long(&mut self.0, number);
        self
    }
}

/// Sends packets; the kinds and contents of what comes back, in order.
fn ask(folder: &Folder, packets: &[Packet]) -> Vec<(u8, Vec<u8>)> {
    let mut input = Vec::new();
    for packet in packets {
        wire::string(&mut input, &packet.0);
    }
    let mut output = Vec::new();
    serve(folder, &input[..], &mut output).unwrap();
    let (mut rest, mut answers) = (Input(&output), Vec::new());
    while !rest.0.is_empty() {
        let packet = rest.string().unwrap();
        answers.push((packet[0], packet[5..].to_vec()));
    }
    answers
}

fn status_of((kind, content): &(u8, Vec<u8>)) -> Option<u32> {
    (*kind == kind::STATUS).then(|| Input(content).number().unwrap())
}

fn opened(path: &[u8], flags: u32) -> Packet {
    Packet::new(kind::OPEN).string(path).number(flags).number(0)
}

/// The handle that a server gives out first.
const FIRST: [u8; 4] = [0; 4];

/// Every kind of request about a path, each harmful in its way where it gets out.
fn requests(path: &[u8]) -> Vec<Vec<Packet>> {
    let own = b"file";
    let write = Packet::new(kind::WRITE).string(&FIRST).long(0).string(b"written");
    vec![
        vec![Packet::new(kind::LSTAT).string(path)],
        vec![Packet::new(kind::STAT).string(path)],
        vec![opened(path, open::READ), Packet::new(kind::READ).string(&FIRST).long(0).number(99)],
        vec![opened(path, open::WRITE), write.clone()],
        vec![opened(path, open::WRITE | open::APPEND), write.clone()],
        vec![opened(path, open::WRITE | open::CREATE | open::TRUNCATE), write],
        vec![Packet::new(kind::OPENDIR).string(path), Packet::new(kind::READDIR).string(&FIRST)],
        vec![Packet::new(kind::SETSTAT).string(path).number(1).long(0)],
        vec![Packet::new(kind::SETSTAT).string(path).number(4).number(0o7777)],
        vec![Packet::new(kind::SETSTAT).string(path).number(8).long(0)],
        vec![Packet::new(kind::READLINK).string(path)],
        vec![Packet::new(kind::MKDIR).string(path).number(0)],
        vec![Packet::new(kind::SYMLINK).string(b"/etc").string(path)],
        vec![Packet::new(kind::EXTENDED).string(b"hardlink@openssh.com").string(own).string(path)],
        vec![Packet::new(kind::EXTENDED).string(b"hardlink@openssh.com").string(path).string(b"hard")],
        vec![Packet::new(kind::EXTENDED).string(b"statvfs@openssh.com").string(path)],
        vec![Packet::new(kind::RENAME).string(own).string(path)],
        vec![Packet::new(kind::EXTENDED).string(b"posix-rename@openssh.com").string(own).string(path)],
        vec![Packet::new(kind::EXTENDED).string(b"posix-rename@openssh.com").string(path).string(b"here")],
        vec![Packet::new(kind::REMOVE).string(path)],
        vec![Packet::new(kind::RMDIR).string(path)],
    ]
}

/// All paths of up to three names, of those that lead somewhere.
fn paths() -> Vec<Vec<u8>> {
    let names: [&[u8]; 7] = [b"..", b"out", b"abs", b"up", b"sub", b"secret", b"new"];
    let mut all: Vec<Vec<u8>> = vec![Vec::new(), b"//.//out/./secret".to_vec()];
    let mut last = all.clone();
    for _ in 0..3 {
        last = last
            .iter()
            .flat_map(|path| names.iter().map(move |name| [path, &b"/"[..], name].concat()))
            .collect();
        all.extend(last.iter().cloned());
    }
    let relative: Vec<_> =
        all.iter().take(60).map(|path| path.get(1..).unwrap_or_default().to_vec()).collect();
    all.extend(relative);
    all
}

#[test]
fn no_path_leads_out() {
    let tree = Tree::new();
    let before = tree.outside();
    for read_only in [true, false] {
        let folder = tree.folder(read_only);
        for path in paths() {
            for packets in requests(&path) {
                for (kind, content) in ask(&folder, &packets) {
                    let found = content.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
                    assert!(!found, "{kind}: {}", path.escape_ascii());
                }
                if !read_only {
                    tree.restore();
                }
            }
        }
        assert_eq!(tree.outside(), before, "read only: {read_only}");
        if read_only {
            assert_eq!(fs_err::read_to_string(tree.inside("file")).unwrap(), "content");
            assert!(!tree.inside("new").exists() && tree.inside("out").is_symlink());
        }
    }
}

#[test]
fn links_are_shown_and_not_followed() {
    let tree = Tree::new();
    let folder = tree.folder(false);
    let answers = ask(&folder, &[Packet::new(kind::READLINK).string(b"/up"), opened(b"/own/x", open::READ)]);
    assert_eq!(&answers[0].1[4..], [&[0, 0, 0, 2][..], b"..", &[0, 0, 0, 2], b"..", &[0; 4]].concat());
    // Not even one that stays inside: a machine's kernel has followed it before.
    assert_eq!(status_of(&answers[1]), Some(status::of(rustix::io::Errno::NOENT)));
    let target = b"/etc/shadow";
    ask(&folder, &[Packet::new(kind::SYMLINK).string(target).string(b"/made")]);
    assert_eq!(fs_err::read_link(tree.inside("made")).unwrap(), Path::new("/etc/shadow"));
}

#[test]
fn what_is_written_is_there() {
    let tree = Tree::new();
    let folder = tree.folder(false);
    let name = b"/sub/a b\xff";
    let mut packets = vec![
        opened(name, open::READ | open::WRITE | open::CREATE | open::EXCLUSIVE),
        Packet::new(kind::WRITE).string(&FIRST).long(3).string(b"def"),
        Packet::new(kind::WRITE).string(&FIRST).long(0).string(b"abc"),
        Packet::new(kind::READ).string(&FIRST).long(1).number(99),
        Packet::new(kind::READ).string(&FIRST).long(6).number(99),
        Packet::new(kind::EXTENDED).string(b"fsync@openssh.com").string(&FIRST),
        Packet::new(kind::FSETSTAT).string(&FIRST).number(4 | 8).number(0o4751).number(5).number(1_000_000),
        Packet::new(kind::CLOSE).string(&FIRST),
        Packet::new(kind::READ).string(&FIRST).long(0).number(1),
    ];
    packets.push(opened(name, open::WRITE | open::CREATE | open::EXCLUSIVE));
    let answers = ask(&folder, &packets);
    assert_eq!(answers[3], (kind::DATA, [&[0, 0, 0, 5][..], b"bcdef"].concat()));
    assert_eq!(status_of(&answers[4]), Some(status::EOF));
    for index in [1, 2, 5, 6, 7] {
        assert_eq!(status_of(&answers[index]), Some(status::OK), "{index}");
    }
    assert!(status_of(&answers[8]).is_some_and(|status| status > 1), "a handle that is closed");
    assert!(status_of(&answers[9]).is_some_and(|status| status > 1), "a file that is there");
    let file = fs_err::read_dir(tree.inside("sub"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| std::os::unix::ffi::OsStrExt::as_bytes(entry.file_name().as_os_str()) == b"a b\xff");
    let metadata = file.unwrap().metadata().unwrap();
    assert_eq!((metadata.len(), metadata.mtime()), (6, 1_000_000));
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o751, "no setuid bit on the host");
}

#[test]
fn what_is_appended_comes_after_what_the_host_appends() {
    let tree = Tree::new();
    let append = Packet::new(kind::WRITE).string(&FIRST).long(0).string(b" and more");
    let answers = ask(&tree.folder(false), &[opened(b"file", open::WRITE | open::APPEND), append]);
    assert_eq!(status_of(&answers[1]), Some(status::OK));
    assert_eq!(fs_err::read_to_string(tree.inside("file")).unwrap(), "content and more");
}

#[test]
fn a_long_folder_is_listed_whole() {
    let tree = Tree::new();
    let count = 3000;
    for number in 0..count {
        fs_err::write(tree.inside(&format!("sub/{number:0>60}")), "").unwrap();
    }
    let mut packets = vec![Packet::new(kind::OPENDIR).string(b"/sub/")];
    packets.extend(vec![Packet::new(kind::READDIR).string(&FIRST); 10]);
    let (mut names, mut ended) = (0, false);
    for (kind, content) in &ask(&tree.folder(true), &packets)[1..] {
        assert!(content.len() < 128 << 10, "sshfs takes no more");
        match *kind {
            kind::NAME => names += Input(content).number().unwrap(),
            _ => ended |= status_of(&(*kind, content.clone())) == Some(status::EOF),
        }
    }
    // `.` and `..`, the link and the folder that were there.
    assert!(ended && names == count + 4, "{names}");
}

#[cfg(target_os = "linux")]
#[test]
fn pipes_are_not_opened() {
    let tree = Tree::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.inside("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for flags in [open::READ, open::WRITE] {
        let answers = ask(&tree.folder(false), &[opened(b"pipe", flags)]);
        assert!(status_of(&answers[0]).is_some_and(|status| status > 1));
    }
}

#[test]
fn a_folder_that_is_made_again_is_the_shared_one() {
    let tree = Tree::new();
    let folder = tree.folder(false);
    fs_err::remove_dir_all(tree.inside(".")).unwrap();
    let look = [Packet::new(kind::LSTAT).string(b"/new")];
    assert_eq!(status_of(&ask(&folder, &look)[0]), Some(2));
    fs_err::create_dir(tree.inside(".")).unwrap();
    fs_err::write(tree.inside("new"), "").unwrap();
    assert_eq!(ask(&folder, &look)[0].0, kind::ATTRS);
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let tree = Tree::new();
    for bytes in
        [&[0, 0, 0, 0][..], &[0xff; 9], &[0, 0, 0, 2, kind::OPEN, 0], &[0, 0, 0, 5, kind::OPEN, 0, 0, 0, 1]]
    {
        assert!(serve(&tree.folder(false), bytes, &mut Vec::new()).is_err(), "{bytes:?}");
    }
}
