use std::process::ExitCode;

use super::Context;
use super::running::existing;
use crate::config::DEFAULT_MACHINE;
use crate::error::{Error, Result};
use crate::microvm::{MachineName, Scope};
use crate::shell::{self, Call};

/// Show what a machine has said: its console, or its VMM
///
/// It is kept from the last start on, so it is there for a machine that has ended or never came up.
#[derive(Debug, clap::Args)]
pub struct Logs {
    /// The machine's name
    #[arg(value_name = "NAME", default_value = DEFAULT_MACHINE)]
    name: MachineName,
    /// Go on with what it says from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// What the guest writes on its console (this is what is shown without a flag)
    #[arg(long)]
    console: bool,
    /// What the VMM and the cell's other processes say
    #[arg(long, conflicts_with = "console")]
    vmm: bool,
    /// Only how far the guest's start came, and when
    #[arg(long, conflicts_with_all = ["console", "vmm", "follow"])]
    init: bool,
}

pub fn run(context: &mut Context<'_>, args: &Logs) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: Some(&args.name), probe: false })?;
    existing(context, &observed, &args.name)?;
    let file = if args.vmm { "vmm.log" } else { "console.log" };
    let path = format!("{}/machines/{}/{file}", observed.host.home, args.name);
    let words: &[&str] = match (args.init, args.follow) {
        (true, _) => &["grep", "-a", "^mvm: ", &path],
        (_, true) => &["tail", "-n", "+1", "-F", &path],
        _ => &["cat", &path],
    };
    let call = context.linux.wrap(Call::new(words.iter().copied()));
    let status = shell::run_attached(&call)?;
    match shell::exit_code(status) {
        // Also the user's Ctrl-C, or a pager's end.
        0 | 130 | 141 => Ok(ExitCode::SUCCESS),
        _ => Err(Error::failure(format!("`{}` has said nothing yet", args.name))
            .hint(format!("`mvm start {}` starts it", args.name))),
    }
}
