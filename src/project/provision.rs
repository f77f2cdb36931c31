//! What makes a new machine ready, once for each disk: which steps there are, and which remain to be done.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::microvm::UserName;

/// A step as the file names it: a line for the machine's shell, or a script of the project.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
pub enum Source {
    /// A line for the machine's shell, run as root
    Line(String),
    Run {
        /// A line for the machine's shell
        run: String,
        /// The machine's user to run it as; root without it
        #[schemars(default, with = "Option<String>")]
        user: Option<UserName>,
    },
    File {
        /// A script, relative to this file; it is run by its `#!` line, or else by `sh -e`
        file: PathBuf,
        /// The machine's user to run it as; root without it
        #[schemars(default, with = "Option<String>")]
        user: Option<UserName>,
    },
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            run: Option<String>,
            file: Option<PathBuf>,
            user: Option<UserName>,
        }
        struct Step;
        const FORM: &str = "a line for the machine's shell in quotes, or a table: { file = \"setup.sh\" } or { run = \"…\", user = \"me\" }";
        impl<'de> de::Visitor<'de> for Step {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM)
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<Source, E> {
                Ok(Source::Line(line.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                match Table::deserialize(de::value::MapAccessDeserializer::new(map))? {
                    Table { run: Some(run), file: None, user } => Ok(Source::Run { run, user }),
                    Table { run: None, file: Some(file), user } => Ok(Source::File { file, user }),
                    _ => Err(de::Error::custom(format!("a step is either a `run` or a `file`: give {FORM}"))),
                }
            }
        }
        value.deserialize_any(Step)
    }
}

impl Source {
    fn user(&self) -> Option<&UserName> {
        match self {
            Self::Line(_) => None,
            Self::Run { user, .. } | Self::File { user, .. } => user.as_ref(),
        }
    }
}

/// For people.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) | Self::Run { run: line, .. } => {
                let first = line.trim().lines().next().unwrap_or_default();
                let short: String = first.chars().take(60).collect();
                let cut = if short.len() < line.trim().len() { "…" } else { "" };
                write!(f, "{short}{cut}")
            }
            Self::File { file, .. } => write!(f, "{}", file.display()),
        }
    }
}

/// A step as it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For people.
    pub title: String,
    pub user: Option<UserName>,
    /// A script with its `#!` line.
    pub script: Vec<u8>,
    /// Of all that it is; two steps alike have different ones.
    pub digest: String,
}

/// Reads the steps that the file in `folder` names.
pub fn steps(folder: &Path, sources: &[Source]) -> Result<Vec<Step>> {
    let mut times: BTreeMap<Sha256, u32> = BTreeMap::new();
    let mut steps = Vec::with_capacity(sources.len());
    for source in sources {
        let text: Cow<'_, [u8]> = match source {
            Source::Line(line) | Source::Run { run: line, .. } => Cow::Borrowed(line.as_bytes()),
            Source::File { file, .. } => Cow::Owned(fs_err::read(folder.join(file)).map_err(|error| {
                Error::usage(format!("a script of `provision` cannot be read: {error}"))
                    .hint("its path is relative to mvm.toml; a line for the shell is written without a table")
            })?),
        };
        let mut script = if text.starts_with(b"#!") { Vec::new() } else { b"#!/bin/sh -e\n".to_vec() };
        script.extend_from_slice(&text);
        let user = source.user().cloned();
        let key = [user.as_ref().map_or("root", UserName::as_str).as_bytes(), b"\0", &script].concat();
        let count = times.entry(Sha256::of(&key)).or_default();
        *count += 1;
        let digest = Sha256::of(&[&key[..], b"\0", count.to_string().as_bytes()].concat()).to_string();
        steps.push(Step { title: source.to_string(), user, script, digest });
    }
    Ok(steps)
}

/// What a machine's disk remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Digests of the steps that were done.
    done: Vec<String>,
    /// Whether all steps of their time were done: then what changes later is done only when asked for.
    complete: bool,
}

impl Record {
    /// The mark of a record that is complete.
    pub const COMPLETE: &str = "complete";

    /// Reads what the guest has: a digest a line, and the mark.
    pub fn parse(text: &str) -> Self {
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self {
            done: lines().filter(|line| *line != Self::COMPLETE).map(str::to_owned).collect(),
            complete: lines().any(|line| line == Self::COMPLETE),
        }
    }
}

