//! Layers into one tar, as a stream, in two passes: the first reads every header and finds out what the layers come to
//! (tree.rs), the second copies the entries that are left. Nothing is unpacked, so nothing in an image can name a path of
//! the host; the memory taken is some sixty bytes for each path, whatever the image's size.

mod blob;
mod entries;
mod pax;
mod scan;
mod tree;
mod write;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use sha2::Digest as _;
use tar::EntryType;

pub use blob::{Blob, Packing};
pub use tree::Misplaced;

use entries::Entries;
use scan::{Ahead, Head, Scanned};
use tree::{IMPLIED, Kind, Source, Tree};

/// Names in a layer that say what is not there.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// What sparse files may come to, all together: zeroes that no disk of a machine would hold.
const SPARSE_MAX: u64 = 1 << 40;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub blob: Blob,
    /// The SHA-256 of its tar, where nothing else vouches for its bytes.
    pub diff_id: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("layer {layer} cannot be read: {source}")]
    Read { layer: usize, source: io::Error },
    #[error("layer {layer} has an entry that has no place, `{path}`: {why}")]
    Misplaced { layer: usize, path: String, why: Misplaced },
    #[error("layer {layer} has an entry of a kind that mvm does not know, `{path}` ({kind})")]
    Unknown { layer: usize, path: String, kind: char },
    #[error("layer {layer} has sparse files of more than a TiB")]
    TooSparse { layer: usize },
    #[error("layer {layer} has the digest sha256:{found}, and the image says {wanted}: it is damaged")]
    WrongDigest { layer: usize, found: String, wanted: String },
    #[error("{0}")]
    Write(io::Error),
}

/// Layers that were read once: what they come to is known.
pub struct Merged {
    layers: Vec<Layer>,
    tree: Tree,
}

impl Merged {
    /// Reads all layers, the lowest first, and checks them. `on_layer` hears which one is read.
    pub fn read(layers: Vec<Layer>, on_layer: &mut dyn FnMut(usize)) -> Result<Self, MergeError> {
        let mut tree = Tree::new();
        let mut sparse = 0;
        let given_up = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut ahead = Ahead::new(scope, &layers, &given_up);
            for (number, layer) in layers.iter().enumerate() {
                on_layer(number);
                let Some(scanned) = ahead.next() else { break };
                add(&mut tree, layer, scanned, number, &mut sparse)?;
            }
            Ok(())
        })?;
        Ok(Self { layers, tree })
    }

    /// Whether a file or link is at `path`.
    pub fn has(&mut self, path: &str) -> bool {
        self.tree.kind_at(path.as_bytes()) != Kind::Absent
    }

    /// Writes what the layers come to, as one tar in GNU's form. `on_layer` hears which one is read.
    pub fn write(&self, out: &mut dyn Write, on_layer: &mut dyn FnMut(usize)) -> Result<(), MergeError> {
        let order = self.tree.in_order();
        let mut left = order.chunk_by(|a, b| {
            let source = self.tree.source(*a);
            source != IMPLIED && source == self.tree.source(*b)
        });
        let mut wanted = left.next();
        for (number, layer) in self.layers.iter().enumerate() {
            on_layer(number);
            let read = |source| MergeError::Read { layer: number + 1, source };
            let mut entries = Entries::new(layer.blob.unpacked().map_err(read)?);
            let mut ordinal = 0;
            while let Some(names) = wanted {
                let source = self.tree.source(names[0]);
                if usize::from(source.layer) != number {
                    break;
                }
                let Some(entry) = entries.next().map_err(read)? else {
                    return Err(read(entries::damaged("it changed while it was read")));
                };
                if ordinal == source.entry {
                    let path = self.tree.path(names[0]);
                    write::entry(out, &entry, &path, &mut entries.data()).map_err(|failed| match failed {
                        write::Failed::Read(source) => read(source),
                        write::Failed::Write(source) => MergeError::Write(source),
                    })?;
                    for name in &names[1..] {
                        write::hard_link(out, &entry, &self.tree.path(*name), &path)
                            .map_err(MergeError::Write)?;
                    }
                    wanted = left.next();
                }
                ordinal += 1;
            }
        }
        while let Some(names) = wanted {
            write::folder(out, &self.tree.path(names[0])).map_err(MergeError::Write)?;
            wanted = left.next();
        }
        write::end(out).map_err(MergeError::Write)
    }
}

