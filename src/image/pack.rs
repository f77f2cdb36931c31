//! From a tree, or a file system, to an image: the base is made on the Linux side of what is sent there, then sealed with a
//! kernel and tools.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::merge::{MergeError, Merged};
use super::{Config, Image, ImageName, OwnName};
use crate::digest::Sha256;
use crate::script;
use crate::shell::Script;
use crate::version;

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
    script!("image/pack" with ["cell/lib", "image/lib"], |_| Ok(())).input("KIND", kind.word())
}

/// Makes an image of the base; its answer is the image's id.
pub fn seal(kind: Kind, name: &str, from: &str, source: &Source<'_>) -> Script<String> {
    script!("image/seal" with ["cell/lib", "image/lib"], |answer| answer.get("ID"))
        .input("NAME", name)
        .input("FORMAT", kind.format())
        .input("FROM", from)
        .input("VERSION", version::IMAGE.version.to_string())
        .input("META", source.members())
}

/// Makes an image of what `mvm image export` wrote to `file`, whose answer is its id; and what it is called then: `name`, or the
/// name that it had.
pub fn unpack(
    mut image: Value,
    name: Option<&OwnName>,
    file: &Path,
) -> Result<(Script<String>, String), String> {
    if let Some(name) = name {
        (image["name"], image["suite"]) = (name.to_string().into(), "".into());
    }
    let read: Image = serde_json::from_value(image.clone()).map_err(|error| error.to_string())?;
    let label = read.label();
    if label.parse::<ImageName>().is_err() {
        return Err(format!(
            "it was called `{label}`, which is no name to ask for it by: give it one with `--as`"
        ));
    }
    let mut files = Vec::new();
    for (name, file) in read.files() {
        let digest = file.sha256.ok_or_else(|| format!("its image.json has no digest of `{name}`"))?;
        files.push(format!("{name}={digest}"));
    }
    let id: String =
        Sha256::of(format!("{label} {}", files.join(" ")).as_bytes()).to_string().chars().take(12).collect();
    image["id"] = id.as_str().into();
    let script = script!("image/unpack" with ["cell/lib", "image/lib"], |answer| answer.get("ID"))
        .input("ID", id)
        .input("IMAGE_JSON", image.to_string())
        .args(files)
        .payload(file.to_owned());
    Ok((script, label))
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
