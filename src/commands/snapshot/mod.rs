//! `mvm snapshot`: machines as they were.

mod create;
mod diff;
mod list;
mod remove;
mod restore;

use std::process::ExitCode;

use clap::Subcommand;

pub(super) use create::take;
pub(super) use restore::{go_back, what_is_lost};

use super::Context;
use super::running::existing;
use crate::error::{Error, Result};
use crate::microvm::snapshot::{self as snapshots, Snapshot as Kept, SnapshotName};
use crate::microvm::{MachineName, Observed, Scope};
use crate::suggest::closest;

const EXAMPLES: &str = "\
Examples:
  mvm snapshot create web@before-upgrade
  mvm snapshot ls web
  mvm snapshot restore web@before-upgrade";

/// Snapshots: a machine's disk and memory at one moment, to go back to
///
/// They are the machine's own: renamed with it, gone with it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Snapshot {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Create),
    Ls(list::Ls),
    Restore(restore::Restore),
    Diff(diff::Diff),
    Rm(remove::Rm),
}

pub fn run(context: &mut Context<'_>, args: &Snapshot) -> Result<ExitCode> {
    match &args.command {
        Command::Create(args) => create::run(context, args),
        Command::Ls(args) => list::run(context, args),
        Command::Restore(args) => restore::run(context, args),
        Command::Diff(args) => diff::run(context, args),
        Command::Rm(args) => remove::run(context, args),
    }
}

/// A machine as it is, and its snapshots.
pub(super) fn look(context: &mut Context<'_>, name: &MachineName) -> Result<(Observed, Vec<Kept>)> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    existing(context, &observed, name)?;
    let kept = context.run(&snapshots::list([name]))?;
    Ok((observed, kept))
}

fn find<'a>(kept: &'a [Kept], name: &SnapshotName) -> Result<&'a Kept> {
    if let Some(snapshot) = kept.iter().find(|snapshot| snapshot.name == *name) {
        return Ok(snapshot);
    }
    let error = Error::failure(format!("there is no snapshot `{name}`"));
    Err(match closest(name.tag.as_str(), kept.iter().map(|snapshot| snapshot.name.tag.as_str())) {
        Some(close) => error.hint(format!("did you mean `{}@{close}`?", name.machine)),
        None => error.hint(format!("`mvm snapshot ls {}` lists those there are", name.machine)),
    })
}
