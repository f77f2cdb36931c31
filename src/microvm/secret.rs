//! Secrets: taken from this host's environment, from a file or from standard input, and handed to a guest's memory. Their names may
//! be told, their values are in no command line, no file and no log.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::is_variable_name;
use crate::config;
use crate::error::{Error, Result};

/// The most that one may have, in bytes: it is to be a key or a password, in memory that the guest needs.
const LARGEST: u64 = 1 << 20;

/// What is to be handed over, and where it comes from: `NAME` or `NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretSource {
    pub name: String,
    from: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The variable of that name.
    Environment,
    File(PathBuf),
    /// `-`
    StandardInput,
}

impl FromStr for SecretSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, from) = match text.split_once('=') {
            None => (text, Origin::Environment),
            Some((name, "-")) => (name, Origin::StandardInput),
            Some((name, file)) if !file.is_empty() => (name, Origin::File(file.into())),
            Some((name, _)) => return Err(format!("`{name}=` names no file")),
        };
        if !is_variable_name(name.as_bytes()) {
            return Err("give `NAME` or `NAME=FILE`, the name of letters, digits and `_`".to_owned());
        }
        Ok(Self { name: name.to_owned(), from })
    }
}

impl TryFrom<String> for SecretSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl SecretSource {
    /// With a file's path seen from `folder`.
    #[must_use]
    pub fn beneath(self, folder: &Path) -> Self {
        match self.from {
            Origin::File(file) => Self { from: Origin::File(folder.join(file)), ..self },
            _ => self,
        }
    }

    pub fn is_standard_input(&self) -> bool {
        self.from == Origin::StandardInput
    }

    /// Whether it is a variable of this host's.
    pub fn is_variable(&self) -> bool {
        self.from == Origin::Environment
    }

    /// Reads it.
    pub fn read(&self) -> Result<Secret> {
        let name = &self.name;
        let value = match &self.from {
            Origin::Environment => config::secret(name).ok_or_else(|| {
                Error::usage(format!("the secret {name} is not in the environment"))
                    .hint(format!("export {name}, or name a file that holds it: `{name}=FILE`"))
            })?,
            Origin::File(path) => limited(fs_err::File::open(path)?)?,
            Origin::StandardInput => limited(std::io::stdin().lock())?,
        };
        if value.len() as u64 > LARGEST {
            return Err(Error::usage(format!("the secret {name} has more than 1 MiB"))
                .hint("`mvm cp` brings files into a machine"));
        }
        Ok(Secret { name: name.clone(), value })
    }
}

fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut value)?;
    Ok(value)
}

/// A secret itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    value: Vec<u8>,
}

/// Whoever prints it sees its name.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

/// What resources/guest/secrets reads.
pub(super) fn payload(secrets: &[Secret]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Secret { name, value } in secrets {
        bytes.extend_from_slice(format!("{name} {}\n", value.len()).as_bytes());
        bytes.extend_from_slice(value);
    }
    bytes.extend_from_slice(b"end\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microvm::session;

    #[test]
    fn sources() {
        let source = |text: &str| text.parse::<SecretSource>();
        assert_eq!(source("TOKEN").unwrap().from, Origin::Environment);
        assert!(source("TOKEN=-").unwrap().is_standard_input());
        let file = source("TOKEN=a=b").unwrap().beneath(Path::new("/src"));
        assert_eq!(file.from, Origin::File("/src/a=b".into()));
        for bad in ["", "=x", "A-B", "1A", "A=", "../A=x", "A B"] {
            assert!(source(bad).is_err(), "{bad}");
        }
        let missing = source("MVM_NO_SUCH_SECRET").unwrap().read().unwrap_err();
        assert!(missing.source.to_string().contains("not in the environment"), "{missing:?}");
    }

    #[test]
    fn a_value_is_in_no_word_and_in_nothing_that_is_printed() {
        let secrets = [Secret { name: "TOKEN".to_owned(), value: b"hunter2\nend\n".to_vec() }];
        let call = session::secrets(&"web".parse().unwrap(), Some("me"), &secrets);
        let words: Vec<_> = call.argv.iter().map(|word| word.to_string_lossy()).collect();
        assert!(words.iter().all(|word| !word.contains("hunter2")), "{words:?}");
        let printed = format!("{call:?} {secrets:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("104, 117, 110"), "{printed}");
        assert!(printed.contains("25 bytes"), "{printed}");
        let Some(crate::shell::Payload::Bytes(bytes)) = call.stdin else { panic!() };
        assert_eq!(bytes, b"TOKEN 12\nhunter2\nend\nend\n");
    }
}
