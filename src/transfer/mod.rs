//! Trees as archives: from the host's disk into a stream, from a stream onto it, from one stream into another.
//!
//! The guest's side is resources/guest/copy. Modes, times to the second and symbolic links are kept; owners are those
//! who receive. What arrives is made in a hidden folder beside its place, and moved there when it is whole.

mod pack;
mod place;

use std::io::{Read, Result, Write};

pub use pack::{pack, relay, size};
pub use place::{Arrival, unpack};

/// Told the bytes as they pass.
pub type Passed<'a> = &'a dyn Fn(u64);

/// Large enough that the start of `dd` in the guest does not count.
const CHUNK: usize = 8 << 20;

/// Sends what `from` holds in chunks, so that a stream that was cut off is told from one that has ended.
pub fn send_chunks(mut from: impl Read, mut to: impl Write, passed: Passed<'_>) -> Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        from.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            writeln!(to, "end")?;
            return to.flush();
        }
        writeln!(to, "{}", chunk.len())?;
        to.write_all(&chunk)?;
        passed(chunk.len() as u64);
    }
}

/// Tells the bytes that pass through it.
struct Counted<'a, S>(S, Passed<'a>);

impl<S: Read> Read for Counted<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.0.read(buffer)?;
        (self.1)(count as u64);
        Ok(count)
    }
}
