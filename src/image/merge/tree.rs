//! What an image's layers come to, without their contents: for each name, which entry of which layer it is. A path has one
//! node for ever, some sixty bytes with its name; one that is removed is only marked.

use std::collections::HashMap;

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// An entry of a layer, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) layer: u16,
    pub(super) entry: u32,
}

/// A folder that no layer has an entry for.
pub(super) const IMPLIED: Source = Source { layer: u16::MAX, entry: u32::MAX };

pub(super) type NodeId = u32;
const ROOT: NodeId = 0;
const NONE: NodeId = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Absent,
    Folder,
    Link,
    Other,
}

struct Node {
    parent: NodeId,
    first_child: NodeId,
    next_sibling: NodeId,
    name: Span,
    source: Source,
    /// The layer that put it here: for a hard link another one than its source's, perhaps.
    placed: u16,
    kind: Kind,
}

/// A part of `Tree::bytes`.
#[derive(Clone, Copy)]
struct Span {
    from: u32,
    bytes: u16,
}

/// Why an entry has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    #[error("its name leads out of the image")]
    Outside,
    #[error("its name is too long")]
    TooLong,
    #[error("its name is empty")]
    Empty,
    #[error("it is below something that is no folder")]
    NoFolder,
    #[error("it is behind a loop of symbolic links")]
    Loop,
    #[error("it is a hard link to something that is not there")]
    NoTarget,
    #[error("the image has more files than mvm takes ({MAX_NODES})")]
    TooMany,
}

const MAX_NODES: usize = 5_000_000;
/// As Linux has it.
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4096;
const MAX_LINKS: usize = 255;

