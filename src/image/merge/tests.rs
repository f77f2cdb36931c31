//! The merge against the plain way: layers applied one after the other to a tree of the test's own.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use super::*;

/// A layer in the making.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: EntryType, path: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        header.set_size(content.len() as u64);
        for (kind, name) in [(b'L', path), (b'K', link)] {
            if name.len() > 100 {
                let mut long = Header::new_gnu();
                long.set_entry_type(EntryType::new(kind));
                long.set_size(name.len() as u64);
                long.set_cksum();
                self.raw(&long, name);
            }
        }
        let old = header.as_old_mut();
        let (path, link) = (&path[..path.len().min(100)], &link[..link.len().min(100)]);
        old.name[..path.len()].copy_from_slice(path);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.raw(&header, content);
        self
    }

    fn raw(&mut self, header: &Header, content: &[u8]) {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path.as_bytes(), b"", content.as_bytes())
    }

    fn folder(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path.as_bytes(), b"", b"")
    }

    fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, path.as_bytes(), to.as_bytes(), b"")
    }

    fn hard_link(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Link, path.as_bytes(), to.as_bytes(), b"")
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        let content = pax::format(records.iter().map(|(key, value)| (key.as_bytes(), *value)));
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.raw(&header, &content);
        self
    }
}

/// Layers on disk.
struct Layers {
    folder: tempfile::TempDir,
    layers: Vec<Layer>,
}

impl Layers {
    fn new(tars: Vec<Tar>) -> Self {
        Self::of_bytes(tars.into_iter().map(|tar| tar.0).collect())
    }

    fn of_bytes(tars: Vec<Vec<u8>>) -> Self {
        let mut layers = Self { folder: tempfile::tempdir().unwrap(), layers: Vec::new() };
        for bytes in tars {
            let path = layers.folder.path().join(layers.layers.len().to_string());
            fs_err::write(&path, bytes).unwrap();
            layers.layers.push(Layer { blob: Blob::file(path).unwrap(), diff_id: None });
        }
        layers
    }

    fn merge(self) -> Result<Vec<u8>, MergeError> {
        let mut out = Vec::new();
        Merged::read(self.layers, &mut |_| {})?.write(&mut out, &mut |_| {})?;
        Ok(out)
    }

    fn shown(self) -> String {
        shown(&self.merge().unwrap())
    }

    fn refusal(self) -> String {
        self.merge().unwrap_err().to_string()
    }
}

/// A tar by the tar crate's reader: a line for each entry, by name. No entry comes twice, and no link before its target.
fn shown(bytes: &[u8]) -> String {
    let mut lines = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let line = match (entry.header().entry_type(), link) {
            (EntryType::Directory, _) => "/".to_owned(),
            (EntryType::Symlink, Some(link)) => format!(" -> {link}"),
            (EntryType::Link, Some(link)) => {
                assert!(lines.contains_key(&link), "{path} comes before {link}");
                format!(" = {link}")
            }
            (EntryType::Regular, _) => format!(" {content}"),
            (kind, _) => format!(" {}", char::from(kind.as_byte())),
        };
        assert!(lines.insert(path.clone(), line).is_none(), "{path} comes twice");
    }
    lines.into_iter().map(|(path, line)| format!("{path}{line}\n")).collect()
}

