//! The environment variables that a machine's sessions have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names that a shell knows, and values of one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `NAME=value`.
    pub fn pairs(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}"))
    }

    /// Names that are not the same in `other`; values may be secrets, so they are nobody's to print.
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let names = self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(*name)));
        let mut names: Vec<_> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl TryFrom<BTreeMap<String, String>> for Environment {
    type Error = String;

    fn try_from(pairs: BTreeMap<String, String>) -> Result<Self, String> {
        for (name, value) in &pairs {
            if !is_name(name.as_bytes()) {
                return Err(format!(
                    "`{name}` is no variable's name: it has letters, digits and `_`, and no digit first"
                ));
            }
            // A line of sshd's settings holds them.
            if value.chars().any(char::is_control) {
                return Err(format!("the value of `{name}` has to be one line, without control characters"));
            }
        }
        Ok(Self(pairs))
    }
}

/// Whether it is a variable's name, as shells know it.
pub fn is_name(name: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.first().is_some_and(letter) && name.iter().all(|byte| letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Environment, String> {
        let pairs: BTreeMap<_, _> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        pairs.try_into()
    }

    #[test]
    fn names_and_values_are_checked() {
        assert!(environment(&[("DEBUG", "1"), ("_x9", "a \"b\" ä")]).is_ok());
        for bad in [("1A", ""), ("A-B", ""), ("", ""), ("A", "one\ntwo"), ("A", "\u{1b}[31m")] {
            assert!(environment(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_differs_is_named_without_its_value() {
        let before = environment(&[("A", "1"), ("B", "1"), ("C", "1")]).unwrap();
        let after = environment(&[("B", "2"), ("C", "1"), ("D", "1")]).unwrap();
        assert_eq!(before.differing(&after), ["A", "B", "D"]);
        assert_eq!(before.differing(&before), [""; 0]);
    }
}
