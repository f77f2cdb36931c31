//! The Lima VM `mvm` is the Linux side: reached over the SSH connection that Lima itself keeps.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Door, Linux};
use crate::lima::NAME;
use crate::shell::{self, Call, Patience, Probe};

/// How commands get into the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// By `ssh -F …/ssh.config`: the connection that Lima keeps, one process.
    #[default]
    Ssh,
    /// By `limactl shell`, which asks Lima first each time.
    Limactl,
}

/// The running Lima VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lima {
    transport: Transport,
    limactl: OsString,
    ssh_config: PathBuf,
}

impl Lima {
    /// `ssh_config` is the file that Lima writes at each start of the VM.
    pub fn new(transport: Transport, limactl: impl Into<OsString>, ssh_config: PathBuf) -> Self {
        Self { transport, limactl: limactl.into(), ssh_config }
    }

    fn ssh(&self, options: &[&str]) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec!["ssh".into(), "-F".into(), self.ssh_config.clone().into()];
        argv.extend(options.iter().map(OsString::from));
        argv
    }

    /// A connection of its own, which is given up after twice the interval of silence.
    fn apart(&self, options: &[&str], interval: &str) -> Vec<OsString> {
        let mut argv = self.ssh(options);
        for option in [
            "LogLevel=ERROR",
            "ControlMaster=no",
            "ControlPath=none",
            "ConnectTimeout=10",
            interval,
            "ServerAliveCountMax=2",
        ] {
            argv.extend(["-o", option].map(OsString::from));
        }
        argv
    }
}

/// The host's name in Lima's `ssh.config`.
const ALIAS: &str = "lima-mvm";

/// What ssh says by its exit code when the connection failed. A remote command may say it as well.
const SSH_FAILED: i32 = 255;

impl Linux for Lima {
    fn describe(&self) -> String {
        format!("the Lima VM `{NAME}`")
    }

