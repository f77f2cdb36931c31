//! What a shell asks when a line is to be completed. It is answered at once or not at all: nothing is started, changed or asked.

use std::any::TypeId;
use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};

use super::side;
use crate::cli;
use crate::config::{self, Flags, Host, Settings};
use crate::image::{Image, ImageName};
use crate::linux::{Linux, Native};
use crate::microvm::MachineName;
use crate::microvm::snapshot::{MaybeTagged, SnapshotName};
use crate::script;
use crate::shell::Script;

/// Longer than this nobody waits for a Tab.
const LIMIT: Duration = Duration::from_secs(2);

/// Answers a shell that asks, and ends the program; returns where none does.
pub fn answer() {
    CompleteEnv::with_factory(|| with_names(cli::command())).complete();
}

/// Each argument that takes a name completes to those there are: a new command need not think of it.
fn with_names(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let kind = arg.get_value_parser().type_id();
        if kind == TypeId::of::<MachineName>() {
            arg.add(ArgValueCandidates::new(|| as_candidates(Names::look().machines)))
        } else if kind == TypeId::of::<SnapshotName>() {
            arg.add(ArgValueCandidates::new(|| as_candidates(Names::look().snapshots)))
        } else if kind == TypeId::of::<MaybeTagged>() {
            arg.add(ArgValueCandidates::new(|| {
                let Names { machines, snapshots, .. } = Names::look();
                as_candidates([machines, snapshots].concat())
            }))
        } else if kind == TypeId::of::<ImageName>() {
            arg.add(ArgValueCandidates::new(|| as_candidates(Names::look().images)))
        } else if ["SOURCE", "TARGET"].iter().any(|name| arg.get_value_names().is_some_and(|n| n[0] == *name))
        {
            arg.add(ArgValueCompleter::new(here_or_there))
        } else {
            arg
        }
    });
    command.mut_subcommands(with_names)
}

/// One side of a copy: a path on this host, or a machine's name with its colon.
fn here_or_there(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut candidates = PathCompleter::any().stdio().complete(current);
    if current.to_str().is_some_and(|text| !text.contains([':', '/', '.'])) {
        let names = Names::look().machines.into_iter().map(|name| format!("{name}:"));
        let typed = current.to_string_lossy();
        candidates.extend(as_candidates(names.filter(|name| name.starts_with(&*typed)).collect()));
    }
    candidates
}

fn as_candidates(names: Vec<String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// What may be completed to.
#[derive(Debug, Default)]
struct Names {
    machines: Vec<String>,
    snapshots: Vec<String>,
    images: Vec<String>,
}

impl Names {
    /// Those on the Linux side, where that can be asked at once.
    fn look() -> Self {
        let flags = Flags { host: config::host(), ..Flags::default() };
        let Ok(settings) = Settings::resolve(flags) else { return Self::default() };
        let linux: Box<dyn Linux> = match settings.host {
            Host::Native => Box::new(Native::new()),
            Host::Lima => match side::by_its_connection(&settings) {
                Some(linux) => linux,
                None => return Self::default(),
            },
        };
        match names().run_within(&*linux, LIMIT) {
            Ok(names) => names,
            Err(error) => {
                tracing::debug!(%error, "no names");
                Self::default()
            }
        }
    }
}

fn names() -> Script<Names> {
    script!("names", |answer| {
        let label = |json: &str| Some(Image::parse(json).ok()?.label());
        Ok(Names {
            machines: answer.all("MACHINE").map(str::to_owned).collect(),
            snapshots: answer.all("SNAPSHOT").map(str::to_owned).collect(),
            images: answer.all("IMAGE").filter_map(label).collect(),
        })
    })
}
