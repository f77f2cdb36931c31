//! Other tools in a machine, by OpenSSH's own clients: as editors, rsync and git come.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::common::install;
use crate::common::process::Seen;
use crate::host::{Host, Who, host, kill, wait_until};

/// A user who has let ssh into the machines, with a home of their own.
struct Tools {
    host: Host,
    home: PathBuf,
}

impl Tools {
    fn new(who: Who) -> Option<Self> {
        let host = host(who)?;
        install(&[("rsync", "rsync"), ("git", "git"), ("curl", "curl")]);
        let seen = Seen::new(&[], host.command("mktemp").arg("-d").output().unwrap());
        let tools = Self { home: seen.stdout.trim().into(), host };
        Some(tools)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.host.command(program);
        command.args(args).env("HOME", &self.home).env("MVM_HOME", &self.host.home).current_dir(&self.home);
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Seen {
        Seen::new(&[&[program], args].concat(), self.command(program, args).output().unwrap())
    }

    fn ok(&self, program: &str, args: &[&str]) -> Seen {
        let seen = self.run(program, args);
        assert_eq!(seen.code, 0, "{seen}");
        seen
    }

    fn mvm(&self, args: &[&str]) -> Seen {
        self.ok(self.host.program().to_str().unwrap(), args)
    }

    /// OpenSSH finds a user's configuration by the user, not by HOME.
    fn with_config(&self, args: &[&str]) -> Vec<String> {
        let mut words = vec!["-F".to_owned(), self.config().display().to_string()];
        words.extend(args.iter().map(|word| (*word).to_owned()));
        words
    }

    fn config(&self) -> PathBuf {
        self.home.join(".ssh/config")
    }

    fn ssh(&self, args: &[&str]) -> Seen {
        let words = self.with_config(args);
        self.run("ssh", &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let words = self.with_config(args);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.command("ssh", &words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let mut tee =
            self.command("tee", &[name]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        tee.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(tee.wait().unwrap().success());
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        fs_err::remove_dir_all(&self.home).unwrap_or_default();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn other_tools(who: Who) {
    let Some(tools) = Tools::new(who) else { return };
    tools.host.forget("access");
    // Before the machine is there: it comes to be known by itself.
    tools.mvm(&["ssh-config", "--install"]);
    tools.mvm(&["start", "access", "-d"]);
    let seen = tools.ssh(&["-T", "mvm-access", "cat; echo err >&2; exit 7"]);
    assert_eq!((seen.code, seen.stderr.as_str()), (7, "err\n"), "{seen}");

    an_editor(&tools);
    copies(&tools);
    git(&tools);
    let printed = tools.mvm(&["ssh-config", "access"]).stdout;
    assert!(
        printed.contains("Host mvm-access\n") && printed.contains("StrictHostKeyChecking yes"),
        "{printed}"
    );

    // The machine ends without a word: so does the connection.
    let mut session = tools.spawn(&["-T", "mvm-access", "sleep 600"]);
    let proxy = "proxy access";
    wait_until("a connection", || {
        crate::host::all_pids().into_iter().any(|pid| crate::host::command_line(pid).contains(proxy))
    });
    kill("KILL", tools.host.pid("access", "cell"));
    wait_until("the connection's end", || session.try_wait().unwrap().is_some());
    let seen = tools.ssh(&["mvm-access", "true"]);
    assert!(seen.code == 255 && seen.stderr.contains("is not running"), "{seen}");

    tools.mvm(&["destroy", "access", "--yes"]);
    assert!(!tools.home.join(".local/state/mvm/ssh/access").exists(), "keys are left");
    tools.mvm(&["ssh-config", "--remove"]);
    assert!(!tools.config().exists());
}

/// As VS Code does it: a shell that reads its commands, and a SOCKS proxy by which the editor reaches its server in the
/// machine.
fn an_editor(tools: &Tools) {
    let port = free_port();
    let mut session = tools.spawn(&["-T", "-D", &port.to_string(), "mvm-access", "bash"]);
    let mut stdin = session.stdin.take().unwrap();
    // A server on the machine's loopback, where no forwarded port leads.
    let line = "mkdir -p /srv/www && echo from the machine > /srv/www/page && \
                exec /run/mvm/busybox httpd -f -p 127.0.0.1:8000 -h /srv/www\n";
    stdin.write_all(line.as_bytes()).unwrap();
    let proxy = format!("socks5h://127.0.0.1:{port}");
    let mut page = String::new();
    wait_until("the page by SOCKS", || {
        let seen = tools.run("curl", &["-s", "--proxy", &proxy, "http://localhost:8000/page"]);
        page = seen.stdout;
        seen.code == 0
    });
    assert_eq!(page, "from the machine\n");
    kill("TERM", session.id());
    session.wait().unwrap();
}

fn copies(tools: &Tools) {
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(1_000_000).collect();
    tools.ok("mkdir", &["-p", "tree/sub dir"]);
    tools.write("tree/sub dir/bytes", &bytes);
    let config = tools.config().display().to_string();
    tools.ok("scp", &["-q", "-r", "-F", &config, "tree", "mvm-access:/srv/scp"]);
    tools.write("batch", b"put -r tree /srv/sftp\nget \"/srv/sftp/sub dir/bytes\" back\n");
    tools.ok("sftp", &["-q", "-F", &config, "-b", "batch", "mvm-access"]);
    assert!(fs_err::read(tools.home.join("back")).unwrap() == bytes);
    let shell = format!("ssh -F {config}");
    tools.ok("rsync", &["-a", "-e", &shell, "tree/", "mvm-access:/srv/rsync/"]);
    let seen = tools.ssh(&[
        "mvm-access",
        "cd /srv; sha256sum s*/sub*/bytes rsync/sub*/bytes | cut -d' ' -f1 | uniq -c | wc -l",
    ]);
    assert_eq!(seen.stdout, "1\n", "{seen}");
}

fn git(tools: &Tools) {
    tools.ssh(&["mvm-access", "git init -q --bare /srv/repo.git"]);
    let ssh = format!("core.sshCommand=ssh -F {}", tools.config().display());
    let commit = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "commit",
        "-q",
        "-m",
        "first",
        "--allow-empty",
    ];
    tools.ok("git", &["init", "-q", "repo"]);
    tools.ok("git", &[&["-C", "repo"], &commit[..]].concat());
    tools.ok(
        "git",
        &["-C", "repo", "-c", &ssh, "push", "-q", "mvm-access:/srv/repo.git", "HEAD:refs/heads/main"],
    );
    let seen = tools.ssh(&["mvm-access", "git -C /srv/repo.git log --format=%s main"]);
    assert_eq!(seen.stdout, "first\n", "{seen}");
}

#[test]
fn other_tools_as_an_ordinary_user() {
    other_tools(Who::User);
}

#[test]
fn other_tools_as_root() {
    other_tools(Who::Root);
}
