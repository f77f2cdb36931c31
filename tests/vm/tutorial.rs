//! README's tutorial: each of its files is written, and each of its lines is run, as they stand there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{install, is_root, skipped};
use crate::host::{Host, Seen, Who, host, kill, wait_until};

const README: &str = include_str!("../../README.md");
const TITLE: &str = "## Tutorial: a Python project in a microVM, with your editor\n";

/// A fenced block.
struct Block {
    /// What stands after the fence: `console`, `toml`.
    info: String,
    text: String,
    /// The file that the text before it names: `` `app.py` is … ``
    file: Option<String>,
}

fn blocks(section: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut paragraph = String::new();
    let mut lines = section.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            if !line.is_empty() {
                line.clone_into(&mut paragraph);
            }
            continue;
        };
        let text: String =
            lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        let file = paragraph
            .strip_prefix('`')
            .and_then(|rest| rest.split_once('`'))
            .map(|(name, _)| name.to_owned());
        blocks.push(Block { info: info.to_owned(), text, file });
        paragraph.clear();
    }
    blocks
}

/// Lines that begin with `$ `, each with what it is to print.
fn commands(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command, Vec::new())),
            None => commands.last_mut().expect("a command comes first").1.push(line),
        }
    }
    commands
}

/// Whether the expected lines are among those printed, in their order; `…` stands for anything.
fn is_printed(expected: &[&str], printed: &str) -> bool {
    let fits = |line: &str, expected: &str| {
        let mut rest = Some(line);
        let parts: Vec<_> = expected.split('…').collect();
        for part in &parts {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, after)| after);
        }
        rest.is_some() && (line.len() == expected.len() || parts.len() > 1)
    };
    let mut lines = printed.lines();
    expected.iter().all(|expected| lines.any(|line| fits(line, expected)))
}

/// Someone who follows the tutorial, in a shell.
struct Reader {
    host: Host,
    /// The folder that the shell is in.
    folder: PathBuf,
    foreground: Option<Child>,
}

impl Reader {
    fn shell(&self, line: &str, words: &[&str]) -> Command {
        let mut command = self.host.command("bash");
        let path = self.host.program().parent().unwrap().display();
        command.env("PATH", format!("{path}:/usr/local/bin:/usr/bin:/bin"));
        command.args(["-c", line, "bash"]).arg(&self.folder).args(words);
        command
    }

    fn run(&mut self, line: &str) -> Seen {
        let seen = Seen::new(&[line], self.shell(r#"cd "$1" && eval "$2" 2>&1"#, &[line]).output().unwrap());
        // Where that leaves the shell.
        if line.contains("cd ") {
            let place = self.shell(r#"cd "$1" && cd "${2##*cd }" && pwd"#, &[line]).output().unwrap();
            self.folder = String::from_utf8(place.stdout).unwrap().trim().into();
        }
        seen
    }

    fn follow(&mut self, command: &str, expected: &[&str]) {
        let mut seen = self.run(command);
        // A server takes a moment until it serves.
        if command.starts_with("curl ") && seen.code != 0 {
            wait_until(command, || {
                seen = self.run(command);
                seen.code == 0
            });
        }
        assert_eq!(seen.code, 0, "{seen}");
        assert!(is_printed(expected, &seen.stdout), "{expected:?}: {seen}");
    }

    fn write(&self, name: &str, text: &str) {
        let mut tee = self.shell(r#"cat > "$1/$2""#, &[name]).stdin(Stdio::piped()).spawn().unwrap();
        tee.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(tee.wait().unwrap().success());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(server) = &mut self.foreground {
            kill("INT", server.id());
            server.wait().unwrap();
        }
        fs_err::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

#[test]
fn every_line_of_the_tutorial_does_what_it_says() {
    if !is_root() {
        return skipped(
            "the tutorial: it is followed by a user of its own, whom root makes, since it lets ssh in",
        );
    }
    let host = host(Who::User).unwrap();
    install(&[("curl", "curl")]);
    host.forget("hello");
    let (_, section) = README.split_once(TITLE).expect("README has the tutorial");
    let section = section.split_once("\n## ").expect("something follows").0;
    let temporary = Seen::new(&[], host.command("mktemp").arg("-d").output().unwrap());
    let mut reader = Reader { folder: Path::new(temporary.stdout.trim()).to_owned(), host, foreground: None };
    let blocks = blocks(section);
    assert!(blocks.len() >= 8, "the tutorial's blocks were not found");
    for block in blocks {
        match (block.info.as_str(), &block.file) {
            ("console", _) => {
                for (command, expected) in commands(&block.text) {
                    // At the end of the day.
                    if command == "mvm down"
                        && let Some(mut server) = reader.foreground.take()
                    {
                        kill("INT", server.id());
                        server.wait().unwrap();
                    }
                    reader.follow(command, &expected);
                }
            }
            ("console foreground", _) => {
                let [(command, _)] = commands(&block.text)[..] else { panic!("{}", block.text) };
                let server = reader.shell(r#"cd "$1" && eval "exec $2""#, &[command]).spawn().unwrap();
                reader.foreground = Some(server);
            }
            (_, Some(name)) => reader.write(name, &block.text),
            (info, None) => panic!("neither commands nor a file: {info}"),
        }
    }
}
