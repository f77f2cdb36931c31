//! What registries and archives tell of an image: indexes, manifests and configurations (OCI's image specification 1.1, and
//! Docker's own forms, which differ in names only).

use serde::Deserialize;

use crate::digest::Sha256;
use crate::image::Config;

/// The kinds of manifest that are asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// More layers than any builder makes.
const MOST_LAYERS: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    #[serde(default, rename = "mediaType")]
    media_type: String,
    digest: Digest,
    pub size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

impl Descriptor {
    pub fn sha256(&self) -> Sha256 {
        self.digest.0
    }
}

/// `sha256:…`, the only kind that registries use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(pub Sha256);

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits =
            text.strip_prefix("sha256:").ok_or_else(|| format!("`{text}` is no digest that mvm knows"))?;
        digits.parse().map(Self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// An image's parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    pub config: Descriptor,
    /// The lowest first.
    pub layers: Vec<Descriptor>,
}

/// What a manifest's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    Manifest(Manifest),
    /// The manifest for this processor.
    Index(Descriptor),
}

/// OCI's word for what `uname -m` says.
fn architecture(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Reads an index or a manifest; the error says why it is of no use.
pub fn parse(bytes: &[u8], arch: &str) -> Result<Parsed, String> {
    #[derive(Deserialize)]
    struct Either {
        #[serde(default, rename = "schemaVersion")]
        schema_version: u32,
        manifests: Option<Vec<Descriptor>>,
        config: Option<Descriptor>,
        layers: Option<Vec<Descriptor>>,
    }
    let either: Either =
        serde_json::from_slice(bytes).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    match either {
        Either { manifests: Some(manifests), .. } => {
            of_index(&manifests, architecture(arch)).map(Parsed::Index)
        }
        Either { config: Some(config), layers: Some(layers), .. } => {
            if layers.len() > MOST_LAYERS {
                return Err(format!("it has {} layers", layers.len()));
            }
            // A chart, a signature, a model: registries keep them as well.
            let is_image = config.media_type.is_empty() || config.media_type.contains("image");
            if !is_image
                || layers.iter().any(|layer| {
                    !layer.media_type.is_empty()
                        && !layer.media_type.contains("layer")
                        && !layer.media_type.contains("rootfs")
                })
            {
                return Err(format!("it is no image, but {}", config.media_type));
            }
            Ok(Parsed::Manifest(Manifest { config, layers }))
        }
        Either { schema_version: 1, .. } => Err("its manifest is of the form of 2015, schema 1".to_owned()),
        _ => Err("its manifest has neither layers nor manifests".to_owned()),
    }
}

fn of_index(manifests: &[Descriptor], arch: &str) -> Result<Descriptor, String> {
    let runs = |platform: &Platform| platform.os == "linux" && platform.architecture == arch;
    let found = manifests.iter().find(|each| each.platform.as_ref().is_some_and(runs));
    // An archive's index often has one image without a word of its platform; its configuration tells.
    let only = match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    found.or(only).cloned().ok_or_else(|| {
        let there: Vec<_> = manifests
            .iter()
            .filter_map(|each| each.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .collect();
        format!(
            "it is not made for linux/{arch}, but for {}",
            if there.is_empty() { "nothing".to_owned() } else { there.join(", ") }
        )
    })
}

/// An image's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    pub config: Config,
    /// The SHA-256 of each layer's tar.
    pub diff_ids: Vec<String>,
}

/// Reads an image's configuration, which has to be for `arch`.
pub fn parse_config(bytes: &[u8], arch: &str) -> Result<ImageConfig, String> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        os: String,
        #[serde(default)]
        config: Option<Config>,
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Option<Vec<String>>,
    }
    let whole: Whole = serde_json::from_slice(bytes)
        .map_err(|error| format!("its configuration cannot be read: {error}"))?;
    let wanted = architecture(arch);
    if !matches!(whole.os.as_str(), "linux" | "")
        || (whole.architecture != wanted && !whole.architecture.is_empty())
    {
        return Err(format!(
            "it is made for {}/{}, and machines here are linux/{wanted}",
            whole.os, whole.architecture
        ));
    }
    Ok(ImageConfig {
        config: whole.config.unwrap_or_default(),
        diff_ids: whole.rootfs.diff_ids.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn the_manifest_for_the_processor_is_taken() {
        let entry = |digest: String, arch: &str| {
            format!(r#"{{"digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"{arch}"}}}}"#)
        };
        let index =
            format!(r#"{{"manifests":[{},{}]}}"#, entry(digest('a'), "arm64"), entry(digest('b'), "amd64"));
        let Ok(Parsed::Index(found)) = parse(index.as_bytes(), "x86_64") else { panic!() };
        assert_eq!(found.sha256().to_string(), "b".repeat(64));
        let why = parse(index.as_bytes(), "riscv64").unwrap_err();
        assert!(why.contains("linux/arm64, linux/amd64"), "{why}");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let artifact = format!(
            r#"{{"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{0}","size":1}},"layers":[]}}"#,
            digest('a')
        );
        for (text, part) in [
            (artifact.as_str(), "helm"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1"),
            ("{}", "neither"),
            ("<html>", "cannot be read"),
            (r#"{"manifests":[]}"#, "nothing"),
            (r#"{"manifests":[{"digest":"md5:0","size":1}]}"#, "no digest"),
        ] {
            let why = parse(text.as_bytes(), "x86_64").unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn configurations() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"diff_ids":["sha256:x"]}}"#;
        let config = parse_config(text.as_bytes(), "x86_64").unwrap();
        assert_eq!((config.config.cmd.unwrap(), config.diff_ids.len()), (vec!["sh".to_owned()], 1));
        assert!(parse_config(text.as_bytes(), "aarch64").unwrap_err().contains("linux/amd64"));
        assert!(parse_config(b"[]", "x86_64").is_err());
    }
}
