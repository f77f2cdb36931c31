//! Entering a machine: the command line of ssh, run inside its cell.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::MachineName;
use crate::network;
use crate::shell::{self, Call};

/// Terminals that the guest's terminfo knows (Debian's ncurses-base).
const KNOWN_TERMINALS: &[&str] = &["ansi", "linux", "rxvt", "screen", "tmux", "vt100", "vt220", "xterm"];

/// The name the machine's host key is pinned under.
pub fn host_alias(name: &MachineName) -> String {
    format!("mvm-{name}")
}

/// ssh's options for entering the machine, whose folder is in `home`, as `user`.
pub fn options(home: &str, name: &MachineName, user: &str) -> Vec<String> {
    options_with(&format!("{home}/machines/{name}/keys"), name, user)
}

/// What opens the connection that sessions share. It runs in the machine's folder, which keeps its socket's path short.
pub fn master(name: &MachineName) -> Vec<String> {
    let mut words = vec!["ssh".to_owned()];
    // As root, who can become any other.
    words.extend(options_with("keys", name, "root"));
    words.extend(["-M", "-S", "run/ssh", "-N", "-T"].map(str::to_owned));
    words.push(host_alias(name));
    words
}

fn options_with(keys: &str, name: &MachineName, user: &str) -> Vec<String> {
    let mut words: Vec<String> = ["-F", "none", "-l", user, "-i"].map(str::to_owned).into();
    words.push(format!("{keys}/id_ed25519"));
    for option in [
        format!("HostName={}", network::GUEST),
        format!("HostKeyAlias={}", host_alias(name)),
        format!("UserKnownHostsFile=\"{keys}/known_hosts\""),
        "GlobalKnownHostsFile=none".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        "CheckHostIP=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "ConnectTimeout=20".to_owned(),
        // A wedged machine is noticed, and the session ends.
        "ServerAliveInterval=15".to_owned(),
        "ServerAliveCountMax=4".to_owned(),
        // What costs the guest least time in software emulation (ARCHITECTURE.md).
        "KexAlgorithms=^curve25519-sha256".to_owned(),
        "Compression=no".to_owned(),
        "SendEnv=COLORTERM".to_owned(),
        "SendEnv=NO_COLOR".to_owned(),
    ] {
        words.push("-o".to_owned());
        words.push(option);
    }
    words
}

/// What enters the machine whose VMM is `pid` as `user`: a shell, or `command` with its arguments exactly as given; one
/// word alone is a line for the guest's shell.
pub fn enter(
    home: &str,
    name: &MachineName,
    user: &str,
    pid: u32,
    command: &[OsString],
    terminal: &Terminal,
) -> Call {
    let mut argv: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| argv.extend(words.iter().map(OsString::from));
    if let Some(kind) = terminal.kind.as_deref().filter(|kind| !is_known(kind)) {
        add(&["env", &format!("TERM={}", terminal_for_guest(kind))]);
    }
    add(&["nsenter", "-t", &pid.to_string(), "-U", "-n", "--preserve-credentials", "ssh"]);
    argv.extend(options(home, name, user).into_iter().map(OsString::from));
    argv.push(if terminal.interactive { "-t" } else { "-T" }.into());
    argv.push(host_alias(name).into());
    if !command.is_empty() {
        argv.push("--".into());
        argv.push(remote_line(command));
    }
    Call { argv, stdin: None, terminal: terminal.interactive }
}

/// The terminal that the session is on.
#[derive(Debug, Clone, Default)]
pub struct Terminal {
    /// Whether there is one, on both input and output.
    pub interactive: bool,
    /// `$TERM`.
    pub kind: Option<String>,
}

/// `kind`, or a terminal like it where the guest knows none of that name.
pub fn terminal_for_guest(kind: &str) -> &str {
    if is_known(kind) {
        return kind;
    }
    tracing::debug!(kind, "the guest knows no such terminal");
    "xterm-256color"
}

fn is_known(kind: &str) -> bool {
    KNOWN_TERMINALS
        .iter()
        .any(|known| kind.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest == "-256color"))
}

/// ssh joins its words with blanks and a shell reads them, so each is quoted first. One word alone is a line for the
/// shell, as with ssh itself: `exit 42`.
fn remote_line(command: &[OsString]) -> OsString {
    if let [line] = command { line.clone() } else { quoted(command) }
}

/// One line that a shell reads as these words.
pub fn quoted(words: &[OsString]) -> OsString {
    let words: Vec<Vec<u8>> = words.iter().map(|word| shell::quote(word.as_bytes())).collect();
    OsString::from_vec(words.join(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: &[&str]) -> String {
        remote_line(&command.iter().map(OsString::from).collect::<Vec<_>>()).into_string().unwrap()
    }

    #[test]
    fn arguments_reach_the_guest_as_given() {
        // Through a real shell, as sshd does it.
        for words in
            [&["a b", "", "it's", "$HOME `id` \"x\" \\ *", "new\nline", "!bang", "-n", "~"][..], &["exit 42"]]
        {
            let command = [&["printf", "%s\\0"], words].concat();
            let output = crate::shell::run(&Call::new(["sh", "-c", &line(&command)]), &mut |_| {}).unwrap();
            let expected: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
            assert_eq!(output.stdout, expected, "{}", line(&command));
        }
    }

    #[test]
    fn one_word_is_a_line_for_the_shell() {
        assert_eq!(line(&["exit 42"]), "exit 42");
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let word = OsString::from_vec(vec![b'a', 0xff, b'b']);
        let output = crate::shell::run(
            &Call::new([
                OsString::from("sh"),
                "-c".into(),
                remote_line(&["printf".into(), "%s".into(), word]),
            ]),
            &mut |_| {},
        );
        assert_eq!(output.unwrap().stdout, [b'a', 0xff, b'b']);
    }

    #[test]
    fn the_session_gets_a_terminal_it_knows() {
        let name = "web".parse().unwrap();
        let enter = |kind: &str| {
            let terminal = Terminal { interactive: true, kind: Some(kind.to_owned()) };
            enter("/h", &name, "root", 7, &[], &terminal).argv[0].clone()
        };
        assert_eq!(enter("xterm-256color"), "nsenter");
        assert_eq!(enter("screen"), "nsenter");
        assert_eq!(enter("xterm-kitty"), "env");
        assert_eq!(enter("alacritty"), "env");
    }

    #[test]
    fn the_host_key_is_pinned() {
        let words = options("/home/me", &"web".parse().unwrap(), "root").join(" ");
        assert!(
            words.contains("StrictHostKeyChecking=yes") && words.contains("HostKeyAlias=mvm-web"),
            "{words}"
        );
        assert!(words.contains("UserKnownHostsFile=\"/home/me/machines/web/keys/known_hosts\""), "{words}");
    }
}