#[test]
fn layers_lie_over_one_another() {
    let one = || {
        Tar::default()
            .folder("./")
            .folder("etc/")
            .file("./etc/a", "1")
            .file("/etc/b", "1")
            .folder("d")
            .file("d/x", "1")
            .file("d/y", "1")
            .folder("d/e")
            .file("d/e/z", "1")
    };
    for (above, expected) in [
        (Tar::default(), "d/\nd/e/\nd/e/z 1\nd/x 1\nd/y 1\netc/\netc/a 1\netc/b 1\n"),
        (Tar::default().file("d/x", "2"), "d/\nd/e/\nd/e/z 1\nd/x 2\nd/y 1\netc/\netc/a 1\netc/b 1\n"),
        // A whiteout of a file, of a folder, of what is not there.
        (
            Tar::default().file("d/.wh.x", "").file(".wh.none", "").file("no/.wh.none", ""),
            "d/\nd/e/\nd/e/z 1\nd/y 1\netc/\netc/a 1\netc/b 1\n",
        ),
        (Tar::default().file(".wh.d", ""), "etc/\netc/a 1\netc/b 1\n"),
        // What the layer itself brings stays, in whichever order.
        (
            Tar::default().folder("d").file("d/new", "2").file("d/.wh..wh..opq", ""),
            "d/\nd/new 2\netc/\netc/a 1\netc/b 1\n",
        ),
        (
            Tar::default().file("d/.wh..wh..opq", "").folder("d").file("d/new", "2"),
            "d/\nd/new 2\netc/\netc/a 1\netc/b 1\n",
        ),
        (
            Tar::default().file(".wh.d", "").file("d/e/new", "2"),
            "d/\nd/e/\nd/e/new 2\netc/\netc/a 1\netc/b 1\n",
        ),
        (Tar::default().file(".wh..wh..opq", "").file("only", "2"), "only 2\n"),
        // One kind over another.
        (Tar::default().file("d", "2"), "d 2\netc/\netc/a 1\netc/b 1\n"),
        (Tar::default().symlink("d", "etc").file("d/c", "2"), "d -> etc\netc/\netc/a 1\netc/b 1\netc/c 2\n"),
        (Tar::default().file("d", "2").folder("d"), "d/\netc/\netc/a 1\netc/b 1\n"),
        // What a tool remembers.
        (Tar::default().folder(".wh..wh.plnk").file(".wh.d", ""), "etc/\netc/a 1\netc/b 1\n"),
        // The last of several entries counts.
        (
            Tar::default().file("d/x", "2").file("d/x", "3").file(".wh.etc", ""),
            "d/\nd/e/\nd/e/z 1\nd/x 3\nd/y 1\n",
        ),
    ] {
        assert_eq!(Layers::new(vec![one(), above]).shown(), expected);
    }
}

#[test]
fn hard_links_keep_what_they_were_made_of() {
    let one = || Tar::default().file("a", "1").hard_link("b", "a");
    assert_eq!(Layers::new(vec![one()]).shown(), "a 1\nb = a\n");
    // Of the layer below, replaced or removed above.
    assert_eq!(Layers::new(vec![one(), Tar::default().hard_link("c", "b")]).shown(), "a 1\nb = a\nc = a\n");
    assert_eq!(Layers::new(vec![one(), Tar::default().file("a", "2")]).shown(), "a 2\nb 1\n");
    assert_eq!(Layers::new(vec![one(), Tar::default().file(".wh.a", "")]).shown(), "b 1\n");
    let above = Tar::default().file("a", "2").hard_link("c", "a").hard_link("d", "b");
    assert_eq!(Layers::new(vec![one(), above]).shown(), "a 2\nb 1\nc = a\nd = b\n");
    let links = Tar::default().symlink("s", "x").hard_link("t", "s").file("t/in", "1").folder("x");
    assert_eq!(Layers::new(vec![links]).shown(), "s -> x\nt = s\nx/\nx/in 1\n");
}

#[test]
fn links_are_followed_inside_the_image_only() {
    for (tar, expected) in [
        (
            Tar::default().folder("usr/lib").symlink("lib", "usr/lib").file("lib/x", "1"),
            "lib -> usr/lib\nusr/\nusr/lib/\nusr/lib/x 1\n",
        ),
        (Tar::default().symlink("out", "/etc").file("out/passwd", "1"), "etc/\netc/passwd 1\nout -> /etc\n"),
        (Tar::default().symlink("out", "../../../..").file("out/x", "1"), "out -> ../../../..\nx 1\n"),
        (
            Tar::default().folder("a/b").symlink("a/b/up", "../c/./d").file("a/b/up/x", "1"),
            "a/\na/b/\na/b/up -> ../c/./d\na/c/\na/c/d/\na/c/d/x 1\n",
        ),
        (Tar::default().file("a/../b", "1").file("//c//d", "2"), "b 1\nc/\nc/d 2\n"),
    ] {
        assert_eq!(Layers::new(vec![tar]).shown(), expected);
    }
}

