//! Images from files: what `docker save`, `podman save` and OCI's tools write, plain tars, and file systems.

mod archive;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use archive::Archive;
use serde_json::Value;

use super::merge::{Blob, Layer, Packing};
use super::oci::{self, Parsed};
use super::pack::Kind;
use super::{Config, Image, check_squashfs};
use crate::digest::Sha256;
use crate::version;

/// What was found in a file.
#[derive(Debug)]
pub struct Found {
    pub content: Content,
    pub config: Config,
    /// `sha256:…` of the image's configuration, or of the file.
    pub digest: String,
}

#[derive(Debug)]
pub enum Content {
    /// The lowest first.
    Layers(Vec<Layer>),
    /// What `mvm image export` wrote: its `image.json`.
    Exported(Value),
    /// The file itself is a file system.
    FileSystem(Kind),
}

/// More entries than an archive of an image has; a tar of a tree has many more.
const ARCHIVE_ENTRIES: usize = 4096;
const LARGEST_TEXT: u64 = 16 << 20;

/// Finds out what is at `path` and reads what it says of itself. What is compressed as a whole and holds an image is unpacked
/// into `scratch`. The error says why it is of no use.
pub fn open(path: &Path, arch: &str, scratch: &Path) -> Result<Found, String> {
    let text = |error: std::io::Error| error.to_string();
    if fs_err::metadata(path).map_err(text)?.is_dir() {
        return layout(&Archive::of_folder(path), arch);
    }
    let mut head = vec![0; 2048];
    let mut file = fs_err::File::open(path).map_err(text)?;
    let length = read_up_to(&mut file, &mut head).map_err(text)?;
    head.truncate(length);
    if head.starts_with(b"hsqs") {
        check_squashfs(path)?;
        return file_system(path, Kind::Squashfs);
    }
    // Documentation/filesystems/ext4/super.rst: the magic number at byte 56 of the superblock, which begins at 1024.
    if head.get(0x438..0x43a) == Some(b"\x53\xef") {
        return file_system(path, Kind::Ext4);
    }
    if let Some(archive) = Archive::of_file(path).map_err(text)? {
        return of_archive(&archive, arch);
    }
    let blob = Blob::file(path.to_owned()).map_err(text)?;
    if blob.packing().map_err(text)? != Packing::None && Archive::begins_one(blob.unpacked().map_err(text)?) {
        let mut whole = blob.unpacked().map_err(text)?;
        let mut to = fs_err::File::create(scratch).map_err(text)?;
        std::io::copy(&mut whole, &mut to)
            .map_err(|error| format!("it cannot be unpacked to {}: {error}", scratch.display()))?;
        if let Some(archive) = Archive::of_file(scratch).map_err(text)? {
            return of_archive(&archive, arch);
        }
    }
    let first = first_block(&blob).map_err(|error| format!("it cannot be unpacked: {error}"))?;
    if first.get(257..262) != Some(b"ustar") && !is_old_tar(&first) {
        return Err(
            "it is neither an image's archive, nor a tar, nor a squashfs or ext4 file system".to_owned()
        );
    }
    let digest = format!("sha256:{}", Sha256::of_file(path).map_err(text)?);
    Ok(Found {
        content: Content::Layers(vec![Layer { blob, diff_id: None }]),
        config: Config::default(),
        digest,
    })
}

fn file_system(path: &Path, kind: Kind) -> Result<Found, String> {
    let digest = Sha256::of_file(path).map_err(|error| error.to_string())?;
    Ok(Found {
        content: Content::FileSystem(kind),
        config: Config::default(),
        digest: format!("sha256:{digest}"),
    })
}

fn of_archive(archive: &Archive, arch: &str) -> Result<Found, String> {
    if archive.has("image.json") {
        return exported(archive, arch);
    }
    if archive.has("manifest.json") { saved(archive, arch) } else { layout(archive, arch) }
}

