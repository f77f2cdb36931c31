//! Where downloads come from: one setting per source, `[mirror]` in config.toml with a twin in the environment.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::environment;

/// `[mirror]`: URLs to take instead of the projects' own.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mirror {
    /// In the place of Firecracker's release page: `BASE/v1.16.1/firecracker-v1.16.1-x86_64.tgz`.
    pub firecracker: Option<String>,
    /// In the place of the bucket with the kernels and root filesystems of Firecracker's CI.
    pub firecracker_ci: Option<String>,
    /// In the place of Lima's release page.
    pub lima: Option<String>,
    /// A Debian mirror.
    pub debian: Option<String>,
    /// Registries, by the name that images give: `"docker.io" = "https://mirror.example"`.
    pub oci: BTreeMap<String, String>,
}

/// Where something comes from, and the setting that names another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Without a slash at its end.
    pub base: String,
    /// For hints: `firecracker`.
    pub key: String,
}

impl Origin {
    fn new(key: &str, mirror: Option<&String>, own: &str) -> Self {
        let base = mirror.map_or(own, String::as_str).trim_end_matches('/').to_owned();
        Self { base, key: key.to_owned() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// How a user names another place.
    pub fn setting(&self) -> String {
        match self.key.strip_prefix("oci.") {
            Some(registry) => {
                format!("`[mirror.oci] \"{registry}\"` in config.toml, or {}", oci_variable(registry))
            }
            None => format!("`[mirror] {}` in config.toml, or {}", self.key, variable(&self.key)),
        }
    }
}

impl Mirror {
    pub fn firecracker(&self) -> Origin {
        let own = "https://github.com/firecracker-microvm/firecracker/releases/download";
        Origin::new("firecracker", self.firecracker.as_ref(), own)
    }

    /// By path: the bucket's name has dots, for which no certificate of a host name holds.
    pub fn firecracker_ci(&self) -> Origin {
        let own = "https://s3.amazonaws.com/spec.ccfc.min";
        Origin::new("firecracker_ci", self.firecracker_ci.as_ref(), own)
    }

    pub fn lima(&self) -> Origin {
        let own = "https://github.com/lima-vm/lima/releases/download";
        Origin::new("lima", self.lima.as_ref(), own)
    }

    /// The registry called `registry`; `own` is its address where no mirror is named.
    pub fn oci(&self, registry: &str, own: &str) -> Origin {
        let named = environment(&oci_variable(registry));
        Origin::new(&format!("oci.{registry}"), named.as_ref().or_else(|| self.oci.get(registry)), own)
    }

    /// With what the environment says.
    pub(super) fn with_environment(self) -> Self {
        let or = |key: &str, value: Option<String>| environment(&variable(key)).or(value);
        Self {
            firecracker: or("firecracker", self.firecracker),
            firecracker_ci: or("firecracker_ci", self.firecracker_ci),
            lima: or("lima", self.lima),
            debian: or("debian", self.debian),
            oci: self.oci,
        }
    }
}

fn variable(key: &str) -> String {
    let key = key.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    format!("MVM_MIRROR_{}", key.to_ascii_uppercase())
}

fn oci_variable(registry: &str) -> String {
    variable(&format!("oci.{registry}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_projects_own_or_the_mirror() {
        let mirror = Mirror { lima: Some("http://mirror.example/lima/".into()), ..Mirror::default() };
        assert_eq!(mirror.lima().url("v2.0.0/x"), "http://mirror.example/lima/v2.0.0/x");
        assert!(mirror.firecracker().url("v1").starts_with("https://github.com/"));
        let setting = mirror.firecracker_ci().setting();
        assert_eq!(setting, "`[mirror] firecracker_ci` in config.toml, or MVM_MIRROR_FIRECRACKER_CI");
    }

    #[test]
    fn registries_have_settings_of_their_own() {
        let oci = [("docker.io".to_owned(), "http://127.0.0.1:5000".to_owned())].into();
        let mirror = Mirror { oci, ..Mirror::default() };
        let docker = mirror.oci("docker.io", "https://registry-1.docker.io");
        assert_eq!(docker.base, "http://127.0.0.1:5000");
        assert!(docker.setting().ends_with("MVM_MIRROR_OCI_DOCKER_IO"), "{}", docker.setting());
        assert_eq!(mirror.oci("ghcr.io", "https://ghcr.io").base, "https://ghcr.io");
    }
}