/// What is done again on a disk that was provisioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Again {
    /// Steps that are new, or have changed since.
    Changed,
    /// All of them.
    All,
}

/// What remains to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Todo {
    /// Indices of steps, in their order.
    pub run: Vec<usize>,
    /// Whether what was done before no longer counts.
    pub afresh: bool,
    /// Indices of steps that have changed, and are not run as nobody asked for it.
    pub stale: Vec<usize>,
    /// Whether nothing is to be run, and the record does not say yet that it is complete.
    pub mark: bool,
}

pub fn todo(steps: &[Step], record: &Record, again: Option<Again>) -> Todo {
    let lacking: Vec<usize> =
        (0..steps.len()).filter(|index| !record.done.contains(&steps[*index].digest)).collect();
    match again {
        Some(Again::All) => Todo { run: (0..steps.len()).collect(), afresh: true, ..Todo::default() },
        None if record.complete => Todo { stale: lacking, ..Todo::default() },
        Some(Again::Changed) | None => {
            let mark = lacking.is_empty() && !record.complete && !steps.is_empty();
            Todo { run: lacking, mark, ..Todo::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Vec<Step> {
        let sources: Vec<_> = lines.iter().map(|line| Source::Line((*line).to_owned())).collect();
        steps(Path::new("/"), &sources).unwrap()
    }

    /// A record after `lines` were done.
    fn record(lines: &[&str], complete: bool) -> Record {
        Record { done: of(lines).into_iter().map(|step| step.digest).collect(), complete }
    }

    #[test]
    fn what_remains_to_be_done() {
        let run = |lines: &[&str], record: &Record, again| todo(&of(lines), record, again).run;
        let new = Record::default();
        assert_eq!(run(&["a", "b"], &new, None), [0, 1]);
        assert_eq!(run(&[], &new, None), [0; 0]);
        // Goes on from the one that failed, also when that was mended.
        assert_eq!(run(&["a", "b", "c"], &record(&["a"], false), None), [1, 2]);
        assert_eq!(run(&["a", "B", "c"], &record(&["a"], false), None), [1, 2]);
        // Once it is through, changes are told, and done when asked for.
        let done = record(&["a", "b"], true);
        assert_eq!(todo(&of(&["a", "b"]), &done, None), Todo::default());
        assert_eq!(todo(&of(&["a", "B", "c"]), &done, None), Todo { stale: vec![1, 2], ..Todo::default() });
        assert_eq!(run(&["a", "B", "c"], &done, Some(Again::Changed)), [1, 2]);
        assert_eq!(run(&["a", "b"], &done, Some(Again::Changed)), [0; 0]);
        let all = todo(&of(&["a", "b"]), &done, Some(Again::All));
        assert_eq!((&all.run[..], all.afresh), (&[0, 1][..], true));
        // The step that failed was taken out.
        assert!(todo(&of(&["a"]), &record(&["a"], false), None).mark);
        assert!(!todo(&of(&["a"]), &record(&["a"], true), None).mark);
    }

    #[test]
    fn two_steps_alike_are_two() {
        let twice = of(&["a", "a"]);
        assert_ne!(twice[0].digest, twice[1].digest);
        assert_eq!(todo(&twice, &record(&["a"], false), None).run, [1]);
        let as_me = Source::Run { run: "a".into(), user: Some("me".parse().unwrap()) };
        assert_ne!(steps(Path::new("/"), &[as_me]).unwrap()[0].digest, twice[0].digest);
    }

    #[test]
    fn a_script_is_run_by_its_own_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("a.py"), "#!/usr/bin/env python3\n").unwrap();
        fs_err::write(dir.path().join("b.sh"), "echo b\n").unwrap();
        let sources = ["a.py", "b.sh"].map(|file| Source::File { file: file.into(), user: None });
        let steps = steps(dir.path(), &sources).unwrap();
        assert_eq!(steps[0].script, b"#!/usr/bin/env python3\n");
        assert_eq!(steps[1].script, b"#!/bin/sh -e\necho b\n");
        assert_eq!(steps[1].title, "b.sh");
    }

    #[test]
    fn what_a_disk_remembers_is_read() {
        assert_eq!(Record::parse(""), Record::default());
        assert_eq!(
            Record::parse("ab\ncd\ncomplete\n"),
            Record { done: vec!["ab".into(), "cd".into()], complete: true }
        );
    }
}
