//! A registry's API (distribution specification 1.1): tokens, manifests and blobs, all verified by digest.

use std::sync::Mutex;

use serde::Deserialize;

use super::credentials::Credentials;
use super::manifest::{self, ACCEPTED, ImageConfig, Manifest, Parsed};
use super::{Reference, Version};
use crate::config::Origin;
use crate::digest::Sha256;
use crate::download::{DownloadError, Downloads, Fetched, OnEvent, Size, Wanted};
use crate::http::{HttpError, Response, Status};

/// A manifest's or a configuration's size; the specification asks registries to take 4 MiB.
const LARGEST_TEXT: u64 = 4 << 20;
const LARGEST_LAYER: u64 = 64 << 30;
/// An index that names an index that names…
const DEEPEST: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error("{reference} cannot be used: {why}")]
    Unusable { reference: String, why: String },
    #[error("{registry} {} pull {repository}, or there is no such image", denied(*.with_login))]
    Denied { registry: String, repository: String, with_login: bool },
    #[error("{reference} is not there")]
    NotFound { reference: String },
}

fn denied(with_login: bool) -> &'static str {
    if with_login { "does not let the login that is kept for it" } else { "lets nobody without a login" }
}

impl From<HttpError> for PullError {
    fn from(error: HttpError) -> Self {
        Self::Download(error.into())
    }
}

type Result<T> = std::result::Result<T, PullError>;

/// An image as its registry describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Of the manifest for this processor.
    pub digest: Sha256,
    pub manifest: Manifest,
    pub config: ImageConfig,
}

pub struct Registry<'a> {
    downloads: &'a Downloads,
    origin: &'a Origin,
    reference: &'a Reference,
    credentials: Option<Credentials>,
    /// The value of the header `authorization`, once it is known.
    authorization: Mutex<Option<String>>,
}

impl<'a> Registry<'a> {
    pub fn new(
        downloads: &'a Downloads,
        origin: &'a Origin,
        reference: &'a Reference,
        credentials: Option<Credentials>,
    ) -> Self {
        Self { downloads, origin, reference, credentials, authorization: Mutex::new(None) }
    }

    fn url(&self, kind: &str, name: &str) -> String {
        self.origin.url(&format!("v2/{}/{kind}/{name}", self.reference.repository))
    }

    fn unusable(&self, why: impl Into<String>) -> PullError {
        PullError::Unusable { reference: self.reference.to_string(), why: why.into() }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let authorization = self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        authorization.iter().map(|value| ("authorization", value.clone())).collect()
    }

    /// Finds the image for `arch`: from the tag over the index to the manifest and the configuration.
    pub fn describe(&self, arch: &str, on_event: OnEvent<'_>) -> Result<Described> {
        let mut version = self.reference.version.clone();
        for _ in 0..DEEPEST {
            let bytes = self.manifest(&version, on_event)?;
            match manifest::parse(&bytes, arch).map_err(|why| self.unusable(why))? {
                Parsed::Index(found) => version = Version::Digest(found.sha256()),
                Parsed::Manifest(manifest) => {
                    let config = self.blob(&manifest.config, "its configuration", LARGEST_TEXT, on_event)?;
                    let config = fs_err::read(config.path).map_err(DownloadError::from)?;
                    let config = manifest::parse_config(&config, arch).map_err(|why| self.unusable(why))?;
                    if config.diff_ids.len() != manifest.layers.len() {
                        return Err(
                            self.unusable("its configuration and its manifest differ in their layers")
                        );
                    }
                    return Ok(Described { digest: Sha256::of(&bytes), manifest, config });
                }
            }
        }
        Err(self.unusable("its index names indexes only"))
    }

