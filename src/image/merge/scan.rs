//! Reads layers ahead, each by a thread of its own: unpacking takes nearly all of the time that reading a layer does.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::entries::{Entries, Entry};
use super::{Layer, Packing};

/// Layers that are read at once.
const AT_ONCE: usize = 2;
/// The bytes of heads that are handed on together, and how often that is done before anyone takes them.
const BATCH: usize = 64 << 10;
const BATCHES: usize = 8;

/// What the place of an entry depends on.
pub(super) struct Head {
    pub(super) kind: EntryType,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) sparse_size: Option<u64>,
}

impl Head {
    fn of(entry: Entry) -> Self {
        let Entry { path, link, sparse_size, .. } = entry;
        Self { kind: entry.header.entry_type(), path, link, sparse_size }
    }

    /// In memory.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.path.len() + self.link.len()
    }
}

/// Layers on their way: a few are read at once, the first of which is to be taken next.
pub(super) struct Ahead<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    given_up: &'env AtomicBool,
    left: std::slice::Iter<'env, Layer>,
    started: VecDeque<Scanned<'scope>>,
}

/// A layer that is being read.
pub(super) struct Scanned<'scope> {
    entries: Receiver<Vec<Head>>,
    reader: ScopedJoinHandle<'scope, io::Result<Option<Sha256>>>,
    /// Whether it takes as much memory as one may.
    is_large: bool,
}

impl<'scope, 'env> Ahead<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        layers: &'env [Layer],
        given_up: &'env AtomicBool,
    ) -> Self {
        Self { scope, given_up, left: layers.iter(), started: VecDeque::new() }
    }

    /// The next layer, the lowest first.
    pub(super) fn next(&mut self) -> Option<Scanned<'scope>> {
        while self.started.len() < AT_ONCE {
            let Some(layer) = self.left.as_slice().first() else { break };
            // What cannot be opened says so when it is read.
            let is_large = matches!(layer.blob.packing(), Ok(Packing::Zstd | Packing::Xz));
            if !self.started.is_empty() && (is_large || self.started.iter().any(|other| other.is_large)) {
                break;
            }
            self.left.next();
            let (sender, entries) = sync_channel(BATCHES);
            let given_up = self.given_up;
            let reader = self.scope.spawn(move || read(layer, &sender, given_up));
            self.started.push_back(Scanned { entries, reader, is_large });
        }
        self.started.pop_front()
    }
}

impl Drop for Ahead<'_, '_> {
    /// Those that are still read will not be needed.
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Scanned<'_> {
    /// Its entries, in their order, and after them how the reading ended: with the digest of its tar, where the layer names one.
    pub(super) fn each<E>(
        self,
        mut entry: impl FnMut(Head) -> Result<(), E>,
    ) -> Result<io::Result<Option<Sha256>>, E> {
        for batch in &self.entries {
            batch.into_iter().try_for_each(&mut entry)?;
        }
        Ok(self.reader.join().unwrap_or_else(|_| Err(io::Error::other("its reader panicked"))))
    }
}

fn read(layer: &Layer, sender: &SyncSender<Vec<Head>>, given_up: &AtomicBool) -> io::Result<Option<Sha256>> {
    let reader = layer.blob.unpacked()?;
    let mut watched = Watched { reader, hash: layer.diff_id.is_some().then(Sha256::new), given_up };
    let mut entries = Entries::new(&mut watched);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    loop {
        let ended = match entries.next() {
            Ok(Some(entry)) => {
                let head = Head::of(entry);
                bytes += head.bytes();
                batch.push(head);
                None
            }
            Ok(None) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        if ended.is_some() || bytes >= BATCH {
            bytes = 0;
            // Whoever takes them may have given up.
            sender.send(std::mem::take(&mut batch)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        if let Some(ended) = ended {
            ended?;
            break;
        }
    }
    entries.finish()?;
    Ok(watched.hash)
}

/// A reader whose bytes are summed up on their way, until nobody wants them any more.
struct Watched<'a, R> {
    reader: R,
    hash: Option<Sha256>,
    given_up: &'a AtomicBool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = self.reader.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..count]);
        }
        Ok(count)
    }
}
