//! A folder of the host that a machine shares, as one names it and as `vm.json` keeps it.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `HOST:GUEST[:ro]`: a folder of the host, where it appears in the machine, and whether it may be written there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountSpec {
    /// On the host that mvm runs on: with Lima on a Mac, a folder of the Mac.
    pub host: PathBuf,
    pub guest: GuestPath,
    pub read_only: bool,
}

impl MountSpec {
    /// The same with a host path that holds from everywhere: a relative one is relative to `base`.
    #[must_use]
    pub fn beneath(self, base: &Path) -> Self {
        let mut host = PathBuf::new();
        // `..` stays: what is before it may be a link.
        for component in base.join(&self.host).components().filter(|part| *part != Component::CurDir) {
            host.push(component);
        }
        Self { host, ..self }
    }

    /// `mounts` with `added` among them; one at the same place in the machine is replaced.
    pub fn merge(mounts: &[Self], added: &[Self]) -> Vec<Self> {
        let mut merged = mounts.to_vec();
        for mount in added {
            match merged.iter_mut().find(|old| old.guest == mount.guest) {
                Some(old) => *old = mount.clone(),
                None => merged.push(mount.clone()),
            }
        }
        merged
    }

    /// What is wrong with these together: one inside of another would disappear with it.
    pub fn conflict(mounts: &[Self]) -> Option<String> {
        let within =
            |inner: &Self, outer: &Self| Path::new(inner.guest.as_str()).starts_with(outer.guest.as_str());
        mounts.iter().enumerate().find_map(|(index, inner)| {
            let (_, outer) =
                mounts.iter().enumerate().find(|(at, outer)| *at != index && within(inner, outer))?;
            Some(if inner.guest == outer.guest {
                format!("two shared folders are to be at `{}`", inner.guest)
            } else {
                format!("the shared folder `{}` would lie inside of `{}`", inner.guest, outer.guest)
            })
        })
    }
}

impl FromStr for MountSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "give HOST:GUEST or HOST:GUEST:ro, such as `./src:/work`";
        let parts: Vec<&str> = text.split(':').collect();
        let (host, guest, read_only) = match parts[..] {
            [host, guest] | [host, guest, "rw"] => (host, guest, false),
            [host, guest, "ro"] => (host, guest, true),
            [_] => return Err(FORM.to_owned()),
            // Windows' own paths, and all others with a colon.
            _ => return Err(format!("a path with a `:` cannot be shared; {FORM}")),
        };
        if host.is_empty() {
            return Err(FORM.to_owned());
        }
        // It becomes a word of a line, and a line of a file.
        if text.contains(char::is_control) {
            return Err("a path with control characters cannot be shared".to_owned());
        }
        Ok(Self { host: host.into(), guest: guest.parse()?, read_only })
    }
}

impl TryFrom<String> for MountSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MountSpec> for String {
    fn from(mount: MountSpec) -> Self {
        mount.to_string()
    }
}

impl fmt::Display for MountSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.host.display(), self.guest, if self.read_only { ":ro" } else { "" })
    }
}

/// A folder in a machine: absolute, without `.` and `..`, and none that the machine itself needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct GuestPath(String);

impl GuestPath {
    /// What a machine would not work without.
    const TAKEN: [&str; 12] =
        ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var"];
    /// Of these nothing below either is a place for files.
    const SYSTEM: [&str; 3] = ["/dev", "/proc", "/sys"];

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GuestPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("`{text}` is no absolute path: the folder in the machine begins with `/`"));
        }
        let mut path = String::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                return Err(format!("`{text}`: write the folder in the machine without `..`"));
            }
            path.push('/');
            path.push_str(part);
        }
        let below_system = Self::SYSTEM.iter().any(|system| Path::new(&path).starts_with(system));
        if path.is_empty() || below_system || Self::TAKEN.contains(&path.as_str()) {
            let place = if path.is_empty() { "/" } else { &path };
            return Err(format!("`{place}` is the machine's own; take another folder, such as `/work`"));
        }
        Ok(Self(path))
    }
}

impl TryFrom<String> for GuestPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> MountSpec {
        text.parse().unwrap()
    }

    #[test]
    fn forms() {
        for (text, host, guest, read_only) in [
            ("./src:/work", "./src", "/work", false),
            ("/a b:/srv/ä:ro", "/a b", "/srv/ä", true),
            (".:/home//dev/./x/:rw", ".", "/home/dev/x", false),
            ("../lib:/var/lib/app", "../lib", "/var/lib/app", false),
        ] {
            let parsed = mount(text);
            assert_eq!(
                (parsed.host.to_str(), parsed.guest.as_str(), parsed.read_only),
                (Some(host), guest, read_only)
            );
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
        for (text, why) in [
            ("", "give HOST"),
            ("/a", "give HOST"),
            (":/a", "give HOST"),
            ("/a:b", "no absolute path"),
            ("/a:", "no absolute path"),
            ("/a:/b:/c", "`:`"),
            ("/a:b:/c:ro", "`:`"),
            ("/a:/b:rx", "`:`"),
            ("/a:/", "machine's own"),
            ("/a:/proc/x", "machine's own"),
            ("/a://usr/", "machine's own"),
            ("/a:/b/../c", "`..`"),
            ("/a\n:/b", "control"),
        ] {
            let error = text.parse::<MountSpec>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn host_paths_hold_from_everywhere() {
        for (text, host) in [
            ("./src:/w", "/home/me/src"),
            (".:/w", "/home/me"),
            ("../x:/w", "/home/me/../x"),
            ("/y/:/w", "/y"),
        ] {
            assert_eq!(mount(text).beneath(Path::new("/home/me")).host, Path::new(host), "{text}");
        }
    }

    #[test]
    fn together() {
        let merged =
            MountSpec::merge(&[mount("/a:/x"), mount("/b:/y")], &[mount("/c:/y:ro"), mount("/d:/z")]);
        assert_eq!(merged, [mount("/a:/x"), mount("/c:/y:ro"), mount("/d:/z")]);
        assert_eq!(MountSpec::conflict(&merged), None);
        for (mounts, why) in [
            (["/a:/x", "/b:/x"], Some("two shared folders")),
            (["/a:/x/y", "/b:/x"], Some("`/x/y` would lie inside of `/x`")),
            (["/a:/xy", "/b:/x"], None),
        ] {
            let conflict = MountSpec::conflict(&mounts.map(mount));
            assert_eq!(conflict.is_some(), why.is_some(), "{conflict:?}");
            assert!(conflict.unwrap_or_default().contains(why.unwrap_or_default()));
        }
    }
}