    fn manifest(&self, version: &Version, on_event: OnEvent<'_>) -> Result<Vec<u8>> {
        let name = match version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => format!("sha256:{digest}"),
        };
        let url = self.url("manifests", &name);
        let mut response = self.ask(&url, on_event)?;
        let bytes = response
            .body_mut()
            .with_config()
            .limit(LARGEST_TEXT)
            .read_to_vec()
            .map_err(|error| self.unusable(format!("its manifest cannot be read: {error}")))?;
        match version {
            Version::Digest(wanted) if Sha256::of(&bytes) != *wanted => {
                let (got, wanted) = (Sha256::of(&bytes), *wanted);
                Err(DownloadError::WrongDigest { url, got, wanted }.into())
            }
            _ => Ok(bytes),
        }
    }

    /// One answer of the registry's, after a login where it wants one.
    fn ask(&self, url: &str, on_event: OnEvent<'_>) -> Result<Response> {
        for tried in [false, true] {
            let mut headers = self.headers();
            headers.push(("accept", ACCEPTED.to_owned()));
            let response = self.downloads.client().get(url, &headers, on_event)?;
            match response.status().as_u16() {
                200..=299 => return Ok(response),
                401 if !tried => self.log_in(&response, on_event)?,
                401 | 403 => return Err(self.denied()),
                404 => return Err(PullError::NotFound { reference: self.reference.to_string() }),
                status => {
                    return Err(HttpError::Status { url: url.to_owned(), status: Status(status) }.into());
                }
            }
        }
        Err(self.denied())
    }

    fn denied(&self) -> PullError {
        let Reference { registry, repository, .. } = self.reference;
        let with_login = self.credentials.is_some();
        PullError::Denied { registry: registry.clone(), repository: repository.clone(), with_login }
    }

    /// Does what `WWW-Authenticate` asks for (docs: distribution's token authentication).
    fn log_in(&self, response: &Response, on_event: OnEvent<'_>) -> Result<()> {
        let header = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
        let challenge = header.and_then(Challenge::parse).ok_or_else(|| self.denied())?;
        let basic = self.credentials.as_ref().and_then(Credentials::basic);
        let authorization = match challenge {
            Challenge::Basic => basic.ok_or_else(|| self.denied())?,
            Challenge::Bearer { realm, service } => {
                // A name and a password go over no weaker connection than the registry's own.
                if self.origin.base.starts_with("https:") && !realm.starts_with("https:") {
                    return Err(self.unusable(format!("its registry wants a login over {realm}")));
                }
                format!("Bearer {}", self.token(&realm, service.as_deref(), basic, on_event)?)
            }
        };
        *self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    /// By distribution's token authentication; by that of `OAuth2` where a login left an identity.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        basic: Option<String>,
        on_event: OnEvent<'_>,
    ) -> Result<String> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let client = self.downloads.client();
        let scope = format!("repository:{}:pull", self.reference.repository);
        let mut response = if let Some(Credentials::Identity(token)) = &self.credentials {
            let fields = [
                ("grant_type", "refresh_token"),
                ("client_id", "mvm"),
                ("service", service.unwrap_or_default()),
                ("scope", scope.as_str()),
                ("refresh_token", token.as_str()),
            ];
            client.post_form(realm, &fields, on_event)?
        } else {
            let sign = if realm.contains('?') { '&' } else { '?' };
            let service = service.map(|name| format!("service={}&", encode(name))).unwrap_or_default();
            let headers: Vec<_> = basic.map(|value| ("authorization", value)).into_iter().collect();
            client.get(&format!("{realm}{sign}{service}scope={}", encode(&scope)), &headers, on_event)?
        };
        if matches!(response.status().as_u16(), 401 | 403) {
            return Err(self.denied());
        } else if !response.status().is_success() {
            let status = Status(response.status().as_u16());
            return Err(HttpError::Status { url: realm.to_owned(), status }.into());
        }
        let bytes = response.body_mut().with_config().limit(1 << 20).read_to_vec().unwrap_or_default();
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        token
            .and_then(|token| token.token.or(token.access_token))
            .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| self.unusable("its registry's login gives no token"))
    }

    /// Brings a blob to the cache.
    pub fn blob(
        &self,
        descriptor: &manifest::Descriptor,
        what: &str,
        largest: u64,
        on_event: OnEvent<'_>,
    ) -> Result<Fetched> {
        let sha256 = descriptor.sha256();
        if descriptor.size > largest {
            return Err(self.unusable(format!("{what} has {} bytes", descriptor.size)));
        }
        let url = self.url("blobs", &format!("sha256:{sha256}"));
        for tried in [false, true] {
            let headers = self.headers();
            let size = Size::Exactly(descriptor.size);
            let wanted = Wanted { what, url: &url, headers: &headers, sha256: Some(sha256), size };
            match self.downloads.fetch(&wanted, on_event) {
                // A token holds for some minutes, and a large layer may take longer.
                Err(DownloadError::Http(HttpError::Status { status: Status(401), .. })) if !tried => {
                    let response = self.downloads.client().get(&url, &[], on_event)?;
                    self.log_in(&response, on_event)?;
                }
                Err(DownloadError::Http(HttpError::Status { status: Status(401 | 403), .. })) => {
                    return Err(self.denied());
                }
                fetched => return Ok(fetched?),
            }
        }
        Err(self.denied())
    }

    /// Brings a layer to the cache.
    pub fn layer(&self, layer: &manifest::Descriptor, what: &str, on_event: OnEvent<'_>) -> Result<Fetched> {
        self.blob(layer, what, LARGEST_LAYER, on_event)
    }
}

/// How a registry wants one to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let value = |name: &str| {
            let at = rest.find(&format!("{name}=\""))? + name.len() + 2;
            rest[at..].split('"').next().map(str::to_owned)
        };
        let realm =
            value("realm").filter(|realm| realm.starts_with("https://") || realm.starts_with("http://"))?;
        Some(Self::Bearer { realm, service: value("service") })
    }
}

/// For a query.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:x:pull""#;
        let Some(Challenge::Bearer { realm, service }) = Challenge::parse(hub) else { panic!() };
        assert_eq!(
            (realm.as_str(), service.as_deref()),
            ("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        for bad in ["", "Bearer", "Bearer realm=\"file:///etc\"", "Digest x", "Bearer realm=\"https://"] {
            let parsed = Challenge::parse(bad);
            assert!(
                !matches!(&parsed, Some(Challenge::Bearer { realm, .. }) if realm != "https://"),
                "{bad}: {parsed:?}"
            );
        }
    }
}
