//! The second initrd archive: mvm's init, and what is particular to one machine. It is made anew at every start and
//! appended to the image's own archive; the kernel unpacks both.

use cpio::newc::{Builder, ModeFileType, trailer};

use super::{Config, Image, sshd_environment};
use crate::microvm::{Spec, UserName};
use crate::network;

/// PID 1 of the initrd.
const INIT: &str = include_str!("../../resources/guest/init");
const SSHD_CONFIG: &str = include_str!("../../resources/guest/sshd_config");
/// What `mvm exec` starts commands with.
const EXEC: &str = include_str!("../../resources/guest/exec");
/// PID 1 of images that have no init.
const PID1: &str = include_str!("../../resources/guest/pid1");
/// What an image of others is made fit for logins by, and what becomes a program of its tools.
const FIT: &str = include_str!("../../resources/guest/fit");
const TOOL: &str = include_str!("../../resources/guest/tool");
/// What a session of an image of others begins with.
const SESSION: &str = include_str!("../../resources/guest/session");
/// What makes the user that sessions are.
const MAKE_USER: &str = include_str!("../../resources/guest/user");
/// What waits on the serial console.
const CONSOLE: &str = include_str!("../../resources/guest/console");
/// What mounts a shared folder.
const SHARE: &str = include_str!("../../resources/guest/share");
/// What a guest hears when it goes on from a memory.
const THAWED: &str = include_str!("../../resources/guest/thawed");
/// What waits for the first command of whoever goes on from a golden memory, and what it shares with the above.
const FIRST: &str = include_str!("../../resources/guest/first.pl");
const THAWED_PROGRAM: &str = include_str!("../../resources/guest/thawed.pl");
/// The guest's side of `mvm cp`.
const COPY: &str = include_str!("../../resources/guest/copy");
/// The guest's side of a project's `provision`.
const PROVISION: &str = include_str!("../../resources/guest/provision");

/// The keys of one machine, as its folder has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// The guest's SSH host key, private.
    pub host: String,
    pub host_public: String,
    /// The key that may enter.
    pub authorized: String,
}

/// The archive of the machine `spec`, made of `image`; where it is to `hold`, the image's init waits for the first command.
pub fn of(spec: &Spec, image: &Image, keys: &Keys, hold: bool) -> std::io::Result<Vec<u8>> {
    let foreign = image.tools.as_ref().map(|_| &image.config);
    let user = spec.user.as_ref().map(UserName::as_str);
    let session: Vec<_> = spec.env.pairs().collect();
    archive(spec.name.as_str(), user, keys, foreign, &session, hold)
}

/// The archive in the kernel's `newc` form. `user` is the one that sessions are, where it is not root; `foreign` is how an image
/// of others wants its programs run; `session` are the machine's own variables, `NAME=value`.
fn archive(
    host_name: &str,
    user: Option<&str>,
    keys: &Keys,
    foreign: Option<&Config>,
    session: &[String],
    hold: bool,
) -> std::io::Result<Vec<u8>> {
    // The image's archive has no folder of this name.
    let mut bytes = Vec::new();
    entry(&mut bytes, "seed", ModeFileType::Directory, 0o711, b"")?;
    let env = format!("HOSTNAME='{host_name}'\nDNS='{}'\nMTU='{}'\n", network::DNS, network::MTU);
    let line = |text: &str| format!("{}\n", text.trim_end());
    for (name, mode, content) in [
        ("init", 0o755, INIT.to_owned()),
        ("seed/env", 0o600, env),
        ("seed/exec", 0o755, EXEC.to_owned()),
        ("seed/copy", 0o755, COPY.to_owned()),
        ("seed/console", 0o755, CONSOLE.to_owned()),
        ("seed/thawed", 0o755, THAWED.to_owned()),
        ("seed/first.pl", 0o644, FIRST.to_owned()),
        ("seed/thawed.pl", 0o644, THAWED_PROGRAM.to_owned()),
        ("seed/provision", 0o755, PROVISION.to_owned()),
        ("seed/share", 0o755, SHARE.to_owned()),
        ("seed/sshd_config", 0o600, sshd_config(foreign, session)),
        ("seed/host_ed25519", 0o600, line(&keys.host)),
        ("seed/host_ed25519.pub", 0o644, line(&keys.host_public)),
        // sshd reads it as the user who logs in.
        ("seed/authorized_keys", 0o644, line(&keys.authorized)),
    ] {
        entry(&mut bytes, name, ModeFileType::Regular, mode, content.as_bytes())?;
    }
    if hold {
        entry(&mut bytes, "seed/hold", ModeFileType::Regular, 0o644, b"")?;
    }
    if let Some(user) = user {
        entry(&mut bytes, "seed/make-user", ModeFileType::Regular, 0o755, MAKE_USER.as_bytes())?;
        entry(&mut bytes, "seed/user", ModeFileType::Regular, 0o644, line(user).as_bytes())?;
    }
    if let Some(config) = foreign {
        for (name, mode, content) in [
            ("seed/pid1", 0o755, PID1.to_owned()),
            ("seed/fit", 0o755, FIT.to_owned()),
            ("seed/tool", 0o755, TOOL.to_owned()),
            ("seed/session", 0o755, SESSION.to_owned()),
            ("seed/directory", 0o644, config.directory().map(line).unwrap_or_default()),
        ] {
            entry(&mut bytes, name, ModeFileType::Regular, mode, content.as_bytes())?;
        }
        if config.env.as_ref().is_none_or(Vec::is_empty) {
            entry(&mut bytes, "seed/login", ModeFileType::Regular, 0o644, b"")?;
        }
    }
    trailer(bytes)
}

