//! Names and passwords for registries, from where Docker and Podman keep them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::Reference;
use super::reference::HUB;
use crate::shell::{self, Call};

#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// What a login in a browser left: tokens are had for it alone.
    Identity(String),
}

/// Nothing of them shows in a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// As the header `authorization` has them.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Self::Identity(_) => None,
        }
    }
}

/// `config.json` of Docker, `auth.json` of Podman.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl Auth {
    fn credentials(&self) -> Option<Credentials> {
        match self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            Some(token) => Some(Credentials::Identity(token.clone())),
            None => self.auth.as_deref().and_then(decode),
        }
    }
}

/// The first that is found for the reference's registry, or for a part of it (Podman's files may name repositories).
pub fn find(files: &[std::path::PathBuf], reference: &Reference) -> Option<Credentials> {
    files.iter().find_map(|path| in_file(path, reference))
}

fn in_file(path: &Path, reference: &Reference) -> Option<Credentials> {
    let text = fs_err::read_to_string(path).ok()?;
    let file: AuthFile = match serde_json::from_str(&text) {
        Ok(file) => file,
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "no file of credentials");
            return None;
        }
    };
    let server = server(&reference.registry);
    for place in places(reference) {
        let named = |key: &String| place_of(key) == Some(place.as_str());
        if let Some((_, helper)) = file.cred_helpers.iter().find(|(key, _)| named(key)) {
            return ask(helper, server);
        }
        let mut plain = file.auths.iter().filter(|(key, _)| named(key));
        if let Some(found) = plain.find_map(|(_, auth)| auth.credentials()) {
            return Some(found);
        }
    }
    file.creds_store.as_deref().and_then(|helper| ask(helper, server))
}

/// The registry and the repositories above and with the reference, the narrowest first.
fn places(reference: &Reference) -> Vec<String> {
    let Reference { registry, repository, .. } = reference;
    let mut places = vec![format!("{registry}/{repository}")];
    let mut rest = repository.as_str();
    while let Some((folder, _)) = rest.rsplit_once('/') {
        places.push(format!("{registry}/{folder}"));
        rest = folder;
    }
    places.push(registry.clone());
    places
}

/// What a key of a file stands for: the addresses of Docker's first versions, `https://x.io/v1/`, are registries too. Docker
/// keeps more than logins under longer ones.
fn place_of(key: &str) -> Option<&str> {
    let place = match key.split_once("://") {
        None => key.trim_end_matches('/'),
        Some((_, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            Some(host).filter(|_| matches!(path.trim_end_matches('/'), "" | "v1" | "v2"))?
        }
    };
    Some(if place == "index.docker.io" { HUB } else { place })
}

/// What helpers know a registry by: Docker Hub's name there is of its first version.
fn server(registry: &str) -> &str {
    if registry == HUB { "https://index.docker.io/v1/" } else { registry }
}

fn decode(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::Password {
        user: user.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

/// Asks a credential helper (the protocol of docker-credential-helpers).
fn ask(helper: &str, server: &str) -> Option<Credentials> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    // A name, not a path.
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return None;
    }
    let mut call = Call::new([format!("docker-credential-{helper}"), "get".to_owned()]);
    call.stdin = Some(server.as_bytes().to_vec().into());
    let output = shell::run(&call, &mut |_| {}).ok().filter(|output| output.status.success())?;
    let Answer { username, secret } = serde_json::from_slice(&output.stdout).ok()?;
    Some(match username.as_str() {
        "<token>" => Credentials::Identity(secret),
        _ => Credentials::Password { user: username, password: secret },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_entry_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let entry = |text: &str| STANDARD.encode(text);
        let text = format!(
            r#"{{"auths":{{"x.io":{{"auth":"{}"}},"x.io/a":{{"auth":"{}"}},"https://index.docker.io/v1/":{{"auth":"{}"}},
               "https://index.docker.io/v1/refresh-token":{{"auth":"{}"}},"https://old.io/v2/":{{"auth":"{}"}},"empty.io":{{}},
               "id.io":{{"auth":"","identitytoken":"refresh"}}}}}}"#,
            entry("wide:1"),
            entry("narrow:2:3"),
            entry("hub:4"),
            entry("no:5"),
            entry("old:6")
        );
        fs_err::write(&path, text).unwrap();
        let user = |reference: &str| {
            let files = [dir.path().join("absent.json"), path.clone()];
            match find(&files, &reference.parse().unwrap())? {
                Credentials::Password { user, password } => Some((user, password)),
                Credentials::Identity(token) => Some(("identity".to_owned(), token)),
            }
        };
        assert_eq!(user("x.io/b/c"), Some(("wide".into(), "1".into())));
        assert_eq!(user("x.io/a/b"), Some(("narrow".into(), "2:3".into())));
        assert_eq!(user("docker.io/x"), Some(("hub".into(), "4".into())));
        assert_eq!(user("old.io/x"), Some(("old".into(), "6".into())));
        assert_eq!(user("id.io/x"), Some(("identity".into(), "refresh".into())));
        assert_eq!(user("empty.io/x"), None);
        fs_err::write(&path, "{").unwrap();
        assert_eq!(user("x.io/b"), None);
    }
}
