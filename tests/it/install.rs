//! install.sh against a release on loopback: good ones, wrong ones, and what every end of it leaves behind.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::process::{Seen, wait_until};
use crate::common::server::{Page, Server};
use crate::common::{skipped, which};

pub(crate) const TARGETS: [&str; 4] = [
    "aarch64-apple-darwin",
    "aarch64-unknown-linux-musl",
    "x86_64-apple-darwin",
    "x86_64-unknown-linux-musl",
];

pub(crate) const REPOSITORY: &str = "owner/mvm";

const TOOLS: &[&str] = &[
    "cat",
    "chmod",
    "cp",
    "cut",
    "grep",
    "gzip",
    "head",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sh",
    "sha256sum",
    "shasum",
    "tail",
    "tar",
    "uname",
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn executable(file: &Path, text: &str) {
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    fs_err::write(file, text).unwrap();
    fs_err::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The files of a release, as the workflow makes them; its programs only say what they are.
pub(crate) fn release(version: &str, says: &str) -> Option<TempDir> {
    let gnu = |program: &str| {
        let shown = Command::new(program).arg("--version").output();
        shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("GNU"))
    };
    if !gnu("tar") || which("sha256sum").is_none() {
        skipped("releases were not made: GNU tar and sha256sum are not here");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    for target in TARGETS {
        let program = format!("#!/bin/sh\necho mvm {says}\n: {target}\n");
        executable(&dir.path().join("built").join(target).join("mvm"), &program);
    }
    fs_err::create_dir(dir.path().join("out")).unwrap();
    let mut command = Command::new(root().join("packaging/release"));
    command.args([version, REPOSITORY]).arg(dir.path().join("built")).arg(dir.path().join("out"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(dir)
}

fn archive(version: &str, target: &str) -> String {
    format!("mvm-v{version}-{target}.tar.gz")
}

/// Puts a release on the page; it is the newest from then on.
fn publish(page: &Server, version: &str, says: &str) -> Option<TempDir> {
    let release = release(version, says)?;
    for entry in fs_err::read_dir(release.path().join("out")).unwrap() {
        let entry = entry.unwrap();
        let (name, bytes) = (entry.file_name(), fs_err::read(entry.path()).unwrap());
        let name = name.to_str().unwrap();
        page.put(&format!("/download/v{version}/{name}"), Page::File(bytes.clone()));
        page.put(&format!("/latest/download/{name}"), Page::File(bytes));
    }
    Some(release)
}

/// A user with a home, the basic tools, and one that downloads.
struct User {
    root: TempDir,
    url: String,
    script: PathBuf,
}

impl User {
    fn new(page: &Server, downloader: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["bin", "home", "tmp"] {
            fs_err::create_dir(root.path().join(dir)).unwrap();
        }
        for tool in TOOLS.iter().chain([&downloader]) {
            if let Some(real) = which(tool) {
                symlink(real, root.path().join("bin").join(tool)).unwrap();
            }
        }
        let user = Self { root, url: page.url(""), script: root_script() };
        user.is("Linux", "x86_64");
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let file = self.path("bin").join(name);
        fs_err::remove_file(&file).unwrap_or_default();
        executable(&file, text);
    }

    /// What `uname` says of the machine.
    fn is(&self, system: &str, cpu: &str) {
        let text = format!("#!/bin/sh\ncase $1 in -s) echo {system} ;; -m) echo {cpu} ;; esac\n");
        self.program("uname", &text);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/sh"));
        command.arg(&self.script).args(args).env_clear().current_dir(self.path("home"));
        command.env("PATH", self.path("bin")).env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        command.env("SHELL", "/usr/bin/zsh").env("MVM_INSTALL_URL", &self.url).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Seen {
        Seen::new(args, self.command(args).output().unwrap())
    }

    /// What the installed program says, if there is one; no other file may be beside it, and none in `TMPDIR`.
    fn installed(&self) -> Option<String> {
        let names = |dir: PathBuf| -> Vec<_> {
            let entries = fs_err::read_dir(dir).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert!(names(self.path("tmp")).is_empty(), "{:?}", names(self.path("tmp")));
        let there = names(self.path("home/.local/bin"));
        assert!(there.is_empty() || there == ["mvm"], "{there:?}");
        let output = Command::new("sh").arg(self.path("home/.local/bin/mvm")).output().unwrap();
        (!there.is_empty()).then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

fn root_script() -> PathBuf {
    root().join("install.sh")
}

#[test]
fn the_newest_release_is_installed_and_others_by_name() {
    for downloader in ["curl", "wget"] {
        if which(downloader).is_none() {
            skipped(&format!("install.sh with {downloader}, which is not installed"));
            continue;
        }
        let page = Server::start();
        let user = User::new(&page, downloader);
        let Some(_first) = publish(&page, "0.1.0", "0.1.0") else { return };
        let shown = user.run(&[]);
        assert!(shown.code == 0 && shown.stdout.is_empty(), "{shown}");
        assert!(shown.stderr.contains("mvm v0.1.0 is installed in "), "{shown}");
        assert!(shown.stderr.contains("not in PATH") && shown.stderr.contains(">>~/.zshrc"), "{shown}");
        assert_eq!(user.installed().as_deref(), Some("mvm 0.1.0"));
        let name = archive("0.1.0", "x86_64-unknown-linux-musl");
        let asked = ["GET /latest/download/SHA256SUMS".to_owned(), format!("GET /download/v0.1.0/{name}")];
        assert_eq!(page.requests(), asked);
        // It is there already.
        let shown = user.run(&[]);
        assert!(shown.code == 0 && shown.stderr.contains("mvm v0.1.0 is in "), "{shown}");
        assert_eq!(page.requests().len(), 3);
        // A newer one, and the way back.
        let Some(_second) = publish(&page, "0.2.0-rc.1", "0.2.0-rc.1") else { return };
        for (args, version) in [(&[][..], "0.2.0-rc.1"), (&["--version", "0.1.0"], "0.1.0")] {
            let shown = user.run(args);
            assert_eq!(shown.code, 0, "{shown}");
            assert_eq!(user.installed(), Some(format!("mvm {version}")), "{shown}");
        }
    }
}

#[test]
fn another_folder_is_found_or_said_to_be_hidden() {
    let page = Server::start();
    let user = User::new(&page, "curl");
    let Some(_release) = publish(&page, "0.1.0", "0.1.0") else { return };
    let bin = user.path("bin");
    let shown = user.run(&["--dir", bin.to_str().unwrap()]);
    assert!(shown.code == 0 && !shown.stderr.contains("note:"), "{shown}");
    let shown = user.run(&["--dir", "own folder"]);
    assert!(shown.code == 0 && user.path("home/own folder/mvm").is_file(), "{shown}");
    let path = format!("{}:{}", bin.display(), user.path("home/own folder").display());
    let output = user.command(&["--dir", "own folder"]).env("PATH", path).output().unwrap();
    let shown = Seen::new(&[], output);
    assert!(shown.stderr.contains(&format!("`mvm` is {}/mvm", bin.display())), "{shown}");
}

/// One wrong page each; whatever was installed before stays.
#[test]
fn what_is_wrong_is_not_installed() {
    let target = "x86_64-unknown-linux-musl";
    let name = archive("0.2.0", target);
    let sums = "/latest/download/SHA256SUMS".to_owned();
    let file = format!("/download/v0.2.0/{name}");
    let page = Server::start();
    let user = User::new(&page, "curl");
    let Some(_old) = publish(&page, "0.1.0", "0.1.0") else { return };
    let shown = user.run(&[]);
    assert_eq!(shown.code, 0, "{shown}");
    let Some(release) = publish(&page, "0.2.0", "0.2.0") else { return };
    let good = fs_err::read(release.path().join("out").join(&name)).unwrap();
    let list = fs_err::read(release.path().join("out/SHA256SUMS")).unwrap();
    let mut damaged = good.clone();
    damaged[20] ^= 1;
    let others: Vec<String> = std::str::from_utf8(&list)
        .unwrap()
        .lines()
        .filter(|line| !line.contains(target))
        .map(|line| format!("{line}\n"))
        .collect();
    let empty = format!("{}  {name}\n", mvm::digest::Sha256::of(b"no archive"));
    for (path, wrong, words) in [
        (&file, Page::File(damaged), "is not what it should be: its SHA-256 is"),
        (&file, Page::Status(404), "could not be downloaded: curl: (22)"),
        (&file, Page::Cut(good.clone(), good.len() / 2), "could not be downloaded: curl: (18)"),
        (&sums, Page::Status(404), "latest/download/SHA256SUMS could not be downloaded"),
        (&sums, Page::Cut(list.clone(), 100), "SHA256SUMS could not be downloaded"),
        (&sums, Page::File(b"<html>Log in first</html>\n".to_vec()), "is no list of checksums"),
        (&sums, Page::File(others.concat().into_bytes()), "has no mvm for x86_64-unknown-linux-musl"),
        (&sums, Page::File(empty.clone().into_bytes()), "is not what it should be"),
    ] {
        page.put(path, wrong);
        let shown = user.run(&[]);
        assert!(shown.code == 1 && shown.stderr.contains(words), "{words}: {shown}");
        assert!(shown.stderr.contains("\nhint: ") || shown.stderr.starts_with("hint: "), "{shown}");
        assert_eq!(user.installed().as_deref(), Some("mvm 0.1.0"), "{words}");
        page.put(&file, Page::File(good.clone())).put(&sums, Page::File(list.clone()));
    }
    // What is no archive, though the list has it.
    page.put(&sums, Page::File(empty.into_bytes())).put(&file, Page::File(b"no archive".to_vec()));
    let shown = user.run(&[]);
    assert!(shown.code == 1 && shown.stderr.contains("holds no mvm"), "{shown}");
    // A release that holds another one.
    page.put("/download/v0.3.0/SHA256SUMS", Page::File(list));
    let shown = user.run(&["--version", "v0.3.0"]);
    assert!(shown.code == 1 && shown.stderr.contains("holds v0.2.0, not v0.3.0"), "{shown}");
    // A program that is not what the archive is called.
    let Some(_other) = publish(&page, "0.4.0", "0.0.0") else { return };
    let shown = user.run(&[]);
    assert!(shown.code == 1 && shown.stderr.contains("does not run here: mvm 0.0.0"), "{shown}");
    assert_eq!(user.installed().as_deref(), Some("mvm 0.1.0"));
}

#[test]
fn what_the_machine_lacks_is_said() {
    let page = Server::start();
    let user = User::new(&page, "curl");
    let Some(_release) = publish(&page, "0.1.0", "0.1.0") else { return };
    fs_err::write(user.path("home/file"), "").unwrap();
    fs_err::create_dir_all(user.path("home/taken/mvm")).unwrap();
    for (args, code, words) in [
        (&["--dir", "file/bin"][..], 1, "cannot be written to"),
        (&["--dir", "taken"], 1, "taken/mvm is a folder"),
        (&["--version", "v9.9.9"], 1, "download/v9.9.9/SHA256SUMS could not be downloaded"),
        (&["--version", "newest"], 2, "newest is no version"),
        (&["--dir"], 2, "--dir wants a value"),
        (&["--global"], 2, "unknown argument: --global"),
        (&["--uninstall"], 1, "there is no mvm in"),
    ] {
        let shown = user.run(args);
        assert!(shown.code == code && shown.stderr.contains(words), "{words}: {shown}");
        assert!(shown.stderr.contains("hint: "), "{shown}");
        assert_eq!(user.installed(), None);
    }
    for (system, cpu) in [("FreeBSD", "amd64"), ("Linux", "riscv64")] {
        user.is(system, cpu);
        let shown = user.run(&[]);
        assert!(
            shown.code == 1 && shown.stderr.contains(&format!("this machine: {system} on {cpu}")),
            "{shown}"
        );
    }
    user.is("Linux", "x86_64");
    fs_err::remove_file(user.path("bin/curl")).unwrap();
    let shown = user.run(&[]);
    assert!(shown.code == 1 && shown.stderr.contains("neither curl nor wget is installed"), "{shown}");
    assert_eq!(user.installed(), None);
    // A copy that belongs to no release.
    let output = user.command(&[]).env_remove("MVM_INSTALL_URL").output().unwrap();
    let shown = Seen::new(&[], output);
    assert!(shown.code == 1 && shown.stderr.contains("does not know where releases are"), "{shown}");
}

#[test]
fn each_machine_gets_its_own_program() {
    let page = Server::start();
    let user = User::new(&page, "curl");
    let Some(_release) = publish(&page, "0.1.0", "0.1.0") else { return };
    user.program("sysctl", "#!/bin/sh\necho 0\n");
    for (system, cpu, target) in [
        ("Linux", "x86_64", "x86_64-unknown-linux-musl"),
        ("Linux", "aarch64", "aarch64-unknown-linux-musl"),
        ("Darwin", "x86_64", "x86_64-apple-darwin"),
        ("Darwin", "arm64", "aarch64-apple-darwin"),
    ] {
        user.is(system, cpu);
        let shown = user.run(&["--dir", target]);
        assert_eq!(shown.code, 0, "{shown}");
        let text = fs_err::read_to_string(user.path("home").join(target).join("mvm")).unwrap();
        assert!(text.contains(target), "{system} {cpu}: {text}");
    }
    // A shell under Rosetta is told of an Intel processor.
    user.is("Darwin", "x86_64");
    user.program("sysctl", "#!/bin/sh\necho 1\n");
    let shown = user.run(&[]);
    assert!(shown.stderr.contains("for aarch64-apple-darwin"), "{shown}");
}

#[test]
fn an_interrupted_download_leaves_nothing() {
    let page = Server::start();
    let user = User::new(&page, "curl");
    let Some(_release) = publish(&page, "0.1.0", "0.1.0") else { return };
    page.put(&format!("/download/v0.1.0/{}", archive("0.1.0", "x86_64-unknown-linux-musl")), Page::Endless);
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let before = page.requests().len();
        let mut command = user.command(&[]);
        let mut child = command.process_group(0).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the download", || page.requests().len() >= before + 2);
        // The group, as Ctrl-C does.
        let group = format!("-{}", child.id());
        let status = Command::new("kill").args(["-s", signal, "--", &group]).status().unwrap();
        assert!(status.success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(user.installed(), None);
    }
}

#[test]
fn uninstalling_removes_the_program_and_names_what_stays() {
    let page = Server::start();
    let user = User::new(&page, "curl");
    let Some(_release) = publish(&page, "0.1.0", "0.1.0") else { return };
    assert_eq!(user.run(&[]).code, 0);
    fs_err::create_dir_all(user.path("home/.local/share/mvm/machines")).unwrap();
    let shown = user.run(&["--uninstall"]);
    assert!(shown.code == 0 && shown.stderr.contains("mvm is removed from"), "{shown}");
    assert!(
        shown.stderr.contains("home/.local/share/mvm") && shown.stderr.contains("mvm destroy --all"),
        "{shown}"
    );
    assert_eq!(user.installed(), None);
    assert!(user.path("home/.local/share/mvm/machines").is_dir());
}

/// The copy of install.sh that belongs to a release asks who built it, where it can.
#[test]
fn the_attestation_is_verified_or_said_not_to_be() {
    let page = Server::start();
    let mut user = User::new(&page, "curl");
    let Some(release) = publish(&page, "0.1.0", "0.1.0") else { return };
    let shown = user.run(&["--dir", "a"]);
    assert!(shown.code == 0 && shown.stderr.contains("belongs to no repository"), "{shown}");
    user.script = release.path().join("out/install.sh");
    let shown = user.run(&["--dir", "b"]);
    assert!(shown.code == 0 && shown.stderr.contains("gh is not installed"), "{shown}");
    let gh = |cases: &str| {
        let text = format!("#!/bin/sh\necho \"$*\" >>\"$HOME/asked\"\ncase $* in {cases} esac\n");
        user.program("gh", &text);
    };
    gh("attestation*) exit 1 ;;");
    let shown = user.run(&["--dir", "c"]);
    assert!(shown.code == 0 && shown.stderr.contains("this gh is too old"), "{shown}");
    gh("auth*) exit 1 ;;");
    let shown = user.run(&["--dir", "d"]);
    assert!(shown.code == 0 && shown.stderr.contains("gh auth login"), "{shown}");
    gh("*tar.gz*) echo no attestations found; exit 1 ;;");
    let shown = user.run(&[]);
    assert!(shown.code == 1 && shown.stderr.contains("no attestations found\nerror: "), "{shown}");
    assert!(shown.stderr.contains("nothing was installed"), "{shown}");
    assert_eq!(user.installed(), None);
    gh("");
    let shown = user.run(&[]);
    assert!(shown.code == 0 && shown.stderr.contains("Its attestation is good"), "{shown}");
    let asked = fs_err::read_to_string(user.path("home/asked")).unwrap();
    let last = asked.lines().last().unwrap();
    let words = format!("--repo {REPOSITORY} --signer-workflow {REPOSITORY}/.github/workflows/release.yml");
    assert!(
        last.contains(&archive("0.1.0", "x86_64-unknown-linux-musl")) && last.ends_with(&words),
        "{last}"
    );
    assert_eq!(user.installed().as_deref(), Some("mvm 0.1.0"));
}
