//! Where a project's file is: in a folder, or in one above it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::FILE;
use crate::config;
use crate::error::{Error, Result};

/// The file of the project that `folder` is in. What it says is run and shared with a machine, so it has to be the user's
/// own, or root's: in a folder for all, such as /tmp, anybody may lay one.
pub fn find(folder: &Path) -> Result<Option<PathBuf>> {
    let Some(path) = folder.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file()) else {
        return Ok(None);
    };
    let owner = fs_err::metadata(&path)?.uid();
    if is_trusted(owner, rustix::process::geteuid().as_raw(), config::sudo_user()) {
        return Ok(Some(path));
    }
    Err(Error::usage(format!(
        "{} belongs to another user (uid {owner}), so mvm does not follow it",
        path.display()
    ))
    .hint(format!("if you trust it: `MVM_PROJECT={}`", path.display())))
}

/// `sudo` is the user who became root by it.
fn is_trusted(owner: u32, me: u32, sudo: Option<u32>) -> bool {
    owner == me || owner == 0 || (me == 0 && sudo == Some(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_stranger_is_not_followed() {
        for (owner, me, sudo, trusted) in [
            (1000, 1000, None, true),
            (0, 1000, None, true),
            (1001, 1000, None, false),
            (1001, 1000, Some(1001), false),
            (1000, 0, None, false),
            (1000, 0, Some(1000), true),
            (1001, 0, Some(1000), false),
        ] {
            assert_eq!(is_trusted(owner, me, sudo), trusted, "{owner} {me} {sudo:?}");
        }
    }

    #[test]
    fn the_nearest_file_above_counts() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        fs_err::create_dir_all(&deep).unwrap();
        assert_eq!(find(&deep).unwrap(), None);
        for above in ["", "a/b"] {
            let file = dir.path().join(above).join(FILE);
            fs_err::write(&file, "").unwrap();
            assert_eq!(find(&deep).unwrap(), Some(file));
        }
        // A folder of that name is none.
        fs_err::create_dir(deep.join(FILE)).unwrap();
        assert_eq!(find(&deep).unwrap(), Some(dir.path().join("a/b").join(FILE)));
    }
}
