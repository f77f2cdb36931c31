//! Completion by the shells themselves, and the manual pages.

use std::process::Command;

use crate::common::{install, skipped, which};
use crate::environment::TestHost;

/// A host with the machines `web` and `shop`, and an image.
fn host() -> TestHost {
    let host = TestHost::bare();
    for name in ["web", "shop"] {
        host.machine(name);
    }
    let file = r#"{"bytes":1}"#;
    let image = format!(
        r#"{{"version":1,"id":"abc","name":"debian","suite":"trixie","arch":"x86_64","created":5,"kernel":{file},"base":{file},"initrd":{file}}}"#
    );
    host.write("home/mvm/images/abc/image.json", &image);
    host.write("home/mvm/machines/web/snapshots/before/meta", "FORMAT=1\n");
    host.binary();
    host
}

/// A real shell on that host, which finds mvm on its PATH.
fn shell(host: &TestHost, program: &str, args: &[&str]) -> String {
    let path = format!("{}:/usr/bin:/bin", host.path("").display());
    let output = Command::new(program)
        .args(args)
        .env_clear()
        .envs([("PATH", path.as_str()), ("TERM", "dumb"), ("MVM_HOST", "native")])
        .env("HOME", host.path("home"))
        .env("MVM_HOME", host.path("home/mvm"))
        .env("XDG_CONFIG_HOME", host.path("config"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What bash, having read the file that is installed, would insert for the last of the words.
fn bash(host: &TestHost, words: &[&str]) -> Vec<String> {
    let file = host.path("home/.local/share/bash-completion/completions/mvm");
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let line = format!(
        "source '{}'; COMP_WORDS=({}) COMP_CWORD={}; $(complete -p mvm | sed 's/.*-F //; s/ .*//') mvm '{}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display(),
        quoted.join(" "),
        words.len() - 1,
        words.last().unwrap()
    );
    let said = shell(host, "bash", &["--norc", "-c", &line]);
    said.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_names() {
    let host = host();
    for _ in 0..2 {
        let shown = host.mvm_as_is(&["completions", "bash", "--install"]);
        assert!(shown.code == 0 && shown.stderr.contains("bash-completion/completions/mvm"), "{shown}");
    }
    assert_eq!(bash(&host, &["mvm", "ssh", "w"]), ["web"]);
    assert_eq!(bash(&host, &["mvm", "stop", ""]).iter().filter(|word| !word.starts_with('-')).count(), 2);
    assert_eq!(bash(&host, &["mvm", "start", "new", "--image", "de"]), ["debian:trixie"]);
    assert_eq!(bash(&host, &["mvm", "cp", "sho"]), ["shop:"]);
    assert_eq!(bash(&host, &["mvm", "snapshot", "restore", "w"]), ["web@before"]);
    assert_eq!(bash(&host, &["mvm", "snapshot", "rm", "web@b"]), ["web@before"]);
    assert_eq!(bash(&host, &["mvm", "destr"]), ["destroy"]);
    assert_eq!(bash(&host, &["mvm", "start", "--detac"]), ["--detach"]);
    for said in ["completions/mvm is gone", "Nothing was installed"] {
        let shown = host.mvm_as_is(&["completions", "bash", "--remove"]);
        assert!(shown.code == 0 && shown.stderr.contains(said), "{shown}");
    }
    assert!(!host.path("home/.local/share/bash-completion/completions/mvm").exists());
}

#[test]
fn zsh_completes_names() {
    install(&[("zsh", "zsh")]);
    if which("zsh").is_none() {
        return skipped("completion by zsh: it is not installed");
    }
    let host = host();
    assert_eq!(host.mvm_as_is(&["completions", "zsh", "--install"]).code, 0);
    let functions = host.path("home/.local/share/zsh/site-functions");
    // A shell on a terminal of its own, where Tab is pressed; the line is then printed instead of run.
    host.write(
        "home/.zshrc",
        &format!(
            "fpath=({} $fpath)\nautoload -U compinit; compinit -u -D\nPS1='ready> '\nshow() {{ print -r -- \"<$BUFFER>\"; zle kill-buffer }}\nzle -N show; bindkey '^X' show\n",
            functions.display()
        ),
    );
    let script = "zmodload zsh/zpty; zpty shell zsh -i; zpty -r shell said '*ready> *'; \
                  zpty -w -n shell $'mvm ssh w\\t\\x18'; zpty -r shell said '*<*>*'; print -r -- $said";
    let said = shell(&host, "zsh", &["-f", "-c", script]);
    assert!(said.contains("<mvm ssh web >"), "{said}");
}

#[test]
fn fish_completes_names() {
    install(&[("fish", "fish")]);
    if which("fish").is_none() {
        return skipped("completion by fish: it is not installed");
    }
    let host = host();
    assert_eq!(host.mvm_as_is(&["completions", "fish", "--install"]).code, 0);
    assert!(host.path("config/fish/completions/mvm.fish").exists());
    assert_eq!(shell(&host, "fish", &["-c", "complete -C 'mvm ssh w'"]), "web\n");
    assert_eq!(shell(&host, "fish", &["-c", "complete -C 'mvm dev x --image d'"]), "debian:trixie\n");
}

#[test]
fn completing_never_touches_a_vm_that_does_not_run() {
    let host = TestHost::bare().fake(&["limactl", "ssh"]);
    let output = Command::new(host.binary())
        .args(["--", "mvm", "ssh", ""])
        .env_clear()
        .envs([("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "2"), ("MVM_HOST", "lima")])
        .env("PATH", host.path("bin"))
        .env("HOME", host.path("home"))
        .env("FAKES", host.path("home"))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(host.log(), "");
}

#[test]
fn a_shell_is_named_or_known() {
    let shown = TestHost::bare().mvm(&["completions"]);
    assert!(shown.code == 2 && shown.stderr.contains("mvm completions bash"), "{shown}");
    let shown = TestHost::bare().mvm(&["completions", "fish"]);
    assert!(shown.code == 0 && shown.stdout.contains("COMPLETE=fish mvm | source"), "{shown}");
}

#[test]
fn manual_pages() {
    let host = TestHost::bare();
    for _ in 0..2 {
        let shown = host.mvm_as_is(&["man", "--install"]);
        assert_eq!(shown.code, 0, "{shown}");
    }
    let page = host.read("home/.local/share/man/man1/mvm-image-ls.1");
    assert!(page.contains(".TH") && page.contains("mvm\\-image\\-ls"), "{page}");
    assert_eq!(host.mvm(&["man", "image", "ls"]).stdout.trim_end(), page.trim_end());
    let shown = host.mvm(&["man", "frobnicate"]);
    assert!(shown.code == 2 && shown.stderr.contains("no command `frobnicate`"), "{shown}");
    if let Some(man) = which("man") {
        let output = Command::new(man)
            .args(["--warnings", "-l"])
            .arg(host.path("home/.local/share/man/man1/mvm-dev.1"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && output.stderr.is_empty() && text.contains("--memory"),
            "{output:?}"
        );
    }
    // Another program's page is not mvm's to remove.
    host.write("home/.local/share/man/man1/other.1", "");
    let shown = host.mvm_as_is(&["man", "--remove"]);
    assert!(shown.code == 0 && shown.stderr.contains("files are gone from"), "{shown}");
    let left = fs_err::read_dir(host.path("home/.local/share/man/man1")).unwrap();
    assert_eq!(left.map(|file| file.unwrap().file_name()).collect::<Vec<_>>(), ["other.1"]);
}
