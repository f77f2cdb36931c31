//! A command in a machine, over the one connection that is kept for it (resources/scripts/microvm/enter.sh).

use std::ffi::{OsStr, OsString};

use super::{MachineName, MountSpec, Secret, UserName, secret, ssh};
use crate::network;
use crate::shell::{Call, with_used};

/// What ssh, and the script that starts it, end with when the guest was not reached. A command may end with it as well.
pub const NOT_REACHED: i32 = 255;

/// What they end with where the guest waited for a first command, and did not take it: nothing was run. A command may end with it as well.
pub const NOT_RUN: i32 = 253;

/// What they end with where the machine is suspended, so that nothing was run.
pub const SUSPENDED: i32 = 252;

const LIB: &str = include_str!("../../resources/scripts/cell/lib.sh");
const MACHINES: &str = include_str!("../../resources/scripts/microvm/lib.sh");
/// What tells a guest that waits for that who it is, and runs its first command.
pub(super) const FIRST: &str = include_str!("../../resources/scripts/microvm/first.pl");
/// However mvm ends, what it started ends with it.
const HANGING_ON: [&str; 3] = ["setpriv", "--pdeathsig", "TERM"];

/// What is to be run in a machine.
#[derive(Debug, Clone, Default)]
pub struct Session<'a> {
    /// The program and its arguments, exactly as it is to get them.
    pub command: Vec<OsString>,
    /// `NAME=VALUE`.
    pub env: Vec<OsString>,
    pub dir: Option<&'a OsStr>,
    pub user: Option<&'a str>,
    /// Whether the command is one line for the user's shell.
    pub line: bool,
    /// Whether it reads standard input; else its input is empty.
    pub input: bool,
    /// `$TERM`, where it is to have a terminal.
    pub terminal: Option<String>,
    /// A title under which all its output is kept in the machine's provision.log; it all comes by standard error then.
    pub log: Option<String>,
}

impl Session<'_> {
    /// The session as a command line for the Linux side.
    pub fn call(&self, name: &MachineName) -> Call {
        enter(name, &self.line(), self.input, self.terminal.as_deref(), self.log.as_deref())
    }

    /// The same for a guest that waits for its first command (resources/guest/first.pl), which tells it who it is as well. A machine that
    /// `passes` is ended with the command.
    pub fn first_call(&self, name: &MachineName, passes: bool) -> Call {
        // A language that is not installed Perl complains of, and options of the user's are not for it.
        let mut argv: Vec<OsString> =
            ["env", "LC_ALL=C", "PERL5OPT=", "PERL_UNICODE="].map(OsString::from).into();
        argv.push(format!("NAME={name}").into());
        argv.push([OsStr::new("LINE="), &self.line()].into_iter().collect());
        argv.push(format!("PORT={}", network::FIRST_PORT).into());
        let terminal = self.terminal.as_deref().map(ssh::terminal_for_guest);
        argv.push(format!("TERMINAL={}", yes(terminal.is_some())).into());
        argv.push(format!("PASSES={}", yes(passes)).into());
        argv.extend(terminal.map(|kind| format!("TERM={kind}").into()));
        argv.extend(["perl", "-e", FIRST].map(OsString::from));
        Call { argv, stdin: None, terminal: self.terminal.is_some() }
    }

    /// The line that the guest's shell reads; resources/guest/exec takes it from there.
    fn line(&self) -> OsString {
        let mut words: Vec<OsString> = ["exec", "/run/mvm/exec"].map(OsString::from).into();
        if self.line {
            words.push("-s".into());
        }
        let mut option = |letter: &str, value: &OsStr| words.extend([letter.into(), value.to_owned()]);
        if let Some(user) = self.user {
            option("-u", user.as_ref());
        }
        if let Some(dir) = self.dir {
            option("-w", dir);
        }
        for pair in &self.env {
            option("-e", pair);
        }
        words.push("--".into());
        words.extend(self.command.iter().cloned());
        ssh::quoted(&words)
    }
}

/// What mounts a folder of the host, whose server has the session's streams; as `user`'s, root's where none is given.
pub fn share(name: &MachineName, mount: &MountSpec, user: Option<&UserName>) -> Call {
    // A change on the host is seen within two seconds: sshfs keeps what it knows for one, the kernel for another.
    // And what it knows is worth most in large trees.
    let options = "dcache_timeout=1,dcache_max_size=100000";
    let options = if mount.read_only { &format!("{options},ro") } else { options };
    let words = ["exec", "/run/mvm/share", mount.guest.as_str(), user.map_or("", UserName::as_str), options];
    // What is read and written is use, not that it could be (cell/cell).
    let mut call = enter(name, &ssh::quoted(&words.map(OsString::from)), true, None, None);
    call.argv.insert(1, "USE=no".into());
    call
}

/// What hands secrets to the guest's memory, as `user`'s, where one is given; by standard input alone.
pub fn secrets(name: &MachineName, user: Option<&str>, secrets: &[Secret]) -> Call {
    const SECRETS: &str = include_str!("../../resources/guest/secrets");
    let words = ["exec", "/run/mvm/busybox", "sh", "-c", SECRETS, "mvm-secrets", user.unwrap_or_default()];
    let call = enter(name, &ssh::quoted(&words.map(OsString::from)), true, None, None);
    Call { stdin: Some(secret::payload(secrets).into()), ..call }
}