pub(super) struct Tree {
    nodes: Vec<Node>,
    bytes: Vec<u8>,
    children: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
    /// Where symbolic links lead.
    links: HashMap<NodeId, Span>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Node {
            parent: ROOT,
            first_child: NONE,
            next_sibling: NONE,
            name: Span { from: 0, bytes: 0 },
            source: IMPLIED,
            placed: 0,
            kind: Kind::Folder,
        };
        Self {
            nodes: vec![root],
            bytes: Vec::new(),
            children: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            links: HashMap::new(),
        }
    }

    /// Puts an entry in its place, over what is there: a folder over a folder keeps what is in it.
    pub(super) fn put(
        &mut self,
        path: &[u8],
        kind: Kind,
        source: Source,
        target: &[u8],
    ) -> Result<(), Misplaced> {
        let id = self.place(path, kind, source.layer)?;
        self.nodes[id as usize].source = source;
        if kind == Kind::Link {
            let target = self.keep(target)?;
            self.links.insert(id, target);
        }
        Ok(())
    }

    /// Puts a further name of what `target` names.
    pub(super) fn put_hard_link(&mut self, path: &[u8], target: &[u8], layer: u16) -> Result<(), Misplaced> {
        let of = self.find(target)?.filter(|id| self.kind(*id) != Kind::Folder).ok_or(Misplaced::NoTarget)?;
        let Node { source, kind, .. } = self.nodes[of as usize];
        let target = self.links.get(&of).copied();
        let id = self.place(path, kind, layer)?;
        self.nodes[id as usize].source = source;
        if let Some(target) = target {
            self.links.insert(id, target);
        }
        Ok(())
    }

    /// Removes what lower layers have at `path`.
    pub(super) fn whiteout(&mut self, path: &[u8], layer: u16) -> Result<(), Misplaced> {
        if let Some(id) = self.find(path)?.filter(|id| *id != ROOT) {
            self.remove_lower(id, layer);
        }
        Ok(())
    }

    /// Removes what lower layers have in the folder at `path`.
    pub(super) fn opaque(&mut self, path: &[u8], layer: u16) -> Result<(), Misplaced> {
        let folder = if components(path)?.is_empty() { Some(ROOT) } else { self.find(path)? };
        if let Some(folder) = folder {
            for child in self.children_of(folder) {
                self.remove_lower(child, layer);
            }
        }
        Ok(())
    }

    /// What is at `path`, the last link not followed.
    pub(super) fn kind_at(&mut self, path: &[u8]) -> Kind {
        self.find(path).ok().flatten().map_or(Kind::Absent, |id| self.kind(id))
    }

    /// What is there in the end, in the order of the layers and their entries: names of one entry stand together, folders
    /// without an entry come last.
    pub(super) fn in_order(&self) -> Vec<NodeId> {
        let mut order: Vec<NodeId> =
            (1..).take(self.nodes.len() - 1).filter(|id| self.kind(*id) != Kind::Absent).collect();
        order.sort_unstable_by_key(|id| (self.nodes[*id as usize].source, *id));
        order
    }

    pub(super) fn source(&self, id: NodeId) -> Source {
        self.nodes[id as usize].source
    }

    pub(super) fn path(&self, mut id: NodeId) -> Vec<u8> {
        let mut names = Vec::new();
        while id != ROOT {
            let node = &self.nodes[id as usize];
            names.push(self.text(node.name));
            id = node.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    fn kind(&self, id: NodeId) -> Kind {
        self.nodes[id as usize].kind
    }

    fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.from as usize..][..usize::from(span.bytes)]
    }

    fn place(&mut self, path: &[u8], kind: Kind, layer: u16) -> Result<NodeId, Misplaced> {
        let components = components(path)?;
        let (name, parents) = components.split_last().ok_or(Misplaced::Empty)?;
        let parent = self.walk(parents, Some(layer))?.ok_or(Misplaced::NoFolder)?;
        let id = self.child(parent, name)?;
        if self.kind(id) == Kind::Folder && kind != Kind::Folder {
            self.remove_below(id);
        }
        let node = &mut self.nodes[id as usize];
        (node.kind, node.placed) = (kind, layer);
        Ok(id)
    }

    fn find(&mut self, path: &[u8]) -> Result<Option<NodeId>, Misplaced> {
        let components = components(path)?;
        let Some((name, parents)) = components.split_last() else {
            return Ok(None);
        };
        let parent = self.walk(parents, None)?;
        Ok(parent.and_then(|parent| self.look_up(parent, name)).filter(|id| self.kind(*id) != Kind::Absent))
    }

    /// The folder at `path`, links followed as inside the image. What is missing is made in `make`'s layer, or the answer
    /// is none.
    fn walk(&mut self, path: &[&[u8]], make: Option<u16>) -> Result<Option<NodeId>, Misplaced> {
        let mut left: Vec<Vec<u8>> = path.iter().rev().map(|name| name.to_vec()).collect();
        let (mut at, mut links) = (ROOT, 0);
        while let Some(name) = left.pop() {
            if name == b".." {
                at = self.nodes[at as usize].parent;
                continue;
            }
            let found = self.look_up(at, &name);
            match found.map_or(Kind::Absent, |id| self.kind(id)) {
                Kind::Folder => at = found.unwrap_or(at),
                Kind::Other => return if make.is_some() { Err(Misplaced::NoFolder) } else { Ok(None) },
                Kind::Absent => {
                    let Some(layer) = make else { return Ok(None) };
                    at = self.child(at, &name)?;
                    let node = &mut self.nodes[at as usize];
                    (node.kind, node.placed, node.source) = (Kind::Folder, layer, IMPLIED);
                }
                Kind::Link => {
                    links += 1;
                    let target =
                        found.and_then(|id| self.links.get(&id)).map_or(&[][..], |span| self.text(*span));
                    if links > MAX_LINKS || left.len() > MAX_PATH {
                        return Err(Misplaced::Loop);
                    }
                    if target.first() == Some(&b'/') {
                        at = ROOT;
                    }
                    let names =
                        target.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
                    let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
                    left.extend(names.into_iter().rev());
                }
            }
        }
        Ok(Some(at))
    }

    fn hash(&self, parent: NodeId, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    fn look_up(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let is_it = |id: &NodeId| {
            let node = &self.nodes[*id as usize];
            node.parent == parent && self.text(node.name) == name
        };
        self.children.find(self.hash(parent, name), is_it).copied()
    }

    /// The node of that name, made where there is none.
    fn child(&mut self, parent: NodeId, name: &[u8]) -> Result<NodeId, Misplaced> {
        if let Some(id) = self.look_up(parent, name) {
            return Ok(id);
        }
        if name.len() > MAX_NAME {
            return Err(Misplaced::TooLong);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(Misplaced::TooMany);
        }
        let id = NodeId::try_from(self.nodes.len()).map_err(|_| Misplaced::TooMany)?;
        let name = self.keep(name)?;
        let siblings = std::mem::replace(&mut self.nodes[parent as usize].first_child, id);
        self.nodes.push(Node {
            parent,
            first_child: NONE,
            next_sibling: siblings,
            name,
            source: IMPLIED,
            placed: 0,
            kind: Kind::Absent,
        });
        let hash = self.hash(parent, self.text(name));
        let Self { nodes, bytes, children, hasher, .. } = self;
        children.insert_unique(hash, id, |id| {
            let Node { parent, name, .. } = &nodes[*id as usize];
            hasher.hash_one((*parent, &bytes[name.from as usize..][..usize::from(name.bytes)]))
        });
        Ok(id)
    }

    fn keep(&mut self, text: &[u8]) -> Result<Span, Misplaced> {
        let bytes = u16::try_from(text.len()).ok().filter(|bytes| usize::from(*bytes) <= MAX_PATH);
        let span = Span {
            from: u32::try_from(self.bytes.len()).map_err(|_| Misplaced::TooMany)?,
            bytes: bytes.ok_or(Misplaced::TooLong)?,
        };
        self.bytes.extend_from_slice(text);
        Ok(span)
    }

    fn children_of(&self, folder: NodeId) -> Vec<NodeId> {
        let next = |id: NodeId| Some(id).filter(|id| *id != NONE);
        std::iter::successors(next(self.nodes[folder as usize].first_child), |id| {
            next(self.nodes[*id as usize].next_sibling)
        })
        .collect()
    }

    fn remove_below(&mut self, id: NodeId) {
        let mut left = self.children_of(id);
        while let Some(id) = left.pop() {
            self.nodes[id as usize].kind = Kind::Absent;
            left.extend(self.children_of(id));
        }
    }

    /// Removes what layers below `layer` put there, and keeps what `layer` itself did.
    fn remove_lower(&mut self, id: NodeId, layer: u16) {
        // Parents before what is in them, so that from the end on each folder's survivors are known.
        let mut below = vec![id];
        let mut next = 0;
        while next < below.len() {
            below.extend(self.children_of(below[next]));
            next += 1;
        }
        for id in below.into_iter().rev() {
            let survives = self.nodes[id as usize].placed == layer
                || self.children_of(id).into_iter().any(|child| self.kind(child) != Kind::Absent);
            if !survives {
                self.nodes[id as usize].kind = Kind::Absent;
            }
        }
    }
}

/// The names in a path, without a leading `/`, `.` and empty ones.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Misplaced> {
    if path.len() > MAX_PATH {
        return Err(Misplaced::TooLong);
    }
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop().ok_or(Misplaced::Outside)?),
            name => names.push(name),
        }
    }
    Ok(names)
}
