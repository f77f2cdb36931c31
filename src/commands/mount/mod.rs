//! `mvm mount`: folders of this host that machines share.

mod add;
mod keep;
mod list;
mod remove;
mod serve;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::error::Result;

/// Share folders of this host with machines, live in both directions
///
/// Mounted in a machine by sshfs over mvm's own connection, and served by mvm itself, which lets nobody out of the folder: no
/// symbolic link is followed on this host. Files made in the machine are yours here, and all files are root's there. What
/// changes here is seen there within two seconds, but not announced (inotify): tools that watch files have to poll.
#[derive(Debug, clap::Args)]
pub struct Mount {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(add::Add),
    Rm(remove::Rm),
    Ls(list::Ls),
    #[command(hide = true)]
    Keep(keep::Keep),
    #[command(hide = true)]
    Serve(serve::Serve),
}

impl Mount {
    /// The folder that is to be served on standard input and output, with nothing else.
    pub fn serve(&self) -> Option<Result<ExitCode>> {
        match &self.action {
            Action::Serve(args) => Some(serve::run(args)),
            _ => None,
        }
    }
}

pub fn run(context: &mut Context<'_>, args: &Mount) -> Result<ExitCode> {
    match &args.action {
        Action::Add(args) => add::run(context, args),
        Action::Rm(args) => remove::run(context, args),
        Action::Ls(args) => list::run(context, args),
        Action::Keep(args) => keep::run(context, args),
        Action::Serve(args) => serve::run(args),
    }
}
