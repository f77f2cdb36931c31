//! The command line as a user sees it: help, and what bad input gets.

use std::path::Path;

use clap::Command;

use crate::environment::TestHost;

/// docs/cli.md is what `--help` says; with `MVM_UPDATE_DOCS` set it is written anew.
#[test]
fn the_cli_reference_is_true() {
    let mut text = String::from("# The command line\n\nWhat `mvm --help` and `mvm COMMAND --help` say.\n");
    let mut root = mvm::cli::command().term_width(100);
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
    for command in above.get_subcommands().filter(|command| {
        !command.is_hide_set() && (above.get_name() == "mvm" || command.get_name() != "help")
    }) {
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

/// The examples in the help of a command: its lines of `mvm`, without what other programs do, and without remarks.
fn examples(command: &Command) -> Vec<Vec<String>> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("  ")).map(|line| {
        let line = line.trim();
        // A remark stands well apart.
        line.split_once("   ")
            .map_or(line, |(line, _)| line)
            .split(" >")
            .next()
            .unwrap()
            .split(" <")
            .next()
            .unwrap()
    });
    let words = lines.flat_map(|line| shlex::split(line).unwrap_or_else(|| panic!("{line}")));
    let words: Vec<String> = words.collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut open = false;
    for word in words {
        match word.as_str() {
            "mvm" => {
                found.push(vec![word]);
                open = true;
            }
            "&&" | "|" | "echo" | "eval" | "docker" | "pg_dump" | "ssh" if !open || word != "ssh" => {
                open = false;
            }
            _ if open => found.last_mut().unwrap().push(word),
            _ => {}
        }
    }
    found
}

#[test]
fn every_command_has_examples_and_each_is_valid() {
    let mut root = mvm::cli::command();
    root.build();
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        let mut count = 0;
        for command in below.chain([command]) {
            for words in examples(command) {
                count += 1;
                let parsed = <mvm::cli::Cli as clap::Parser>::try_parse_from(&words);
                assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
            }
        }
        assert!(count > 0, "`mvm {}` has no examples", command.get_name());
    }
}

#[test]
fn exit_codes_are_what_the_help_says() {
    let host = TestHost::bare();
    host.machine("web");
    let help = host.mvm_as_is(&["--help"]).stdout;
    for (args, code) in [
        (&["ls"][..], 0),
        (&["stop", "shop"], 1),
        (&["rename", "web", "web"], 2),
        (&["start", "web", "--cpus", "0"], 2),
        // Nothing of what machines need is there.
        (&["start", "new", "-d"], 3),
        (&["ssh", "web"], 4),
        (&["exec", "web", "--", "true"], 4),
        (&["cp", "web:/etc/hosts", "-"], 4),
        (&["proxy", "web"], 4),
        (&["console", "web"], 4),
    ] {
        let shown = host.mvm_as_is(args);
        assert_eq!(shown.code, code, "{args:?}: {shown}");
        assert!(help.contains(&format!("\n  {code}    ")), "{code}: {help}");
    }
}

#[test]
fn slips_are_answered_with_what_was_meant() {
    let host = TestHost::bare();
    host.machine("web");
    for (args, meant) in [
        (&["strat", "web"][..], "'start'"),
        (&["start", "web", "--memry", "1G"], "'--memory'"),
        (&["image", "pul", "x"], "'pull'"),
        (&["ssh", "wbe"], "`web`"),
    ] {
        let shown = host.mvm_as_is(args);
        assert!(shown.code != 0 && shown.stderr.contains(meant), "{args:?}: {shown}");
    }
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