fn exported(archive: &Archive, arch: &str) -> Result<Found, String> {
    let text = archive.text("image.json", LARGEST_TEXT)?;
    let object = serde_json::from_slice(&text)
        .map_err(|error| format!("its image.json cannot be read: {error}"))
        .and_then(|object| version::IMAGE.upgrade(object))?;
    let json = Value::Object(object);
    let image: Image = serde_json::from_value(json.clone())
        .map_err(|error| format!("its image.json cannot be read: {error}"))?;
    if image.arch != arch {
        return Err(format!("it is made for {}, and machines here are {arch}", image.arch));
    }
    // Before much is sent: their digests are checked where they arrive.
    for (name, file) in image.files() {
        let there = archive.blob(name)?.there().map_err(|error| error.to_string())?;
        if there != file.bytes {
            return Err(format!("it is cut off: its file {name} has {there} bytes of {}", file.bytes));
        }
    }
    let digest = format!("sha256:{}", Sha256::of(&text));
    Ok(Found { content: Content::Exported(json), config: image.config, digest })
}

/// What `docker save` and `podman save` write: `manifest.json`, and the files that it names.
fn saved(archive: &Archive, arch: &str) -> Result<Found, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image {
        config: String,
        layers: Vec<String>,
        #[serde(default)]
        repo_tags: Option<Vec<String>>,
    }
    let images: Vec<Image> = serde_json::from_slice(&archive.text("manifest.json", LARGEST_TEXT)?)
        .map_err(|error| format!("its manifest.json cannot be read: {error}"))?;
    let [image] = images.as_slice() else {
        let names: Vec<_> = images.iter().filter_map(|image| image.repo_tags.clone()).flatten().collect();
        return Err(format!("it has {} images ({}): save one of them alone", images.len(), names.join(", ")));
    };
    found(archive, &archive.text(&image.config, LARGEST_TEXT)?, &image.layers, arch)
}

/// OCI's layout: `index.json`, and blobs by their digest.
fn layout(archive: &Archive, arch: &str) -> Result<Found, String> {
    let blob = |digest: Sha256| format!("blobs/sha256/{digest}");
    let verified = |digest: Sha256| -> Result<Vec<u8>, String> {
        let bytes = archive.text(&blob(digest), LARGEST_TEXT)?;
        if Sha256::of(&bytes) == digest { Ok(bytes) } else { Err(format!("its blob {digest} is damaged")) }
    };
    let mut bytes = archive.text("index.json", LARGEST_TEXT)?;
    for _ in 0..4 {
        match oci::parse(&bytes, arch)? {
            Parsed::Index(next) => bytes = verified(next.sha256())?,
            Parsed::Manifest(manifest) => {
                let layers: Vec<_> = manifest.layers.iter().map(|layer| blob(layer.sha256())).collect();
                return found(archive, &verified(manifest.config.sha256())?, &layers, arch);
            }
        }
    }
    Err("its index names indexes only".to_owned())
}

fn found(archive: &Archive, config: &[u8], layers: &[String], arch: &str) -> Result<Found, String> {
    let image = oci::parse_config(config, arch)?;
    if image.diff_ids.len() != layers.len() {
        return Err("its configuration and its manifest differ in their layers".to_owned());
    }
    let layers: Result<Vec<_>, String> = layers
        .iter()
        .zip(image.diff_ids)
        .map(|(name, diff_id)| Ok(Layer { blob: archive.blob(name)?, diff_id: Some(diff_id) }))
        .collect();
    Ok(Found {
        content: Content::Layers(layers?),
        config: image.config,
        digest: format!("sha256:{}", Sha256::of(config)),
    })
}

fn first_block(blob: &Blob) -> std::io::Result<Vec<u8>> {
    let mut block = vec![0; 512];
    let length = read_up_to(&mut blob.unpacked()?, &mut block)?;
    block.truncate(length);
    Ok(block)
}

/// Of before 1988: no magic number, but a checksum.
fn is_old_tar(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<512>() else { return false };
    let told = std::str::from_utf8(&block[148..156]).ok();
    let told = told.and_then(|text| u32::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok());
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    block[0] != 0 && told == Some(sum)
}

fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Reads a part of a file.
fn read_at(blob: &Blob, largest: u64) -> std::io::Result<Vec<u8>> {
    if blob.bytes > largest {
        return Err(std::io::Error::other("it is larger than such a file is"));
    }
    let mut file = fs_err::File::open(&blob.path)?;
    file.seek(SeekFrom::Start(blob.offset))?;
    let mut bytes = Vec::new();
    file.take(blob.bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
