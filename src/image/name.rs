//! What an image is asked for by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Suite;
use super::oci::Reference;

/// `debian`, `debian:trixie`, `ubuntu`; `docker.io/library/python:3.12`; or a name that an import gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ImageName {
    Debian(Suite),
    /// Of Firecracker's CI.
    Ubuntu,
    /// Of a registry.
    Oci(Reference),
    /// Imported.
    Own(OwnName),
}

impl Default for ImageName {
    fn default() -> Self {
        Self::Debian(Suite::Bookworm)
    }
}

impl FromStr for ImageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "bookworm")) {
            ("debian", "bookworm") => Ok(Self::Debian(Suite::Bookworm)),
            ("debian", "trixie") => Ok(Self::Debian(Suite::Trixie)),
            ("ubuntu", _) if text == "ubuntu" => Ok(Self::Ubuntu),
            ("debian" | "ubuntu", _) => Err(format!(
                "mvm makes `ubuntu`, `debian` (the same as `debian:bookworm`) and `debian:trixie`; \
                 docker.io/library/{text} is Docker Hub's"
            )),
            _ if Reference::names_a_registry(text) => text.parse().map(Self::Oci),
            _ => text.parse().map(Self::Own).map_err(|_| {
                format!(
                    "`{text}` is no image: give `ubuntu`, `debian`, `debian:trixie`, the name of an imported one, or one of a \
                     registry, such as `docker.io/library/python:3.12`"
                )
            }),
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(suite) => f.pad(&format!("debian:{suite}")),
            Self::Ubuntu => f.pad("ubuntu"),
            Self::Oci(reference) => reference.fmt(f),
            Self::Own(name) => name.fmt(f),
        }
    }
}

/// A name of the user's for an image: a letter or digit, then up to 62 of `a-z 0-9 . _ -`; not one that mvm itself makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnName(String);

impl FromStr for OwnName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = text.bytes().next().is_some_and(letter)
            && text.bytes().all(|byte| letter(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && text.len() <= 63;
        if !valid {
            return Err(
                "an image's name is 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, and begins with a letter or digit"
                    .to_owned(),
            );
        }
        if matches!(text, "debian" | "ubuntu") {
            return Err(format!("`{text}` is the name of an image that mvm makes itself"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for OwnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_kinds() {
        for (text, expected) in [
            ("debian", "debian:bookworm"),
            ("debian:trixie", "debian:trixie"),
            ("ubuntu", "ubuntu"),
            ("app", "app"),
            ("my_app-1.2", "my_app-1.2"),
            ("docker.io/python:3.12", "docker.io/library/python:3.12"),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), expected);
        }
        for (text, hint) in [
            ("debian:sid", "docker.io/library/debian:sid"),
            ("ubuntu:24.04", "docker.io/library/ubuntu:24.04"),
            ("python:3.12", "docker.io"),
            ("../x", "registry"),
            ("App", "registry"),
            ("", "registry"),
        ] {
            let why = text.parse::<ImageName>().unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
        }
        assert!("debian".parse::<OwnName>().is_err() && "a/b".parse::<OwnName>().is_err());
    }
}
