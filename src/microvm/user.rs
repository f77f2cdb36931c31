//! The user in the guest that sessions are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A user's name, as Linux distributions take it: a letter or `_`, then up to 31 letters, digits, `_` and `-`, all lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct UserName(String);

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is kept: root is the user of a machine that names none.
    pub fn unless_root(self) -> Option<Self> {
        (self.0 != "root").then_some(self)
    }
}

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let later = |byte: u8| first(byte) || byte.is_ascii_digit() || byte == b'-';
        let mut bytes = text.bytes();
        if bytes.next().is_some_and(first) && bytes.all(later) && text.len() <= 32 {
            Ok(Self(text.to_owned()))
        } else {
            Err("a user's name is 1 to 32 of `a-z`, `0-9`, `_` and `-`, and begins with a letter or `_`"
                .to_owned())
        }
    }
}

impl TryFrom<String> for UserName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["me", "_apt", "www-data", "a1", &"x".repeat(32)] {
            assert!(good.parse::<UserName>().is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "Me", "a b", "a:b", "a.b", "../x", &"x".repeat(33)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
        assert_eq!("root".parse::<UserName>().unwrap().unless_root(), None);
    }
}
