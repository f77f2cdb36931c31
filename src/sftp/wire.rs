//! Numbers, strings and attributes, as the protocol writes them.

use std::io::{Error, ErrorKind, Result};

use rustix::fs::Stat;

/// Reads a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "an SFTP request is cut"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u32> {
        Ok(self.take(4)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(super) fn long(&mut self) -> Result<u64> {
        Ok(u64::from(self.number()?) << 32 | u64::from(self.number()?))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8]> {
        let length = self.number()? as usize;
        self.take(length)
    }

    pub(super) fn attributes(&mut self) -> Result<Attributes> {
        let flags = self.number()?;
        let mut attributes = Attributes::default();
        if flags & Attributes::SIZE != 0 {
            attributes.size = Some(self.long()?);
        }
        if flags & Attributes::OWNER != 0 {
            // All files are those of whoever shares them.
            self.long()?;
        }
        if flags & Attributes::MODE != 0 {
            attributes.mode = Some(self.number()?);
        }
        if flags & Attributes::TIMES != 0 {
            attributes.times = Some((self.number()?, self.number()?));
        }
        Ok(attributes)
    }
}

/// What a request says of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) mode: Option<u32>,
    /// Of the last access and the last change, in unix seconds.
    pub(super) times: Option<(u32, u32)>,
}

impl Attributes {
    const SIZE: u32 = 1;
    const OWNER: u32 = 2;
    const MODE: u32 = 4;
    const TIMES: u32 = 8;
}

pub(super) fn number(out: &mut Vec<u8>, number: u32) {
    out.extend(number.to_be_bytes());
}

pub(super) fn long(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_be_bytes());
}

/// At most a packet's worth of bytes.
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend(bytes);
}

/// Owners say nothing in a machine, whose users are others.
#[expect(clippy::allow_attributes, reason = "the types of a `stat` differ between systems")]
#[allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::unnecessary_cast,
    clippy::useless_conversion
)]
pub(super) fn attributes(out: &mut Vec<u8>, stat: &Stat) {
    number(out, Attributes::SIZE | Attributes::OWNER | Attributes::MODE | Attributes::TIMES);
    long(out, stat.st_size as u64);
    long(out, 0);
    number(out, u32::from(stat.st_mode));
    // Times before 1970 and after 2106 have no form here.
    let seconds = |time: i64| time.clamp(0, i64::from(u32::MAX)) as u32;
    number(out, seconds(stat.st_atime as i64));
    number(out, seconds(stat.st_mtime as i64));
}
