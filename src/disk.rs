//! What files take of this host's disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bytes of disk that a file takes, or a folder with all that is in it; what cannot be seen counts nothing. (`st_blocks` is in
/// units of 512 bytes, inode(7).)
pub fn blocks(path: &Path) -> u64 {
    let Ok(metadata) = fs_err::symlink_metadata(path) else { return 0 };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        let entries = fs_err::read_dir(path).into_iter().flatten().flatten();
        bytes += entries.map(|entry| blocks(&entry.path())).sum::<u64>();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_file_takes_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs_err::File::create(dir.path().join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        fs_err::write(dir.path().join("written"), vec![1; 1 << 20]).unwrap();
        let bytes = blocks(dir.path());
        assert!((1 << 20..1 << 21).contains(&bytes), "{bytes}");
        assert_eq!(blocks(&dir.path().join("none")), 0);
    }
}