/// What connects the standard streams with the machine's SSH server.
pub fn proxy(name: &MachineName) -> Call {
    const PROXY: &str = include_str!("../../resources/scripts/microvm/proxy.sh");
    const RELAY: &str = include_str!("../../resources/scripts/microvm/relay.sh");
    bare(&[LIB, MACHINES], PROXY, "mvm-proxy", name, &[("RELAY", RELAY)])
}

/// What connects the standard streams with the machine's serial console.
pub fn console(name: &MachineName) -> Call {
    bare(&[LIB], include_str!("../../resources/scripts/microvm/console.sh"), "mvm-console", name, &[])
}

/// One of a machine's logs: its file, and which of its lines.
pub fn logs(name: &MachineName, file: &str, only: &str, follow: bool) -> Call {
    let inputs = [("FILE", file), ("ONLY", only), ("FOLLOW", yes(follow))];
    bare(&[LIB], include_str!("../../resources/scripts/microvm/logs.sh"), "mvm-logs", name, &inputs)
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// A script without the prelude, whose standard output is not mvm's.
fn bare(libraries: &[&str], script: &str, title: &str, name: &MachineName, inputs: &[(&str, &str)]) -> Call {
    let mut argv: Vec<OsString> = vec!["env".into(), format!("NAME={name}").into()];
    argv.extend(inputs.iter().map(|(key, value)| format!("{key}={value}").into()));
    argv.extend(HANGING_ON.map(OsString::from));
    argv.extend(["bash".into(), "-c".into(), with_used(libraries, script).into(), title.into()]);
    Call { argv, stdin: None, terminal: false }
}

fn enter(name: &MachineName, line: &OsStr, input: bool, terminal: Option<&str>, log: Option<&str>) -> Call {
    const ENTER: &str = include_str!("../../resources/scripts/microvm/enter.sh");
    let mut argv: Vec<OsString> = vec!["env".into(), format!("NAME={name}").into()];
    argv.push([OsStr::new("LINE="), line].into_iter().collect());
    argv.push(format!("INPUT={}", yes(input)).into());
    argv.push(format!("TERMINAL={}", yes(terminal.is_some())).into());
    argv.extend(log.map(|title| format!("LOG={title}").into()));
    if let Some(kind) = terminal {
        argv.push(format!("TERM={}", ssh::terminal_for_guest(kind)).into());
    }
    argv.extend(HANGING_ON.map(OsString::from));
    argv.extend(["bash".into(), "-c".into(), with_used(&[LIB, MACHINES], ENTER).into(), "mvm-enter".into()]);
    argv.extend(ssh::master(name).into_iter().map(OsString::from));
    Call { argv, stdin: None, terminal: terminal.is_some() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn words_reach_the_guests_shell_as_one_line() {
        let session = Session {
            command: vec!["printf".into(), "a b".into(), OsString::from_vec(vec![0xff])],
            env: vec!["GREETING=it's me".into()],
            dir: Some(OsStr::new("/srv/my files")),
            user: Some("dev"),
            ..Session::default()
        };
        let expected =
            b"exec /run/mvm/exec -u dev -w '/srv/my files' -e \"GREETING=it's me\" -- printf 'a b' '\xff'";
        assert_eq!(session.line().into_vec(), expected);
    }

    #[test]
    fn the_connection_is_opened_with_paths_of_the_machines_folder() {
        let words = Session::default().call(&"web".parse().unwrap()).argv;
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert!(words.contains(&"keys/id_ed25519".into()) && words.contains(&"run/ssh".into()), "{words:?}");
        assert!(words.contains(&"TERMINAL=no".into()) && words.contains(&"INPUT=no".into()), "{words:?}");
    }

    /// They have no prelude, nor libraries but those that they name.
    #[test]
    fn what_a_session_sends_calls_nothing_that_is_not_there() {
        let name = "web".parse().unwrap();
        let vmm = include_str!("../../resources/scripts/vmm/lib.sh");
        let prelude = include_str!("../../resources/scripts/prelude.sh");
        let functions = |text: &'static str| {
            text.lines().filter_map(|line| Some(line.split_once("() ")?.0)).filter(|name| !name.contains(' '))
        };
        let all: Vec<_> = [prelude, LIB, MACHINES, vmm].into_iter().flat_map(functions).collect();
        assert!(all.contains(&"nap") && all.contains(&"die"), "{all:?}");
        let calls =
            [Session::default().call(&name), proxy(&name), console(&name), logs(&name, "", "", false)];
        for script in calls.iter().map(|call| call.argv.iter().skip_while(|word| *word != "-c").nth(1)) {
            let text = script.unwrap().to_str().unwrap();
            let code = || text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
            for function in &all {
                let called = |line: &str| {
                    line.split([' ', ';', '(']).any(|word| word == *function)
                        && !line.contains(&format!("{function}() "))
                };
                if let Some(line) = code().find(|line| called(line)) {
                    assert!(text.contains(&format!("{function}() ")), "{function} is not there: {line}");
                }
            }
        }
    }
}
