//! The workflows of GitHub, and the scripts that they and CI run: pinned, locked, and with no more rights than they need.

use std::collections::BTreeMap;
use std::path::Path;

use saphyr::{LoadableYamlNode, YamlOwned as Yaml};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each workflow's name, text and content.
fn workflows() -> BTreeMap<String, (String, Yaml)> {
    let entries = fs_err::read_dir(root().join(".github/workflows")).unwrap();
    let read = entries.map(|entry| entry.unwrap().path()).map(|file| {
        let text = fs_err::read_to_string(&file).unwrap();
        let documents =
            Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let [workflow] = documents.try_into().unwrap();
        (file.file_name().unwrap().to_str().unwrap().to_owned(), (text, workflow))
    });
    let found: BTreeMap<_, _> = read.collect();
    assert!(found.contains_key("tests.yml") && found.contains_key("release.yml"), "{:?}", found.keys());
    found
}

fn jobs(workflow: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    workflow["jobs"].as_mapping().unwrap().iter().map(|(name, job)| (name.as_str().unwrap(), job))
}

fn steps(job: &Yaml) -> impl Iterator<Item = &Yaml> {
    job.as_mapping_get("steps").and_then(Yaml::as_sequence).into_iter().flatten()
}

fn text<'a>(of: &'a Yaml, key: &str) -> Option<&'a str> {
    of.as_mapping_get(key).and_then(Yaml::as_str)
}

/// An action at a commit, and the version beside it for people; or a workflow of this repository.
fn is_pinned(source: &str, uses: &str) -> bool {
    if let Some(own) = uses.strip_prefix("./") {
        return root().join(own).is_file();
    }
    let commit = uses.rsplit_once('@').map_or("", |(_, commit)| commit);
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut lines = source.lines().filter(|line| line.contains(&format!("uses: {uses}")));
    commit.len() == 40 && commit.chars().all(hex) && lines.all(|line| line.contains(&format!("{uses} # v")))
}

#[test]
fn every_action_is_pinned_to_a_commit() {
    let mut pins = BTreeMap::new();
    for (name, (source, workflow)) in workflows() {
        for (job, table) in jobs(&workflow) {
            let of_steps = steps(table).filter_map(|step| text(step, "uses"));
            for uses in of_steps.chain(text(table, "uses")) {
                assert!(is_pinned(&source, uses), "{name}, job {job}: {uses}");
                if let Some((action, commit)) = uses.split_once('@') {
                    let before = pins.insert(action.to_owned(), commit.to_owned());
                    assert!(
                        before.is_none_or(|before| before == commit),
                        "{action} is pinned to two commits"
                    );
                }
            }
        }
    }
    assert!(pins.len() >= 4, "{pins:?}");
    let source = "uses: a/b@v1\nuses: a/b@3d3c42e5aac5ba805825da76410c181273ba90b1\n";
    for uses in ["a/b@v1", "a/b@3d3c42e5aac5ba805825da76410c181273ba90b1", "a/b", "./nowhere.yml"] {
        assert!(!is_pinned(source, uses), "{uses}");
    }
}

/// None for the workflow as a whole; each job says what it may, and only the one that publishes may write.
#[test]
fn every_job_has_the_least_rights() {
    for (name, (_, workflow)) in workflows() {
        assert!(workflow["permissions"].as_mapping().unwrap().is_empty(), "{name}");
        for (job, table) in jobs(&workflow) {
            let rights = table.as_mapping_get("permissions").and_then(Yaml::as_mapping);
            let rights = rights.unwrap_or_else(|| panic!("{name}, job {job}: no permissions"));
            let writes = rights.values().any(|right| right.as_str() != Some("read"));
            assert_eq!(writes, (name.as_str(), job) == ("release.yml", "publish"), "{name}, job {job}");
            for step in steps(table) {
                let checks_out = text(step, "uses").is_some_and(|uses| uses.starts_with("actions/checkout@"));
                let keeps =
                    step.as_mapping_get("with").and_then(|with| with.as_mapping_get("persist-credentials"));
                assert!(!checks_out || keeps.and_then(Yaml::as_bool) == Some(false), "{name}, job {job}");
                // What others name (branches, titles) comes in by the environment, never as a part of the script.
                let run = text(step, "run").unwrap_or_default();
                assert!(!run.contains("${{"), "{name}, job {job}: {run}");
            }
        }
    }
}

/// The lines of `script` that let cargo choose other versions than those of a lock file.
fn unlocked(script: &str) -> Vec<&str> {
    let resolving = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let call = words.iter().position(|word| matches!(*word, "cargo" | "lint"));
        call.and_then(|at| words.get(at + 1)).is_some_and(|command| {
            matches!(*command, "build" | "clippy" | "deny" | "install" | "metadata" | "run" | "test")
        })
    };
    script.lines().filter(resolving).filter(|line| !line.contains("--locked")).collect()
}

#[test]
fn every_call_of_cargo_is_locked() {
    assert_eq!(
        unlocked("cargo fmt\n  cargo test --x\nlint clippy\ncargo build --locked"),
        ["  cargo test --x", "lint clippy"]
    );
    for (name, (_, workflow)) in workflows() {
        let runs = jobs(&workflow).flat_map(|(_, job)| steps(job)).filter_map(|step| text(step, "run"));
        let found: Vec<_> = runs.flat_map(unlocked).collect();
        assert!(found.is_empty(), "{name}: {found:?}");
    }
    for folder in [".ci", "packaging"] {
        for entry in fs_err::read_dir(root().join(folder)).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                let text = fs_err::read_to_string(&file).unwrap();
                assert!(unlocked(&text).is_empty(), "{}: {:?}", file.display(), unlocked(&text));
            }
        }
    }
}

/// What is built is what install.sh and the formula ask for.
#[test]
fn every_target_of_the_installers_is_built() {
    let workflows = workflows();
    let matrix = &workflows["release.yml"].1["jobs"]["build"]["strategy"]["matrix"]["include"];
    let mut built: Vec<_> =
        matrix.as_sequence().unwrap().iter().map(|row| text(row, "target").unwrap()).collect();
    built.sort_unstable();
    let mut wanted = crate::install::TARGETS;
    wanted.sort_unstable();
    assert_eq!(built, wanted);
}
