//! The commands, one file each: arguments, help, and what is done.

pub mod bootstrap;
pub mod destroy;
pub mod dev;
pub mod doctor;
mod reach;
pub mod setup;
pub mod ssh;
pub mod start;
pub mod status;
pub mod stop;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::config::{Host, Settings};
use crate::error::{Error, Result};
use crate::linux::{Linux, Native};
use crate::microvm::{self, Observed, Scope};
use crate::shell::Script;
use crate::ui::Ui;

/// What every command works with.
pub struct Context<'a> {
    pub settings: Settings,
    pub linux: Box<dyn Linux>,
    pub ui: &'a mut Ui,
}

impl Context<'_> {
    /// Runs a script, its progress shown.
    pub fn run<T>(&mut self, script: &Script<T>) -> Result<T> {
        let Self { linux, ui, .. } = self;
        script.run(&**linux, &mut |event| ui.event(event)).map_err(with_remedy)
    }

    pub fn look(&mut self, scope: Scope<'_>) -> Result<Observed> {
        self.run(&microvm::look(scope))
    }
}

pub fn run(cli: Cli, ui: &mut Ui) -> Result<ExitCode> {
    let settings = Settings::resolve(cli.global.host, cli.global.yes, cli.global.dry_run)?;
    let linux = linux_side(settings.host)?;
    let context = &mut Context { settings, linux, ui };
    match cli.command {
        Command::Dev(args) => dev::run(context, &args),
        Command::Start(args) => start::run(context, &args),
        Command::Stop(args) => stop::run(context, &args),
        Command::Ssh(args) => ssh::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Destroy(args) => destroy::run(context, &args),
        Command::Setup(args) => setup::run(context, &args),
        Command::Bootstrap(args) => bootstrap::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
    }
}

fn linux_side(host: Host) -> Result<Box<dyn Linux>> {
    match host {
        Host::Native if cfg!(target_os = "linux") => Ok(Box::new(Native::new())),
        Host::Native => Err(Error::usage("`--host native` needs Linux on this host")),
        Host::Lima => Err(Error::failure("machines in a Lima VM are not yet supported")
            .hint("on Linux, leave out `--host lima` (and MVM_HOST): machines then run on this host itself")),
    }
}

/// What Ctrl-C says: the scripts are in the foreground group and end by themselves.
pub fn on_interrupt() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT]) else {
        return;
    };
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let mut ui = Ui::new(crate::ui::Verbosity::Normal);
            ui.say("\ninterrupted: nothing is lost, `mvm dev` goes on from here; what runs is shown by `mvm status`");
            #[expect(
                clippy::exit,
                reason = "the other threads wait for processes that were interrupted as well"
            )]
            std::process::exit(130);
        }
    });
}

/// Failures that scripts know by name get their next step here.
fn with_remedy(error: crate::shell::ScriptError) -> Error {
    let hint = match error.named() {
        Some("download") => {
            "check the network, or name a mirror in MVM_MIRROR_DEBIAN; the next run goes on from here"
        }
        Some("no-space") => "make room on that disk, or name a folder on another one in MVM_HOME",
        Some("apt-conflict") => {
            "install the packages by hand, all from one suite (`apt-get install -t SUITE …`), then run this again"
        }
        Some("admin") => "run `mvm --verbose setup` to see what it printed",
        Some("gone") => "run `mvm status` to see what is there",
        _ => return error.into(),
    };
    Error::from(error).hint(hint)
}