/// Puts a layer's entries over those of the layers below.
fn add(
    tree: &mut Tree,
    layer: &Layer,
    scanned: Scanned<'_>,
    number: usize,
    sparse: &mut u64,
) -> Result<(), MergeError> {
    let read = |source| MergeError::Read { layer: number + 1, source };
    let too_many = || read(entries::damaged("it has more entries than mvm takes"));
    let place = u16::try_from(number).ok().filter(|place| *place < IMPLIED.layer).ok_or_else(too_many)?;
    let mut ordinal: u32 = 0;
    let ended = scanned.each(|entry| {
        *sparse = sparse.saturating_add(entry.sparse_size.unwrap_or(0));
        if *sparse > SPARSE_MAX {
            return Err(MergeError::TooSparse { layer: number + 1 });
        }
        let shown = || String::from_utf8_lossy(&entry.path).chars().take(200).collect::<String>();
        let misplaced = |why| MergeError::Misplaced { layer: number + 1, path: shown(), why };
        match what(&entry) {
            What::Root | What::Meta => {}
            What::Opaque(folder) => tree.opaque(folder, place).map_err(misplaced)?,
            What::Whiteout(path) => tree.whiteout(&path, place).map_err(misplaced)?,
            What::HardLink => tree.put_hard_link(&entry.path, &entry.link, place).map_err(misplaced)?,
            What::File(kind) => {
                let source = Source { layer: place, entry: ordinal };
                tree.put(&entry.path, kind, source, &entry.link).map_err(misplaced)?;
            }
            What::Unknown(kind) => {
                return Err(MergeError::Unknown { layer: number + 1, path: shown(), kind });
            }
        }
        ordinal = ordinal.checked_add(1).ok_or_else(too_many)?;
        Ok(())
    })?;
    match (&layer.diff_id, ended.map_err(read)?) {
        (Some(wanted), Some(hash)) => {
            let found = super::hex(&hash.finalize());
            if wanted.strip_prefix("sha256:") == Some(&found) {
                return Ok(());
            }
            Err(MergeError::WrongDigest { layer: number + 1, found, wanted: wanted.clone() })
        }
        _ => Ok(()),
    }
}

/// What an entry means for the tree.
enum What<'a> {
    /// The image's root itself: machines have one of their own.
    Root,
    Opaque(&'a [u8]),
    Whiteout(Vec<u8>),
    HardLink,
    File(Kind),
    /// What other tools remember in a layer.
    Meta,
    Unknown(char),
}

fn what(entry: &Head) -> What<'_> {
    let path = entry.path.as_slice();
    let trimmed = path.iter().rposition(|byte| *byte != b'/').map_or(&[][..], |last| &path[..=last]);
    let (folder, name) = match trimmed.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&trimmed[..slash], &trimmed[slash + 1..]),
        None => (&[][..], trimmed),
    };
    if name == OPAQUE {
        return What::Opaque(folder);
    } else if name.starts_with(WHITEOUT_META) {
        return What::Meta;
    } else if let Some(removed) = name.strip_prefix(WHITEOUT) {
        return What::Whiteout([folder, b"/", removed].concat());
    }
    if trimmed.split(|byte| *byte == b'/').all(|name| name.is_empty() || name == b".") {
        return What::Root;
    }
    match entry.kind {
        EntryType::Directory => What::File(Kind::Folder),
        // As tars of before 1988 say it.
        EntryType::Regular if path.ends_with(b"/") => What::File(Kind::Folder),
        EntryType::Symlink => What::File(Kind::Link),
        EntryType::Link => What::HardLink,
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::GNUSparse
        | EntryType::Char
        | EntryType::Block
        | EntryType::Fifo => What::File(Kind::Other),
        kind => What::Unknown(char::from(kind.as_byte())),
    }
}
