//! The command line as a user sees it: help, and what bad input gets.

use std::path::Path;

use clap::{Command, CommandFactory};

use crate::environment::TestHost;

/// docs/cli.md is what `--help` says; with `MVM_UPDATE_DOCS` set it is written anew.
#[test]
fn the_cli_reference_is_true() {
    let mut text = String::from("# The command line\n\nWhat `mvm --help` and `mvm COMMAND --help` say.\n");
    let mut root = mvm::cli::Cli::command().term_width(100);
    root.build();
    page(&mut text, &mut root.clone(), "mvm");
    pages(&mut text, &root, "mvm");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("MVM_UPDATE_DOCS").is_some() {
        fs_err::write(&file, &text).unwrap();
    }
    let written = fs_err::read_to_string(&file).unwrap_or_default();
    assert!(written == text, "docs/cli.md is out of date: run `MVM_UPDATE_DOCS=1 cargo test --test it cli`");
}

/// The commands below one, and those below them.
fn pages(text: &mut String, above: &Command, name: &str) {
    for command in
        above.get_subcommands().filter(|command| above.get_name() == "mvm" || command.get_name() != "help")
    {
        let name = format!("{name} {}", command.get_name());
        page(text, &mut command.clone().term_width(100), &name);
        if command.get_name() != "help" {
            pages(text, command, &name);
        }
    }
}

fn page(text: &mut String, command: &mut Command, name: &str) {
    let help = command.render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
}

#[test]
fn bad_input_is_answered_with_the_valid_form() {
    let host = TestHost::bare();
    let mut seen = String::new();
    for args in [
        &["start", "Web"][..],
        &["start", "web", "--cpus", "0"],
        &["start", "web", "--cpus", "33"],
        &["start", "web", "--memory", "64M"],
        &["start", "web", "--memory", "512"],
        &["start", "web", "--disk", "10X"],
        &["start", "web", "--vmm", "xen"],
        &["start", "web", "--image", "gentoo:1"],
        &["dev", "../etc"],
        &["destroy"],
        &["destroy", "web", "--all"],
        &["frobnicate"],
    ] {
        let shown = host.mvm(args);
        seen.push_str(&format!("$ mvm {}\n{}exit code {}\n\n", args.join(" "), shown.stderr, shown.code));
        assert_eq!(shown.code, 2, "{shown}");
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn a_broken_settings_file_is_shown_with_its_place() {
    let host = TestHost::bare();
    host.write("config/mvm/config.toml", "[machine]\nmemory = \"lots\"\n");
    let shown = host.mvm(&["status"]);
    assert_eq!(shown.code, 2, "{shown}");
    assert!(shown.stderr.contains("config.toml") && shown.stderr.contains("line 2"), "{shown}");
}

#[test]
fn output_into_a_closed_pipe_is_no_failure() {
    let host = TestHost::bare();
    let line = format!("set -o pipefail; '{}' doctor | true", env!("CARGO_BIN_EXE_mvm"));
    let output = std::process::Command::new("bash")
        .args(["-c", &line])
        .env("MVM_HOME", host.path("home/mvm"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked") && !stderr.contains("Broken pipe"), "{stderr}");
}
