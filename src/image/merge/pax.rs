//! The records of a pax extended header: `LENGTH KEY=VALUE\n`, where a value may be any bytes.

use std::io;

use super::entries::damaged;

pub(super) const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";
pub(super) const SPARSE_NAME: &[u8] = b"GNU.sparse.name";
pub(super) const SPARSE_SIZE: &[u8] = b"GNU.sparse.size";
pub(super) const SPARSE_REAL_SIZE: &[u8] = b"GNU.sparse.realsize";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Record {
    pub(super) fn number(&self) -> io::Result<u64> {
        let text = std::str::from_utf8(&self.value).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| damaged("a number of an extended header is none"))
    }

    /// Whether a squashfs keeps it: ids and times too large for the header, attributes, the map of a sparse file.
    pub(super) fn is_kept(&self) -> bool {
        let key = self.key.as_slice();
        matches!(key, b"uid" | b"gid" | b"mtime")
            || [&b"SCHILY.xattr."[..], b"LIBARCHIVE.xattr.", SPARSE_PREFIX]
                .iter()
                .any(|prefix| key.starts_with(prefix))
    }
}

pub(super) fn parse(mut bytes: &[u8]) -> io::Result<Vec<Record>> {
    let wrong = || damaged("an extended header is malformed");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = std::str::from_utf8(&bytes[..blank]).ok().and_then(|text| text.parse::<usize>().ok());
        let length =
            length.filter(|length| *length > blank + 1 && *length <= bytes.len()).ok_or_else(wrong)?;
        let (record, rest) = bytes.split_at(length);
        let record = record[blank + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        records.push(Record { key: record[..equals].to_vec(), value: record[equals + 1..].to_vec() });
        bytes = rest;
    }
    Ok(records)
}

pub(super) fn format<'a>(records: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        // A blank, an equals sign and a line end; the length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + digits(rest);
        length = rest + digits(length);
        bytes.extend_from_slice(format!("{length} ").as_bytes());
        bytes.extend_from_slice(key);
        bytes.push(b'=');
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_survives_a_round_trip() {
        for length in [0, 1, 5, 80, 90, 91, 92, 93, 990, 9990] {
            let value: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            let bytes = format([(&b"SCHILY.xattr.user.x"[..], &value[..]), (b"mtime", b"1.5")].into_iter());
            let records = parse(&bytes).unwrap();
            assert_eq!((&records[0].value, &records[1].key[..]), (&value, &b"mtime"[..]));
        }
    }

    #[test]
    fn malformed_records_are_errors() {
        for text in ["5", "0 a=b\n", "99 a=b\n", "6 a=b ", "6 abc\n", "-6 a=b\n", "x a=b\n", "2 \n"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
