//! A new machine's own keys: with which it is entered, and by which it is known.

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

/// Both pairs, as resources/scripts/microvm/lib.sh takes them (`make_keys`).
pub(super) struct NewKeys(String);

impl NewKeys {
    /// Those of the machine `name`, by the system's randomness.
    pub(super) fn make(name: &str) -> ssh_key::Result<Self> {
        let (user, host) = (pair(&format!("mvm-{name}"))?, pair(name)?);
        Ok(Self(format!("{user}|{host}|end\n")))
    }

    /// One line: of each pair the private and the public key, and `end`; `|` between all and tabs for line ends. It is secret.
    pub(super) fn line(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn pair(comment: &str) -> ssh_key::Result<String> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    key.set_comment(comment);
    let private = key.to_openssh(LineEnding::LF)?;
    Ok(format!("{}|{}", private.trim_end().replace('\n', "\t"), key.public_key().to_openssh()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::{self, Call};

    #[test]
    fn openssh_reads_them() {
        let keys = NewKeys::make("web").unwrap();
        let line = std::str::from_utf8(keys.line()).unwrap();
        let words: Vec<_> = line.trim_end().split('|').collect();
        let [user, user_public, host, host_public, "end"] = words[..] else {
            panic!("{} words", words.len())
        };
        assert_ne!(user_public, host_public);
        let dir = tempfile::tempdir().unwrap();
        for (private, public, comment) in [(user, user_public, "mvm-web"), (host, host_public, "web")] {
            let file = dir.path().join(comment);
            fs_err::write(&file, private.replace('\t', "\n") + "\n").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs_err::set_permissions(&file, mode).unwrap();
            let call = Call::new(["ssh-keygen", "-y", "-P", "", "-f", file.to_str().unwrap()]);
            let said = shell::start_piped(&call).unwrap().wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim_end(), public);
            assert!(
                public.starts_with("ssh-ed25519 ") && public.ends_with(&format!(" {comment}")),
                "{public}"
            );
        }
    }
}
