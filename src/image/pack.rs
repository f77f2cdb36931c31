//! From a tree, or a file system, to an image: the base is made on the Linux side of what is sent there, then sealed with a
//! kernel and tools.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Config;
use super::merge::{MergeError, Merged};
use crate::digest::Sha256;
use crate::script;
use crate::shell::Script;

/// What a base is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the layers come to.
    Tar,
    Squashfs,
    Ext4,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
        }
    }

    /// The base's file system.
    fn format(self) -> &'static str {
        match self {
            Self::Tar | Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
        }
    }
}

/// Makes the base; what is sent as standard input is to come to its end before the image is sealed.
pub fn base(kind: Kind) -> Script<()> {
    script!("image/pack" with ["cell/lib"], |_| Ok(())).input("KIND", kind.word())
}

/// Makes an image of the base; its answer is the image's id.
pub fn seal(kind: Kind, name: &str, from: &str, source: &Source<'_>) -> Script<String> {
    script!("image/seal" with ["cell/lib", "image/lib"], |answer| answer.get("ID"))
        .input("NAME", name)
        .input("FORMAT", kind.format())
        .input("FROM", from)
        .input("META", source.members())
}

/// Makes an image of what `mvm image export` wrote to `file`, under another name; its answer is the image's id.
pub fn unpack(mut image: Value, name: &str, file: &Path) -> Result<Script<String>, String> {
    let mut files = Vec::new();
    for file in ["kernel", "base", "initrd", "tools"] {
        let Some(entry) = image.get(file).filter(|entry| !entry.is_null()) else { continue };
        let digest = entry.get("sha256").and_then(Value::as_str).and_then(|text| text.parse::<Sha256>().ok());
        files.push(format!(
            "{file}={}",
            digest.ok_or_else(|| format!("its image.json has no digest of `{file}`"))?
        ));
    }
    let id: String =
        Sha256::of(format!("{name} {}", files.join(" ")).as_bytes()).to_string().chars().take(12).collect();
    for (key, value) in [("id", &*id), ("name", name), ("suite", "")] {
        image[key] = value.into();
    }
    Ok(script!("image/unpack" with ["cell/lib", "image/lib"], |answer| answer.get("ID"))
        .input("ID", id)
        .input("IMAGE_JSON", image.to_string())
        .args(files)
        .payload(file.to_owned()))
}

/// Where an image comes from, for its `image.json`.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// A reference or a file's name.
    pub from: &'a str,
    /// Of its manifest or file: `sha256:…`.
    pub digest: &'a str,
    pub config: &'a Config,
}

impl Source<'_> {
    /// Members of a JSON object, without its braces.
    fn members(&self) -> String {
        let mut object = Map::new();
        object.insert("from".to_owned(), json!(self.from));
        object.insert("digest".to_owned(), json!(self.digest));
        object.insert("config".to_owned(), json!(self.config));
        let text = Value::Object(object).to_string();
        text[1..text.len() - 1].to_owned()
    }
}

/// Writes what the layers come to. An error of a layer's is kept as it is, to be told from one of the writing.
pub fn write(merged: &Merged, out: &mut dyn Write) -> io::Result<()> {
    merged.write(out, &mut |_| {}).map_err(|error| match error {
        MergeError::Write(error) => error,
        other => io::Error::other(other),
    })
}
