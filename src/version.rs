//! The versions of the files that mvm writes and reads again: an older one is brought to today's form, a newer one is refused with
//! what to do. This is the one place that has them; scripts that write such a file are given the number.
//!
//! A version is raised when an mvm that ignores what is new would do harm: it then leaves the file alone. What is merely new, and
//! has a default, needs none.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// One kind of file.
#[derive(Debug)]
pub struct Form {
    /// What it is called.
    file: &'static str,
    /// What this mvm writes.
    pub version: u32,
    /// What makes a version the one after it, from 0 on, which is what has no number.
    older: &'static [fn(&mut Map<String, Value>)],
    /// Beside an update of mvm, what helps where a newer mvm wrote it.
    otherwise: &'static str,
}

/// Of a machine. Version 2 has a network policy, which an older mvm would not enforce; a file without one is written as version 1.
pub const MACHINE: Form = Form {
    file: "vm.json",
    version: 2,
    older: &[the_number_alone, the_number_alone],
    otherwise: "`mvm destroy` the machine, with its disk",
};

/// Of an image.
pub const IMAGE: Form = Form {
    file: "image.json",
    version: 1,
    older: &[the_number_alone],
    otherwise: "remove the image with `mvm image rm`",
};

/// Of a snapshot: its `meta`.
pub const SNAPSHOT: Form = Form {
    file: "the snapshot's meta",
    version: 1,
    older: &[the_number_alone],
    otherwise: "remove the snapshot with `mvm snapshot rm`",
};

/// Of a memory: its `meta`. The disk beside it is whole without it.
pub const MEMORY: Form = Form {
    file: "its memory",
    version: 1,
    older: &[the_number_alone],
    otherwise: "start the machine, which boots from its disk",
};

/// The user's settings.
pub const SETTINGS: Form = Form {
    file: "config.toml",
    version: 1,
    older: &[the_number_alone],
    otherwise: "name another file in MVM_CONFIG",
};

/// What came without a number has the form of version 1, and what is merely new a default.
fn the_number_alone(_: &mut Map<String, Value>) {}

impl Form {
    /// The version of a file that has the number `found`, or none; why it cannot be read where that is a newer one's.
    pub fn check(&self, found: Option<u64>) -> Result<u32, String> {
        let Self { file, version, otherwise, .. } = self;
        match found {
            None => Ok(0),
            Some(found) if found <= u64::from(*version) => Ok(u32::try_from(found).unwrap_or_default()),
            Some(found) => Err(format!(
                "{file} has version {found}, and this mvm knows {version}: it was made by a newer mvm; update mvm, or {otherwise}"
            )),
        }
    }

    /// As [`Form::check`], of a number as it stands in a file of lines; empty where there is none.
    pub fn check_text(&self, found: &str) -> Result<u32, String> {
        match (found, found.parse()) {
            ("", _) => self.check(None),
            (_, Ok(number)) => self.check(Some(number)),
            (_, Err(_)) => Err(format!("{} cannot be read: its version is `{found}`", self.file)),
        }
    }

    /// Reads a file of JSON, of whatever version it is; the error says what is wrong with it.
    pub fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, String> {
        let object = serde_json::from_str(text).map_err(|error| self.unreadable(error))?;
        serde_json::from_value(Value::Object(self.upgrade(object)?)).map_err(|error| self.unreadable(error))
    }

    /// The same in the form of today.
    pub fn upgrade(&self, mut object: Map<String, Value>) -> Result<Map<String, Value>, String> {
        let number = match object.get("version") {
            None => None,
            Some(version) => {
                Some(version.as_u64().ok_or_else(|| self.unreadable(format!("its version is {version}")))?)
            }
        };
        let found = usize::try_from(self.check(number)?).unwrap_or_default();
        for step in self.older.iter().skip(found) {
            step(&mut object);
        }
        object.insert("version".to_owned(), self.version.into());
        Ok(object)
    }

    fn unreadable(&self, error: impl std::fmt::Display) -> String {
        format!("{} cannot be read: {error}", self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Read {
        version: u32,
        cpus: u8,
    }

    /// As a later mvm would have it: first the processors were called otherwise, then they came to be two at least.
    const LATER: Form = Form {
        version: 2,
        older: &[
            |object| {
                if let Some(count) = object.remove("processors") {
                    object.insert("cpus".to_owned(), count);
                }
            },
            |object| {
                object.entry("cpus").or_insert(2.into());
            },
        ],
        ..MACHINE
    };

    #[test]
    fn older_ones_are_brought_to_the_form_of_today() {
        for text in [
            r#"{"processors":2}"#,
            r#"{"version":0,"processors":2}"#,
            r#"{"version":1}"#,
            r#"{"version":2,"cpus":2}"#,
        ] {
            assert_eq!(LATER.read(text), Ok(Read { version: 2, cpus: 2 }), "{text}");
        }
        // What counts in version 1 only is not looked at in a later one.
        assert!(LATER.read::<Read>(r#"{"version":2,"processors":2}"#).is_err());
    }

    #[test]
    fn newer_ones_and_broken_ones_say_what_they_are() {
        let why = |text: &str| LATER.read::<Read>(text).unwrap_err();
        let newer = why(r#"{"version":3,"cpus":2}"#);
        assert!(newer.contains("version 3") && newer.contains("update mvm, or `mvm destroy`"), "{newer}");
        for text in [
            "",
            "[]",
            "{\"version\":2",
            r#"{"version":"x"}"#,
            r#"{"version":-1}"#,
            r#"{"version":2,"cpus":-1}"#,
        ] {
            assert!(why(text).starts_with("vm.json cannot be read"), "{text}: {}", why(text));
        }
        assert_eq!((SNAPSHOT.check_text(""), SNAPSHOT.check_text("1")), (Ok(0), Ok(1)));
        assert!(SNAPSHOT.check_text("2").unwrap_err().contains("newer") && SNAPSHOT.check_text("x").is_err());
    }

    #[test]
    fn each_version_has_what_makes_it_of_the_one_before() {
        for form in [MACHINE, IMAGE, SNAPSHOT, MEMORY, SETTINGS] {
            assert_eq!(form.older.len(), form.version as usize, "{}", form.file);
        }
    }
}
