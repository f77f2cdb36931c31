//! What an image says of how its programs are run (OCI's image configuration; Docker writes `null` for what is not set).

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// `name`, `uid`, `name:group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
}

impl Config {
    /// Where sessions begin; nothing for the home folder.
    pub fn directory(&self) -> Option<&str> {
        self.working_dir.as_deref().filter(|dir| dir.starts_with('/') && *dir != "/" && !dir.contains('\n'))
    }
}

/// Variables as one line of sshd's settings has them; what such a line cannot hold is left out.
pub(crate) fn sshd_environment<'a>(pairs: impl Iterator<Item = &'a String>) -> String {
    let pairs = pairs.filter(|pair| {
        pair.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\'#".contains(&byte))
        }) && !pair.contains(|letter: char| letter.is_control())
    });
    pairs.map(|pair| format!(" \"{}\"", pair.replace('\\', "\\\\").replace('"', "\\\""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_read() {
        let text =
            r#"{"Env":["PATH=/bin","A=b \"c\" \\d"],"Cmd":null,"WorkingDir":"/app","Labels":{"x":"y"}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(config.directory(), Some("/app"));
        assert_eq!(sshd_environment(config.env.iter().flatten()), r#" "PATH=/bin" "A=b \"c\" \\d""#);
        assert_eq!(config.cmd, None);
    }

    #[test]
    fn what_a_line_cannot_hold_is_left_out() {
        let env = ["A=1\n2", "=x", "NO", "B\"=1", "OK=ä #"].map(str::to_owned).to_vec();
        let config = Config { env: Some(env), working_dir: Some("rel".into()), ..Config::default() };
        assert_eq!(sshd_environment(config.env.iter().flatten()), " \"OK=ä #\"");
        assert_eq!(config.directory(), None);
    }
}
