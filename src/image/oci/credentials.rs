//! Names and passwords for registries, from where Docker and Podman keep them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::Reference;
use crate::shell::{self, Call};

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

/// Neither shows in a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// As the header `authorization` has them.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
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
    for key in keys(reference) {
        if let Some(helper) = file.cred_helpers.get(&key) {
            return ask(helper, &key);
        }
        let plain = file.auths.get(&key).and_then(|auth| auth.auth.as_deref()).and_then(decode);
        if let Some(found) = plain {
            return Some(found);
        }
        if let Some(found) = file.creds_store.as_deref().and_then(|helper| ask(helper, &key)) {
            return Some(found);
        }
    }
    None
}

/// The narrowest first; Docker Hub's name in files is of its first version.
fn keys(reference: &Reference) -> Vec<String> {
    let Reference { registry, repository, .. } = reference;
    let mut keys = vec![format!("{registry}/{repository}")];
    let mut rest = repository.as_str();
    while let Some((folder, _)) = rest.rsplit_once('/') {
        keys.push(format!("{registry}/{folder}"));
        rest = folder;
    }
    keys.push(registry.clone());
    keys.extend(["https://", "http://"].map(|scheme| format!("{scheme}{registry}")));
    if registry == "docker.io" {
        keys.push("https://index.docker.io/v1/".to_owned());
    }
    keys
}

fn decode(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
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
    // An identity token is for another kind of login.
    (username != "<token>").then_some(Credentials { user: username, password: secret })
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
            r#"{{"auths":{{"x.io":{{"auth":"{}"}},"x.io/a":{{"auth":"{}"}},"https://index.docker.io/v1/":{{"auth":"{}"}},"empty.io":{{}}}}}}"#,
            entry("wide:1"),
            entry("narrow:2:3"),
            entry("hub:4")
        );
        fs_err::write(&path, text).unwrap();
        let user = |reference: &str| {
            let files = [dir.path().join("absent.json"), path.clone()];
            find(&files, &reference.parse().unwrap()).map(|found| (found.user, found.password))
        };
        assert_eq!(user("x.io/b/c"), Some(("wide".into(), "1".into())));
        assert_eq!(user("x.io/a/b"), Some(("narrow".into(), "2:3".into())));
        assert_eq!(user("docker.io/x"), Some(("hub".into(), "4".into())));
        assert_eq!(user("empty.io/x"), None);
        fs_err::write(&path, "{").unwrap();
        assert_eq!(user("x.io/b"), None);
    }
}