    /// Lima refuses to make root the VM's user.
    fn is_root(&self) -> bool {
        false
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn door(&self) -> Door {
        Door::Socket
    }

    /// By a connection of its own, which ends with the command in it, and so with the machine.
    fn carry(&self, listen: SocketAddr, socket: &str, lock: &str) -> Option<Call> {
        // Its parent is the server's process of this very connection, which else would wait for the last client.
        const HELD: &str = r#"exec 8<"$0" && setpriv --pdeathsig TERM flock --shared 8; kill -TERM "$PPID""#;
        let mut argv =
            self.apart(&["-f", "-T", "-n", "-o", "ExitOnForwardFailure=yes"], "ServerAliveInterval=5");
        argv.extend(["-L".into(), format!("{listen}:{socket}").into(), ALIAS.into(), "--".into()]);
        argv.push(line(&["setpriv", "--pdeathsig", "TERM", "bash", "-c", HELD, lock].map(OsString::from)));
        Some(Call::new(argv))
    }

    fn lead(&self, forward: &str, socket: &str) -> Option<Call> {
        let mut argv = self.apart(&["-T"], "ServerAliveInterval=5");
        argv.extend([ALIAS, "--"].map(OsString::from));
        argv.push(line(&["perl", forward, "stdio", socket].map(OsString::from)));
        Some(Call::new(argv))
    }

    /// Lima's user needs no password.
    fn sudo(&self, _can_ask: bool) -> std::io::Result<bool> {
        Ok(true)
    }

    fn wrap(&self, call: Call) -> Call {
        let Call { argv: words, stdin, terminal } = call;
        let argv = match self.transport {
            Transport::Ssh => {
                // A master of our own notices a dead VM; Lima's is watched by our patience.
                let mut argv = self.ssh(&[
                    "-o",
                    "LogLevel=ERROR",
                    "-o",
                    "ConnectTimeout=10",
                    "-o",
                    "ServerAliveInterval=5",
                    "-o",
                    "ServerAliveCountMax=2",
                ]);
                argv.push(if terminal { "-t" } else { "-T" }.into());
                argv.extend([ALIAS, "--"].map(OsString::from));
                argv.push(line(&words));
                argv
            }
            Transport::Limactl => {
                let fixed = ["shell", "--workdir", "/", NAME].map(OsString::from);
                // Without COLORTERM and the like: `env` sets what is needed.
                std::iter::once(self.limactl.clone()).chain(fixed).chain(words).collect()
            }
        };
        Call { argv, stdin, terminal }
    }

    /// By a connection that nobody else's trouble ends, and that waits for a VM that is slow.
    fn wrap_apart(&self, call: Call) -> Call {
        let mut argv = self.apart(&["-T"], "ServerAliveInterval=30");
        argv.extend([ALIAS, "--"].map(OsString::from));
        argv.push(line(&call.argv));
        Call { argv, ..call }
    }

    fn patience(&self) -> Patience {
        let limit = Duration::from_secs(10);
        // The VM may freeze while a script runs (the host sleeps, say), and no connection tells.
        let probe =
            Probe { after: Duration::from_secs(15), call: Call::new(self.ssh(&[ALIAS, "true"])), limit };
        Patience { first_output: Some(limit), whole: None, probe: Some(probe) }
    }

    fn is_cut_off(&self, code: i32) -> bool {
        code == SSH_FAILED
    }

    fn reconnect(&self) -> bool {
        let exit = Call::new(self.ssh(&["-O", "exit", ALIAS]));
        let patience = Patience::whole(Duration::from_secs(5));
        // A master that does not even hear that is left to its socket, which the next one replaces.
        match shell::run_within(&exit, &patience, &mut |_| {}) {
            Ok(output) => tracing::debug!(status = %output.status, "the old connection was told to go"),
            Err(error) => tracing::debug!(%error, "the old connection does not hear"),
        }
        true
    }
}

/// The words as one line for the VM's shell, from a folder that is always there.
fn line(words: &[OsString]) -> OsString {
    let mut line = b"cd / && exec".to_vec();
    for word in words {
        line.push(b' ');
        line.extend(shell::quote(word.as_bytes()));
    }
    OsString::from_vec(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lima(transport: Transport) -> Lima {
        Lima::new(transport, "limactl", "/h/.lima/mvm/ssh.config".into())
    }

    #[test]
    fn words_arrive_as_given() {
        let words = ["printf", "%s\\0", "a b", "", "it's", "$HOME `id` \\ *", "new\nline", "-n"];
        let call = lima(Transport::Ssh).wrap(Call::new(words));
        assert_eq!(call.argv[..3], ["ssh", "-F", "/h/.lima/mvm/ssh.config"]);
        let line = call.argv.last().unwrap();
        let output = shell::run(&Call::new([OsString::from("sh"), "-c".into(), line.clone()]), &mut |_| {});
        let expected: Vec<u8> =
            words[2..].iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
        assert_eq!(output.unwrap().stdout, expected);
    }

    #[test]
    fn a_terminal_is_asked_for_only_where_there_is_one() {
        for (terminal, flag) in [(true, "-t"), (false, "-T")] {
            let call = lima(Transport::Ssh).wrap(Call { terminal, ..Call::new(["true"]) });
            assert!(call.argv.contains(&flag.into()), "{call:?}");
        }
    }

    #[test]
    fn a_port_is_carried_by_a_connection_of_its_own() {
        let listen = "[::1]:8080".parse().unwrap();
        let call = lima(Transport::Ssh).carry(listen, "/m/8080tcp@--1.sock", "/m/8080tcp@--1").unwrap();
        let words: Vec<_> = call.argv.iter().map(|word| word.to_string_lossy()).collect();
        let text = words.join(" ");
        assert!(text.contains("-f -T -n") && text.contains("-o ControlPath=none"), "{text}");
        assert!(
            text.contains(
                "-L [::1]:8080:/m/8080tcp@--1.sock lima-mvm -- cd / && exec setpriv --pdeathsig TERM bash -c"
            ),
            "{text}"
        );
    }

    #[test]
    fn limactl_takes_the_words_themselves() {
        let call = lima(Transport::Limactl).wrap(Call::new(["env", "A=b c", "bash"]));
        assert_eq!(call.argv, ["limactl", "shell", "--workdir", "/", "mvm", "env", "A=b c", "bash"]);
    }
}
