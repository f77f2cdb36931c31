use std::process::ExitCode;

use super::{Context, exec};
use crate::config::DEFAULT_MACHINE;
use crate::error::Result;
use crate::microvm::{MachineName, session};

const EXAMPLES: &str = "\
Examples:
  ssh -o ProxyCommand='mvm proxy web' root@mvm-web
  mvm ssh-config --install            does it for every tool";

/// Connect standard input and output with a machine's SSH server: ssh's `ProxyCommand`
///
/// It carries bytes and nothing else. `mvm ssh-config` writes the lines by which ssh, and all that is built on it, uses it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Proxy {
    /// The machine's name
    #[arg(value_name = "NAME", default_value = DEFAULT_MACHINE)]
    name: MachineName,
}

pub fn run(context: &mut Context<'_>, args: &Proxy) -> Result<ExitCode> {
    exec::run_session(context, &args.name, &session::proxy(&args.name))
}
