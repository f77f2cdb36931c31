//! What the release workflow runs: the archives, the Homebrew formula, the notes.

use std::path::Path;
use std::process::Command;

use crate::common::process::Seen;
use crate::common::{skipped, which};
use crate::install::{REPOSITORY, TARGETS, executable, release, root};

fn run(program: &Path, args: &[&str]) -> Seen {
    Seen::new(args, Command::new(program).args(args).output().unwrap())
}

#[test]
fn a_release_is_whole_and_comes_out_the_same_again() {
    let (Some(first), Some(second)) = (release("1.2.3", "1.2.3"), release("1.2.3", "1.2.3")) else { return };
    let sums = fs_err::read_to_string(first.path().join("out/SHA256SUMS")).unwrap();
    assert_eq!(sums, fs_err::read_to_string(second.path().join("out/SHA256SUMS")).unwrap());
    let mut listed: Vec<_> = sums.lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect();
    let mut wanted: Vec<_> = TARGETS.iter().map(|target| format!("mvm-v1.2.3-{target}.tar.gz")).collect();
    wanted.extend(["install.sh", "mvm.rb"].map(str::to_owned));
    listed.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let bytes = fs_err::read(first.path().join("out").join(name)).unwrap();
        assert_eq!(mvm::digest::Sha256::of(&bytes).to_string(), sum, "{name}");
    }
    let script = fs_err::read_to_string(first.path().join("out/install.sh")).unwrap();
    assert!(script.contains(&format!("\nrepository='{REPOSITORY}'\n")));
}

#[test]
fn the_formula_names_each_archive_with_its_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let sums = dir.path().join("SHA256SUMS");
    let sum = |n: usize| n.to_string().repeat(64);
    let lines: Vec<_> = TARGETS
        .iter()
        .enumerate()
        .map(|(n, target)| format!("{}  mvm-v1.2.3-{target}.tar.gz\n", sum(n)))
        .collect();
    fs_err::write(&sums, lines.concat()).unwrap();
    let render = root().join("packaging/homebrew/render");
    let shown = run(&render, &["1.2.3", REPOSITORY, sums.to_str().unwrap()]);
    assert_eq!(shown.code, 0, "{shown}");
    for (n, target) in TARGETS.iter().enumerate() {
        let url = format!(
            "url \"https://github.com/{REPOSITORY}/releases/download/v1.2.3/mvm-v1.2.3-{target}.tar.gz\"\n      sha256 \"{}\"\n",
            sum(n)
        );
        assert!(shown.stdout.contains(&url), "{url}\n{shown}");
    }
    assert!(!shown.stdout.contains('@'), "{shown}");
    let formula = dir.path().join("mvm.rb");
    fs_err::write(&formula, &shown.stdout).unwrap();
    match which("ruby") {
        Some(ruby) => {
            let shown = run(&ruby, &["-c", formula.to_str().unwrap()]);
            assert!(shown.code == 0 && shown.stdout.contains("Syntax OK"), "{shown}");
        }
        None => skipped("the Homebrew formula was not parsed: ruby is not installed"),
    }
    fs_err::write(&sums, &lines[0]).unwrap();
    let shown = run(&render, &["1.2.3", REPOSITORY, sums.to_str().unwrap()]);
    assert!(shown.code == 1 && shown.stderr.contains("has no mvm-v1.2.3-"), "{shown}");
}

#[test]
fn a_release_wants_its_version_and_its_notes() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs_err::read_to_string(root().join("packaging/notes")).unwrap();
    let notes = dir.path().join("packaging/notes");
    executable(&notes, &text);
    fs_err::write(dir.path().join("Cargo.toml"), "[package]\nname = \"mvm\"\nversion = \"1.2.3\"\n").unwrap();
    let log = "# Changelog\n\n## [Unreleased]\n\n- Not yet.\n\n## [1.2.3] - 2026-01-02\n\n- This.\n\n## [1.2.30]\n\n- Not this.\n";
    fs_err::write(dir.path().join("CHANGELOG.md"), log).unwrap();
    let shown = run(&notes, &["v1.2.3"]);
    assert!(shown.code == 0 && shown.stdout.trim() == "- This.", "{shown}");
    let shown = run(&notes, &["v1.2.4"]);
    assert!(shown.code == 1 && shown.stderr.contains("Cargo.toml says 1.2.3"), "{shown}");
    fs_err::write(dir.path().join("CHANGELOG.md"), log.replace("[1.2.3]", "[1.2.2]")).unwrap();
    let shown = run(&notes, &["v1.2.3"]);
    assert!(shown.code == 1 && shown.stderr.contains("no section `## [1.2.3]`"), "{shown}");
}

/// The program of the tests is a dynamic one.
#[cfg(target_os = "linux")]
#[test]
fn a_program_that_is_not_static_is_not_released() {
    if which("readelf").is_none() {
        return skipped("packaging/check: readelf (binutils) is not installed");
    }
    let check = root().join("packaging/check");
    let binary = env!("CARGO_BIN_EXE_mvm");
    let shown = run(&check, &[binary, env!("CARGO_PKG_VERSION")]);
    let is_static = cfg!(target_feature = "crt-static");
    assert!(shown.stderr.contains("is not static") != is_static && (shown.code == 0) == is_static, "{shown}");
    let shown = run(&check, &[binary, "0.0.0"]);
    assert!(shown.code == 1 && shown.stderr.contains("not `mvm 0.0.0`"), "{shown}");
}