#[test]
fn malicious_entries_are_refused_by_name() {
    let deep = "d/".repeat(3000);
    for (tar, why) in [
        (
            Tar::default().file("../x", ""),
            "layer 1 has an entry that has no place, `../x`: its name leads out of the image",
        ),
        (Tar::default().file("a/../../x", ""), "leads out of the image"),
        (Tar::default().hard_link("x", "../../etc/shadow"), "leads out of the image"),
        (Tar::default().hard_link("x", "/etc/shadow"), "a hard link to something that is not there"),
        (Tar::default().folder("d").hard_link("x", "d"), "a hard link to something that is not there"),
        (Tar::default().symlink("l", "l").file("l/x", ""), "a loop of symbolic links"),
        (
            Tar::default().symlink("l", "m/m/m").symlink("m", "l/l/l").file("l/x", ""),
            "a loop of symbolic links",
        ),
        (Tar::default().file("f", "").file("f/x", ""), "below something that is no folder"),
        (Tar::default().file(&"n".repeat(256), ""), "its name is too long"),
        (Tar::default().file(&deep, ""), "its name is too long"),
        (
            Tar::default().entry(EntryType::new(b'!'), b"x", b"", b""),
            "of a kind that mvm does not know, `x` (!)",
        ),
        (Tar::default().pax(&[("size", b"-1")]).file("x", ""), "a number of an extended header is none"),
        (Tar::default().pax(&[("size", b"18446744073709551615")]).file("x", ""), "larger than any file"),
        (
            Tar::default().pax(&[("GNU.sparse.realsize", b"9223372036854775807")]).file("x", ""),
            "sparse files of more than a TiB",
        ),
        (Tar::default().pax(&[("x", &vec![b'x'; 2 << 20])]).file("x", ""), "an extended header is too long"),
    ] {
        let refusal = Layers::new(vec![tar]).refusal();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn attributes_and_names_are_bytes() {
    let long = [b"n/".repeat(70), vec![0xff; 200]].concat();
    let capability = b"\x01\x00\x00\x02\n= \xff\x00";
    let tar = Tar::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("path", b"p\xfe\nq"),
            ("comment", b"gone"),
            ("mtime", b"1.25"),
        ])
        .file("other", "1")
        .entry(EntryType::Regular, &long, b"", b"2")
        .entry(EntryType::Symlink, b"s", &long, b"")
        .entry(EntryType::Link, b"h", &long, b"")
        .entry(EntryType::Fifo, b"fifo", b"", b"");
    let merged = Layers::new(vec![tar]).merge().unwrap();
    let mut entries = Entries::new(&merged[..]);
    let first = entries.next().unwrap().unwrap();
    assert_eq!(first.path, b"p\xfe\nq");
    let keys: Vec<_> = first.records.iter().map(|record| record.key.as_slice()).collect();
    assert_eq!(keys, [&b"SCHILY.xattr.security.capability"[..], b"mtime"]);
    assert_eq!(first.records[0].value, capability);
    assert_eq!(
        (first.header.mode().unwrap(), first.header.uid().unwrap(), first.header.gid().unwrap()),
        (0o640, 7, 8)
    );
    let second = entries.next().unwrap().unwrap();
    assert_eq!(second.path, long);
    let third = entries.next().unwrap().unwrap();
    assert_eq!(
        (&third.path[..], third.header.entry_type(), &third.link),
        (&b"h"[..], EntryType::Link, &long)
    );
    let fourth = entries.next().unwrap().unwrap();
    assert_eq!((&fourth.path[..], &fourth.link), (&b"s"[..], &long));
}

#[test]
fn packed_layers_are_recognised_and_damaged_ones_refused() {
    let tar = Tar::default().file("a", &"1".repeat(100_000)).0;
    let pack = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    // Several members, as parallel packers write them.
    let gzip = [pack(&tar[..700]), pack(&tar[700..])].concat();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    let frames =
        [zstd::encode_all(&tar[..700], 3).unwrap(), zstd::encode_all(&tar[700..], 3).unwrap()].concat();
    let plain = Layers::of_bytes(vec![tar.clone()]).shown();
    for packed in [&gzip, &zstd, &frames] {
        assert_eq!(Layers::of_bytes(vec![packed.clone()]).shown(), plain);
    }
    for packed in [&gzip, &zstd, &tar] {
        for cut in [513, packed.len() / 2, packed.len() - 30_000.min(packed.len() / 3)] {
            let refusal = Layers::of_bytes(vec![packed[..cut.min(packed.len() - 1)].to_vec()]).merge();
            assert!(matches!(refusal, Err(MergeError::Read { layer: 1, .. })), "{cut} of {}", packed.len());
        }
    }
    let mut flipped = tar.clone();
    flipped[10] ^= 1;
    assert!(Layers::of_bytes(vec![flipped]).refusal().contains("checksum"));
    let mut layers = Layers::of_bytes(vec![tar]);
    layers.layers[0].diff_id = Some(format!("sha256:{}", "0".repeat(64)));
    assert!(layers.refusal().contains("it is damaged"));
}

#[test]
fn a_last_entry_may_lack_its_padding() {
    let tar = Tar::default().file("a", "1234").0;
    assert_eq!(Layers::of_bytes(vec![tar[..516].to_vec()]).shown(), "a 1234\n");
    assert!(matches!(Layers::of_bytes(vec![tar[..515].to_vec()]).merge(), Err(MergeError::Read { .. })));
}

/// A tree as plain as can be: paths and what they are. It knows nothing of nodes, sources or passes.
#[derive(Default, Clone)]
struct Plain(BTreeMap<String, (usize, Option<String>)>);

