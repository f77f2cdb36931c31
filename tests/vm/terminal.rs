//! A session in a real terminal, that of tmux: its size, its keys, a program that takes all of it, its colours.

use std::os::unix::fs::PermissionsExt;

use crate::common::{install, skipped, which};
use crate::host::{Host, wait_until};

/// A terminal with a shell on it; the shell of the host, in which mvm is started.
struct Terminal<'a> {
    host: &'a Host,
    socket: String,
}

impl<'a> Terminal<'a> {
    fn open(host: &'a Host) -> Self {
        let terminal = Self { host, socket: format!("mvm-{}", std::process::id()) };
        // Other users may not read what tempfile makes.
        let dir = tempfile::tempdir().unwrap();
        fs_err::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let settings = dir.path().join("tmux.conf");
        fs_err::write(&settings, "set -g default-terminal tmux-256color\n").unwrap();
        let (settings, shell) =
            (settings.to_str().unwrap(), "env PS1='host> ' COLORTERM=truecolor bash --norc");
        terminal.tmux(&["-f", settings, "new-session", "-d", "-x", "90", "-y", "30", shell]);
        terminal.shows("host>");
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = self.host.command("tmux").args(["-u", "-L", &self.socket]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn shows(&self, text: &str) {
        wait_until(&format!("`{text}` on the screen"), || self.screen().contains(text));
    }

    /// Types a line whose output is shown in brackets, which what is typed does not hold.
    fn says(&self, command: &str, text: &str) {
        self.types(&format!("printf '%s%s>\\n' '<' \"$({command})\""));
        self.shows(&format!("<{text}>"));
    }

    /// Whether a program has the whole screen.
    fn is_taken(&self) -> bool {
        self.tmux(&["display", "-p", "#{alternate_on}"]).trim() == "1"
    }
}

impl Drop for Terminal<'_> {
    #[expect(clippy::print_stderr, reason = "what a failed test saw")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.host.command("tmux").args(["-L", &self.socket, "capture-pane", "-p"]).output();
            let screen = output.map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
            eprintln!("the screen:\n{}", screen.unwrap_or_default());
        }
        self.host.command("tmux").args(["-L", &self.socket, "kill-server"]).output().unwrap();
    }
}

/// The machine has vi and ncurses.
pub(crate) fn a_session_has_a_real_terminal(host: &Host, machine: &str) {
    install(&[("tmux", "tmux")]);
    if which("tmux").is_none() {
        return skipped("sessions in a terminal: tmux is not installed");
    }
    let terminal = Terminal::open(host);
    let mvm = host.program().display();
    // For the run below to go on from.
    host.ok(&["run", "--quiet", "--memory", "256M", "--", "true"]);
    // Each way to get in: a connection of its own, the one that is kept, and what waits for a first command.
    for (command, prompt, end) in [
        (format!("ssh {machine}"), format!("root@{machine}"), 7),
        (format!("exec -t {machine} -- bash"), format!("root@{machine}"), 8),
        ("run --memory 256M -- bash".to_owned(), "root@run-".to_owned(), 9),
    ] {
        terminal.types(&format!("clear; {}{mvm} {command}; echo left $?.", host.home_variable()));
        terminal.shows(&prompt);
        terminal.says("stty size", "30 90");
        terminal.tmux(&["resize-window", "-x", "70", "-y", "20"]);
        terminal.types("until [ \"$(stty size)\" = '20 70' ]; do sleep 0.1; done; echo re''sized");
        terminal.shows("resized");
        terminal.tmux(&["resize-window", "-x", "90", "-y", "30"]);

        // Said by what is to be interrupted itself: a shell that starts it may miss the key.
        terminal.types(r#"clear; sh -c 'echo sl""eeps; exec sleep 1000'"#);
        terminal.shows("sleeps");
        terminal.tmux(&["send-keys", "C-c"]);
        terminal.says("echo $?", "130");

        terminal.says("tput colors", "256");
        terminal.types("clear; printf '\\033[31m%s\\033[0m\\n' r''ed");
        terminal.shows("red");
        assert!(
            terminal.tmux(&["capture-pane", "-p", "-e"]).contains("\x1b[31mred"),
            "{}",
            terminal.screen()
        );
        terminal.says("echo $COLORTERM", "truecolor");

        terminal.types("rm -f /tmp/note; vi /tmp/note");
        wait_until("vi", || terminal.is_taken());
        terminal.tmux(&["send-keys", "-l", "iwritten in vi"]);
        terminal.tmux(&["send-keys", "Escape", ":wq", "Enter"]);
        wait_until("the end of vi", || !terminal.is_taken());
        terminal.says("cat /tmp/note", "written in vi");

        terminal.types(&format!("exit {end}"));
        terminal.shows(&format!("left {end}."));
    }
}
