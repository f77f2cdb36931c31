//! How mvm's own downloads reach the network.

use std::path::PathBuf;

use serde::Deserialize;

use super::{environment, home};

/// `[network]` in config.toml.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkFile {
    pub offline: bool,
    pub ca_file: Option<PathBuf>,
    pub retries: Option<u32>,
}

/// What holds for this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Never open a connection.
    pub offline: bool,
    /// Certificates (PEM) that are trusted in the place of Mozilla's, which mvm has built in.
    pub ca_file: Option<PathBuf>,
    /// How often a transfer that broke, or that the server put off, is tried again without getting further.
    pub retries: u32,
    pub proxies: Proxies,
    /// Where downloads are kept.
    pub cache: PathBuf,
}

/// Proxies as the environment names them for every program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    pub http: Option<String>,
    pub https: Option<String>,
    /// Hosts that are asked directly: names, `.suffixes`, `*`.
    pub except: Vec<String>,
}

const RETRIES: u32 = 4;

impl Network {
    pub(super) fn resolve(file: NetworkFile, offline: bool) -> Self {
        let ca_file = environment("MVM_CA_FILE").map(PathBuf::from);
        let retries = environment("MVM_RETRIES").and_then(|text| text.parse().ok());
        let cache = environment("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
        Self {
            offline: offline || file.offline,
            ca_file: ca_file.or(file.ca_file).or_else(|| environment("SSL_CERT_FILE").map(PathBuf::from)),
            retries: retries.or(file.retries).unwrap_or(RETRIES),
            proxies: Proxies::from_environment(),
            cache: cache.join("mvm/downloads"),
        }
    }
}

impl Proxies {
    fn from_environment() -> Self {
        let either = |lower: &str| environment(lower).or_else(|| environment(&lower.to_uppercase()));
        let all = either("all_proxy");
        let except = either("no_proxy").unwrap_or_default();
        Self {
            http: either("http_proxy").or_else(|| all.clone()),
            https: either("https_proxy").or(all),
            except: except
                .split(',')
                .map(|host| host.trim().to_owned())
                .filter(|host| !host.is_empty())
                .collect(),
        }
    }
}
