//! What an image of a registry is asked for by: `docker.io/library/python:3.12` (the grammar of distribution/reference).

use std::fmt;
use std::str::FromStr;

use crate::digest::Sha256;

/// Docker Hub's name in references.
pub(super) const HUB: &str = "docker.io";
const LONGEST: usize = 255;
const LONGEST_TAG: usize = 128;

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `ghcr.io`, `localhost:5000`.
    pub registry: String,
    /// `library/python`.
    pub repository: String,
    pub version: Version,
}

/// Which one of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// May name another image tomorrow.
    Tag(String),
    Digest(Sha256),
}

impl Reference {
    /// Whether `text` names a registry, as a reference does here: a first part with a dot, a port, or `localhost`.
    pub fn names_a_registry(text: &str) -> bool {
        text.split_once('/').is_some_and(|(first, _)| first == "localhost" || first.contains(['.', ':']))
    }

    /// Where the registry's API is, unless a mirror stands for it. (Docker Hub's is not under its name; a registry on this
    /// host speaks HTTP, as for Docker.)
    pub fn base(&self) -> String {
        let host = self.registry.split(':').next().unwrap_or_default();
        match self.registry.as_str() {
            HUB | "index.docker.io" => "https://registry-1.docker.io".to_owned(),
            registry if host == "localhost" || host.starts_with("127.") => format!("http://{registry}"),
            registry => format!("https://{registry}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, version } = self;
        f.pad(&match version {
            Version::Tag(tag) => format!("{registry}/{repository}:{tag}"),
            Version::Digest(digest) => format!("{registry}/{repository}@sha256:{digest}"),
        })
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no image of a registry: {why}");
        let too_long = || "an image's name has at most 255 characters, its tag among them".to_owned();
        if text.len() > LONGEST {
            return Err(too_long());
        }
        if !Self::names_a_registry(text) {
            return Err(wrong("it begins with the registry, such as `docker.io/library/python:3.12`"));
        }
        let (registry, rest) = text.split_once('/').unwrap_or((text, ""));
        if !is_registry(registry) {
            return Err(wrong(&format!("`{registry}` is no host")));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .strip_prefix("sha256:")
                    .ok_or_else(|| wrong("its digest begins with `sha256:`"))?;
                (rest, Some(digest.parse::<Sha256>().map_err(|why| wrong(&why))?))
            }
            None => (rest, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !repository.split('/').all(is_component) {
            return Err(wrong("the path has lower-case letters, digits, and `.`, `_`, `-` between them"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(wrong("a tag has letters, digits, `.`, `_` and `-`, 128 at most"));
        }
        let library = if registry == HUB && !repository.contains('/') { "library/" } else { "" };
        let reference = Self {
            registry: registry.to_owned(),
            repository: format!("{library}{repository}"),
            version: match digest {
                Some(digest) => Version::Digest(digest),
                None => Version::Tag(tag.unwrap_or("latest").to_owned()),
            },
        };
        // What is written down has to read again.
        if reference.to_string().len() > LONGEST { Err(too_long()) } else { Ok(reference) }
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Letters and digits, with `.`, `_`, `__` or hyphens between them.
fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut between = text.split(|letter: char| letter.is_ascii() && plain(letter as u8));
    text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
        && between.all(|text| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= LONGEST_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Reference>().map_or_else(|why| format!("! {why}"), |reference| reference.to_string())
    }

    #[test]
    fn references_are_completed() {
        let digest = "0".repeat(64);
        for (text, expected) in [
            ("docker.io/python", "docker.io/library/python:latest"),
            ("docker.io/library/python:3.12", "docker.io/library/python:3.12"),
            ("ghcr.io/a/b-c/d__e:v1", "ghcr.io/a/b-c/d__e:v1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("127.0.0.1:5000/x:t", "127.0.0.1:5000/x:t"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(&format!("quay.io/x:t@sha256:{digest}")), format!("quay.io/x@sha256:{digest}"));
        let base = |text: &str| text.parse::<Reference>().unwrap().base();
        assert_eq!(base("docker.io/x"), "https://registry-1.docker.io");
        assert_eq!(base("localhost:5000/x"), "http://localhost:5000");
        assert_eq!(base("ghcr.io/x"), "https://ghcr.io");
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "python",
            "library/python",
            "docker.io/",
            "docker.io/X",
            "docker.io/../x",
            "docker.io/a//b",
            "docker.io/a:",
            "docker.io/a:b c",
            "docker.io/a_-b",
            "docker.io/-a",
            "docker.io/a-",
            "bad host/x",
            "-x.io/a",
            "x.io:99999/a",
            "docker.io/a@md5:00",
            "docker.io/a@sha256:00",
            "docker.io/a:-t",
            "docker.io/é",
            "://x",
            "./x",
            "../x",
        ] {
            assert!(shown(bad).starts_with('!'), "{bad}: {}", shown(bad));
        }
        assert!(shown(&format!("docker.io/{}", "a".repeat(300))).contains("255"));
    }
}