/// sshd takes one line of `SetEnv`, and of one name the first.
fn sshd_config(foreign: Option<&Config>, session: &[String]) -> String {
    let of_image = foreign.and_then(|config| config.env.as_ref()).into_iter().flatten();
    let environment = format!("SetEnv{} LANG=C.UTF-8", sshd_environment(session.iter().chain(of_image)));
    let lines =
        SSHD_CONFIG.lines().map(|line| if line.starts_with("SetEnv") { environment.as_str() } else { line });
    let forced = foreign.map(|_| "ForceCommand /run/mvm/session");
    lines.chain(forced).flat_map(|line| [line, "\n"]).collect()
}

fn entry(
    archive: &mut Vec<u8>,
    name: &str,
    kind: ModeFileType,
    mode: u32,
    content: &[u8],
) -> std::io::Result<()> {
    use std::io::Write;
    let size = u32::try_from(content.len()).map_err(std::io::Error::other)?;
    let mut writer = Builder::new(name).mode(mode).set_mode_file_type(kind).write(&mut *archive, size);
    writer.write_all(content)?;
    writer.finish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_init_and_the_keys() {
        let keys = Keys { host: "private".into(), host_public: "public".into(), authorized: "mine".into() };
        let bytes = archive("web-1", None, &keys, None, &[], false).unwrap();
        assert_eq!(bytes.len() % 4, 0, "the kernel wants archives on four-byte boundaries");
        let mut names = Vec::new();
        let mut rest = &bytes[..];
        loop {
            let reader = cpio::newc::Reader::new(rest).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                break;
            }
            names.push((entry.name().to_owned(), entry.mode() & 0o777));
            let mut content = Vec::new();
            rest = reader.to_writer(&mut content).unwrap();
            match entry.name() {
                "seed/env" => assert!(content.starts_with(b"HOSTNAME='web-1'\n")),
                "init" => assert_eq!(content, INIT.as_bytes()),
                _ => {}
            }
        }
        assert!(names.iter().all(|(name, _)| name != "seed/pid1"));
        assert!(
            names.contains(&("init".to_owned(), 0o755))
                && names.contains(&("seed/host_ed25519".to_owned(), 0o600))
        );
    }

    #[test]
    fn an_image_of_others_has_its_environment_in_sessions() {
        let env = Some(vec!["LANG=de".to_owned(), "A=b c".to_owned()]);
        let text = sshd_config(Some(&Config { env, ..Config::default() }), &[]);
        assert!(text.contains("\nSetEnv \"LANG=de\" \"A=b c\" LANG=C.UTF-8\n"), "{text}");
        assert_eq!(text.matches("SetEnv").count(), 1);
        assert!(text.ends_with("\nForceCommand /run/mvm/session\n"));
    }

    #[test]
    fn a_machines_own_variables_come_first() {
        assert_eq!(sshd_config(None, &[]), SSHD_CONFIG);
        let session = ["LANG=fr".to_owned()];
        assert!(sshd_config(None, &session).contains("\nSetEnv \"LANG=fr\" LANG=C.UTF-8\n"));
        let image = Config { env: Some(vec!["LANG=de".to_owned()]), ..Config::default() };
        assert!(
            sshd_config(Some(&image), &session).contains("\nSetEnv \"LANG=fr\" \"LANG=de\" LANG=C.UTF-8\n")
        );
    }
}