impl Plain {
    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|name, _| name != path && !name.starts_with(&below));
    }

    fn apply(&mut self, layer: usize, operations: &[Operation]) {
        let under = |name: &str, path: &str| path.is_empty() || name.starts_with(&format!("{path}/"));
        for operation in operations {
            match operation {
                Operation::Whiteout(path) => self
                    .0
                    .retain(|name, (placed, _)| *placed == layer || (name != path && !under(name, path))),
                Operation::Opaque(path) => {
                    self.0.retain(|name, (placed, _)| *placed == layer || !under(name, path));
                }
                _ => {}
            }
        }
        for operation in operations {
            match operation {
                Operation::File(path, content) => {
                    self.remove(path);
                    self.0.insert(path.clone(), (layer, Some(content.clone())));
                }
                Operation::Folder(path) => {
                    if self.0.get(path).is_some_and(|(_, content)| content.is_some()) {
                        self.remove(path);
                    }
                    self.0.insert(path.clone(), (layer, None));
                }
                _ => {}
            }
        }
    }

    fn shown(&self) -> String {
        let line = |(path, (_, content)): (&String, &(usize, Option<String>))| match content {
            Some(content) => format!("{path} {content}\n"),
            None => format!("{path}/\n"),
        };
        self.0.iter().map(line).collect()
    }
}

#[derive(Debug, Clone)]
enum Operation {
    File(String, String),
    Folder(String),
    Whiteout(String),
    Opaque(String),
}

#[test]
fn any_layers_come_to_what_the_plain_way_gives() {
    // Numbers of a plain congruential generator: the same at every run.
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..400 {
        let mut plain = Plain::default();
        let mut tars = Vec::new();
        for layer in 0..4 {
            let mut operations = Vec::new();
            for _ in 0..random(12) {
                // Folders and files have names of their own, so that each entry has a place.
                let folder = ["a", "a/b", "a/b/c", "d"][usize::try_from(random(4)).unwrap()];
                let file = format!("{folder}/{}", ["x", "y"][usize::try_from(random(2)).unwrap()]);
                match random(6) {
                    0 | 1 => operations.push(Operation::File(file, format!("{layer}{}", random(10)))),
                    2 => operations.push(Operation::Folder(folder.to_owned())),
                    3 => operations.push(Operation::Whiteout(folder.to_owned())),
                    4 => operations.push(Operation::Whiteout(file)),
                    _ => operations.push(Operation::Opaque(folder.to_owned())),
                }
            }
            // Each file's parents are entries of its layer, as in real ones.
            let mut whole = Vec::new();
            for operation in &operations {
                if let Operation::File(path, _) | Operation::Folder(path) = operation {
                    let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
                    whole.extend(parents.map(Operation::Folder));
                }
                whole.push(operation.clone());
            }
            plain.apply(layer, &whole);
            let tar = whole.iter().fold(Tar::default(), |tar, operation| match operation {
                Operation::File(path, content) => tar.file(path, content),
                Operation::Folder(path) => tar.folder(path),
                Operation::Whiteout(path) => {
                    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                    tar.file(&format!("{folder}/.wh.{name}"), "")
                }
                Operation::Opaque(path) => tar.file(&format!("{path}/.wh..wh..opq"), ""),
            });
            tars.push(tar);
        }
        assert_eq!(Layers::new(tars).shown(), plain.shown(), "round {round}");
    }
}

#[test]
fn no_bytes_make_it_fail_otherwise_than_by_an_error() {
    let whole = Tar::default()
        .pax(&[("SCHILY.xattr.user.x", b"\n"), ("path", b"p")])
        .file("x", "content")
        .hard_link("h", "p")
        .symlink("s", "h")
        .file(&"long".repeat(60), "1")
        .entry(EntryType::GNUSparse, b"sparse", b"", b"12")
        .0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        for value in [0, 0xff, b'7', bytes[at] ^ 1] {
            bytes[at] = value;
            // The sum is put right, or nothing behind it would be reached.
            let block = at / 512 * 512;
            let mut header = Header::from_byte_slice(&bytes[block..block + 512]).clone();
            if Header::from_byte_slice(&whole[block..block + 512]).cksum().is_ok()
                && !(148..156).contains(&(at % 512))
            {
                header.set_cksum();
                bytes[block..block + 512].copy_from_slice(header.as_bytes());
            }
            let mut out = Vec::new();
            let layers = Layers::of_bytes(vec![bytes.clone()]).layers;
            if let Ok(merged) = Merged::read(layers, &mut |_| {}) {
                merged.write(&mut out, &mut |_| {}).unwrap_or_default();
            }
        }
    }
}
