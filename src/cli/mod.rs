//! The command line.

mod groups;

use clap::{Args, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    bench, bootstrap, completions, console, cp, destroy, dev, diff, doctor, down, exec, fork, gc, image,
    logs, ls, man, mount, net, port, proxy, rename, reset, resume, run, schema, set, setup, shell, snapshot,
    ssh, ssh_config, start, status, stop, suspend, top, undo, up, verify, why,
};
use crate::config::{Flags, Host};
use crate::ui::Verbosity;

const AFTER_HELP: &str = "\
Begin with `mvm dev`: it does whatever is missing and opens a shell in your machine.
Machines are called by name, `default` when none is given: `mvm dev web`, `mvm stop web`.

Exit codes:
  0    done
  1    it failed, or is not in the state that the command needs
  2    the command line, or a file of settings, is not valid; nothing was done
  3    something is missing that `mvm setup` brings, or administrator's rights are
  4    the machine, or the Lima VM, does not run
  5    `mvm diff` found a difference
  130  interrupted; a machine that was being started may go on
  255  the machine was not reached, or the connection to it broke
`dev`, `ssh`, `exec` and `shell` pass on what the command in the machine returned.";

/// A real Linux machine of your own, in a microVM, with one command
#[derive(Debug, Parser)]
#[command(name = "mvm", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where machines run: on this Linux host itself, or in a Lima VM
    #[arg(long, global = true, value_enum, env = "MVM_HOST")]
    pub host: Option<Host>,
    /// Do not ask before something is installed or removed
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Open no connection for downloads of mvm's own; say what is lacking
    #[arg(long, global = true, env = "MVM_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Print errors and results only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print what the tools underneath say
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// mvm's whole command line, with what its derivation cannot say.
pub fn command() -> clap::Command {
    groups::grouped(<Cli as clap::CommandFactory>::command())
}

/// Reads the command line; where it is not valid, or asks for help, the program ends.
pub fn parse() -> Cli {
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command()).exit())
}

impl Global {
    pub fn flags(&self) -> Flags {
        let Self { host, yes, dry_run, offline, .. } = *self;
        Flags { host, yes, dry_run, offline }
    }

    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Dev(dev::Dev),
    Up(up::Up),
    Down(down::Down),
    Diff(diff::Diff),
    Start(start::Start),
    Run(run::Run),
    Stop(stop::Stop),
    Suspend(suspend::Suspend),
    Resume(resume::Resume),
    Fork(fork::Fork),
    Snapshot(snapshot::Snapshot),
    Undo(undo::Undo),
    Ssh(ssh::Ssh),
    Exec(exec::Exec),
    Shell(shell::Shell),
    Cp(cp::Cp),
    Proxy(proxy::Proxy),
    SshConfig(ssh_config::SshConfig),
    Mount(mount::Mount),
    Net(net::Net),
    Ls(ls::Ls),
    Port(port::Port),
    Logs(logs::Logs),
    Console(console::Console),
    Top(top::Top),
    Why(why::Why),
    Verify(verify::Verify),
    Bench(bench::Bench),
    Status(status::Status),
    Set(set::Set),
    Rename(rename::Rename),
    Reset(reset::Reset),
    #[command(visible_alias = "rm")]
    Destroy(destroy::Destroy),
    Image(image::Image),
    Setup(setup::Setup),
    Bootstrap(bootstrap::Bootstrap),
    Doctor(doctor::Doctor),
    Gc(gc::Gc),
    Completions(completions::Completions),
    Man(man::Man),
    Schema(schema::Schema),
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
