//! The one line in the user's `~/.ssh/config` that makes ssh know the machines.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

use super::quoted;

/// `Include …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    line: String,
}

impl Include {
    pub(super) fn of(files: &Path) -> Self {
        Self { line: format!("Include {}", quoted(files)) }
    }

    pub fn line(&self) -> &str {
        &self.line
    }

    pub fn is_in(&self, config: &Path) -> io::Result<bool> {
        let text = read(config)?;
        Ok(lines(&text).any(|line| self.is(line)))
    }

    /// Puts the line first: below a `Host` it would hold for that one only. False when it is there already.
    pub fn add(&self, config: &Path) -> io::Result<bool> {
        let text = read(config)?;
        if lines(&text).any(|line| self.is(line)) {
            return Ok(false);
        }
        write(config, &[self.line.as_bytes(), b"\n", &text].concat())?;
        Ok(true)
    }

    /// Takes the line away; false when it was not there. A file that holds nothing else goes as well.
    pub fn remove(&self, config: &Path) -> io::Result<bool> {
        let text = read(config)?;
        let rest: Vec<u8> = lines(&text).filter(|line| !self.is(line)).flatten().copied().collect();
        if rest.len() == text.len() {
            return Ok(false);
        }
        if rest.is_empty() && !config.is_symlink() {
            fs_err::remove_file(config)?;
        } else {
            write(config, &rest)?;
        }
        Ok(true)
    }

    fn is(&self, line: &[u8]) -> bool {
        line.trim_ascii() == self.line.as_bytes()
    }
}

/// The file's bytes, of whatever encoding; none when it is not there.
fn read(config: &Path) -> io::Result<Vec<u8>> {
    match fs_err::read(config) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Lines with their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// Replaces the file in one step, so that whatever ends this in the middle, the old or the new one is there whole. Its mode
/// stays, and a link stays a link.
fn write(config: &Path, text: &[u8]) -> io::Result<()> {
    let target = if config.is_symlink() { fs_err::canonicalize(config)? } else { config.to_owned() };
    let folder = target.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mode = fs_err::metadata(&target).map_or(0o600, |metadata| metadata.permissions().mode());
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text)?;
    file.as_file().set_permissions(PermissionsExt::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LINE: &str = "Include /state/ssh/*/config\n";

    fn include() -> Include {
        Include::of(Path::new("/state/ssh/*/config"))
    }

    #[test]
    fn added_once_and_taken_away_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        // Not text, and without a last line's end.
        let before = b"# \xff\r\nHost a\n  Include /state/ssh/*/config.d\n\tPort 1";
        fs_err::write(&config, before).unwrap();
        fs_err::set_permissions(&config, PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!((include().add(&config).unwrap(), include().add(&config).unwrap()), (true, false));
        assert!(include().is_in(&config).unwrap());
        assert_eq!(fs_err::read(&config).unwrap(), [LINE.as_bytes(), before].concat());
        assert_eq!(fs_err::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!((include().remove(&config).unwrap(), include().remove(&config).unwrap()), (true, false));
        assert_eq!(fs_err::read(&config).unwrap(), before);
        assert_eq!(fs_err::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn without_a_file_one_is_made_and_goes_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join(".ssh/config");
        assert!(!include().is_in(&config).unwrap() && !include().remove(&config).unwrap());
        assert!(include().add(&config).unwrap());
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&config), mode(config.parent().unwrap())), (0o600, 0o700));
        assert!(include().remove(&config).unwrap());
        assert!(!config.exists());
    }

    #[test]
    fn a_link_to_dotfiles_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (config, real) = (dir.path().join("config"), dir.path().join("dotfiles"));
        fs_err::write(&real, "Host a\n").unwrap();
        symlink("dotfiles", &config).unwrap();
        include().add(&config).unwrap();
        assert!(config.is_symlink());
        assert_eq!(fs_err::read_to_string(&real).unwrap(), format!("{LINE}Host a\n"));
        include().remove(&config).unwrap();
        assert_eq!(fs_err::read_to_string(&real).unwrap(), "Host a\n");
    }
}
