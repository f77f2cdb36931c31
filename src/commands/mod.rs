//! The commands, one file each: arguments, help, and what is done.

pub mod bench;
pub mod bootstrap;
mod carry;
pub mod complete;
pub mod completions;
pub mod console;
pub mod cp;
mod declared;
pub mod destroy;
pub mod dev;
pub mod diff;
pub mod doctor;
pub mod down;
pub mod exec;
pub mod fork;
pub mod gc;
pub mod image;
mod images;
pub mod logs;
pub mod ls;
pub mod man;
pub mod mount;
pub mod net;
pub mod port;
mod ports;
mod provision;
pub mod proxy;
mod reach;
pub mod rename;
pub mod reset;
pub mod resume;
pub mod run;
mod running;
pub mod schema;
mod secrets;
pub mod set;
pub mod setup;
mod shares;
pub mod shell;
mod side;
pub mod snapshot;
mod sources;
pub mod ssh;
pub mod ssh_config;
pub mod start;
pub mod status;
pub mod stop;
pub mod suspend;
pub mod top;
pub mod undo;
pub mod up;
pub mod verify;
mod which;
pub mod why;

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::checkpoint;
use crate::cli::{Cli, Command};
use crate::config::{Host, Settings};
use crate::error::{Error, Result};
use crate::lima::Goal;
use crate::linux::{Linux, Native};
use crate::microvm::{self, MachineName, Observed, Scope};
use crate::project::{self, Project};
use crate::shell::{Call, Leash, Script};
use crate::ui::Ui;

/// What every command works with.
pub struct Context<'a> {
    pub settings: Settings,
    pub linux: Box<dyn Linux>,
    /// The VM that the Linux side is, if it is one.
    pub lima: Option<side::LimaVm>,
    /// How often the Linux side was asked.
    pub round_trips: u32,
    /// What the scripts took, where that is asked for.
    pub laps: Option<Vec<Lap>>,
    /// Read when it is first asked for.
    project: OnceCell<Option<Arc<Project>>>,
    pub ui: &'a mut Ui,
}

/// When a script ran.
#[derive(Debug, Clone, Copy)]
pub struct Lap {
    pub script: &'static str,
    pub from: Instant,
    pub to: Instant,
}

impl Context<'_> {
    /// Runs a script, its progress shown.
    pub fn run<T>(&mut self, script: &Script<T>) -> Result<T> {
        checkpoint::before(script.name())?;
        self.round_trips += 1;
        let Self { linux, ui, laps, .. } = self;
        let from = Instant::now();
        let done = script.run(&**linux, &mut |event| ui.event(event));
        if let Some(laps) = laps {
            laps.push(Lap { script: script.name(), from, to: Instant::now() });
        }
        done.map_err(with_remedy)
    }

    /// Runs a script once, with what `feed` writes as its standard input.
    pub fn feed<T>(&mut self, script: &Script<T>, feed: crate::shell::Feed<'_>) -> Result<T> {
        checkpoint::before(script.name())?;
        self.round_trips += 1;
        let Self { linux, ui, .. } = self;
        script.run_fed(&**linux, feed, &mut |event| ui.event(event)).map_err(with_remedy)
    }

    /// Tells it to those who want to know.
    pub fn say_round_trips(&mut self) {
        let times = self.round_trips;
        self.ui.event(crate::shell::Event::Log(&format!("round trips to the Linux side: {times}")));
    }

    /// For a thread that does its part of the same command.
    pub(crate) fn apart(&self) -> Result<Apart> {
        Ok(Apart { settings: self.settings.clone(), lima: self.lima.clone(), project: self.project()? })
    }

    /// The project of the folder that mvm was started in.
    pub fn project(&self) -> Result<Option<Arc<Project>>> {
        if let Some(project) = self.project.get() {
            return Ok(project.clone());
        }
        let read = project::here()?.map(Arc::new);
        Ok(self.project.get_or_init(|| read).clone())
    }

    /// What removes the machine `name` when mvm ends, in whatever way: held from before there is anything to remove.
    /// It has to be `made_by` that, unless this is empty.
    pub fn leash(&self, name: &MachineName, made_by: &str) -> Result<Leash> {
        let call = microvm::leash(name, made_by)?.call(self.linux.is_root());
        Ok(Leash::start(&self.linux.wrap_apart(call))?)
    }

    /// This program once more, which then goes on by itself.
    fn itself(&self, words: &[&str]) -> std::io::Result<Call> {
        let mut call = Call::new([std::env::current_exe()?]);
        call.argv.extend(["--quiet", "--host", self.settings.host.word()].map(Into::into));
        call.argv.extend(words.iter().map(Into::into));
        Ok(call)
    }

    pub fn look(&mut self, scope: Scope<'_>) -> Result<Observed> {
        let observed = self.run(&microvm::look(scope))?;
        ports::converge(self, &observed);
        Ok(observed)
    }
}

/// What a context of a thread's own is made of.
pub(crate) struct Apart {
    settings: Settings,
    lima: Option<side::LimaVm>,
    project: Option<Arc<Project>>,
}

impl Apart {
    pub(crate) fn context(self, ui: &mut Ui) -> Context<'_> {
        let Self { settings, lima, project } = self;
        let linux = lima.as_ref().map_or_else(|| Box::new(Native::new()) as _, |vm| vm.linux(&settings));
        Context { settings, linux, lima, round_trips: 0, laps: None, project: OnceCell::from(project), ui }
    }
}

pub fn run(cli: Cli, ui: &mut Ui) -> Result<ExitCode> {
    let settings = Settings::resolve(cli.global.flags())?;
    if let Command::SshConfig(args) = &cli.command
        && args.is_remove()
    {
        return ssh_config::remove(&settings, ui);
    }
    match &cli.command {
        Command::Completions(args) => return completions::run(&settings, ui, args),
        Command::Man(args) => return man::run(&settings, ui, args),
        Command::Schema(_) => return schema::run(ui),
        Command::Mount(args) if let Some(served) = args.serve() => return served,
        _ => {}
    }
    let (linux, lima): (Box<dyn Linux>, _) = match settings.host {
        Host::Native if cfg!(target_os = "linux") => (Box::new(Native::new()), None),
        Host::Native => {
            return Err(
                Error::usage("`--host native` needs Linux on this host").hint("leave it out: Lima is used")
            );
        }
        Host::Lima => {
            // Some commands are about the VM itself, in whatever state it is.
            let opened = match &cli.command {
                Command::Status(args) => status::of_lima(&settings, ui, args)?,
                Command::Doctor(args) => doctor::of_lima(&settings, ui, args)?,
                Command::Destroy(args) if args.is_all() => return destroy::vm(&settings, ui),
                command => side::open(&settings, ui, lima_goal(command))?,
            };
            match opened {
                ControlFlow::Continue((linux, vm)) => (linux, Some(vm)),
                ControlFlow::Break(code) => return Ok(code),
            }
        }
    };
    let context =
        &mut Context { settings, linux, lima, round_trips: 0, laps: None, project: OnceCell::new(), ui };
    let done = match cli.command {
        Command::Dev(args) => dev::run(context, &args),
        Command::Up(args) => up::run(context, &args),
        Command::Down(args) => down::run(context, &args),
        Command::Diff(args) => diff::run(context, &args),
        Command::Start(args) => start::run(context, &args),
        Command::Run(args) => run::run(context, &args),
        Command::Stop(args) => stop::run(context, &args),
        Command::Suspend(args) => suspend::run(context, &args),
        Command::Resume(args) => resume::run(context, &args),
        Command::Snapshot(args) => snapshot::run(context, &args),
        Command::Fork(args) => fork::run(context, &args),
        Command::Undo(args) => undo::run(context, &args),
        Command::Exec(args) => exec::run(context, &args),
        Command::Cp(args) => cp::run(context, &args),
        Command::Proxy(args) => proxy::run(context, &args),
        Command::Ssh(args) => ssh::run(context, &args),
        Command::SshConfig(args) => ssh_config::run(context, &args),
        Command::Shell(args) => shell::run(context, &args),
        Command::Ls(args) => ls::run(context, &args),
        Command::Port(args) => port::run(context, &args),
        Command::Net(args) => net::run(context, &args),
        Command::Console(args) => console::run(context, &args),
        Command::Logs(args) => logs::run(context, &args),
        Command::Top(args) => top::run(context, &args),
        Command::Bench(args) => bench::run(context, &args),
        Command::Why(args) => why::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Mount(args) => mount::run(context, &args),
        Command::Set(args) => set::run(context, &args),
        Command::Rename(args) => rename::run(context, &args),
        Command::Reset(args) => reset::run(context, &args),
        Command::Destroy(args) => destroy::run(context, &args),
        Command::Image(args) => image::run(context, &args),
        Command::Setup(args) => setup::run(context, &args),
        Command::Bootstrap(args) => bootstrap::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Gc(args) => gc::run(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        // These need no Linux side.
        Command::Completions(_) | Command::Man(_) | Command::Schema(_) => Ok(ExitCode::SUCCESS),
    };
    context.say_round_trips();
    match done {
        Err(error) if side::is_unreachable(&error) => Err(side::explain_silence(error)),
        done => done,
    }
}

/// How far a command brings the Lima VM up.
fn lima_goal(command: &Command) -> Goal {
    match command {
        Command::Dev(_) | Command::Run(_) | Command::Bench(_) | Command::Up(_) | Command::Bootstrap(_) => {
            Goal::Everything
        }
        Command::Setup(_) => Goal::Setup,
        Command::Image(args) if args.makes_one() => Goal::Setup,
        Command::Start(_) => Goal::Start,
        _ => Goal::Enter,
    }
}

/// What Ctrl-C adds while something goes on without mvm.
static GOES_ON: Mutex<Option<&'static str>> = Mutex::new(None);

fn on_interrupt_say(what: Option<&'static str>) {
    if let Ok(mut note) = GOES_ON.lock() {
        *note = what;
    }
}

/// What Ctrl-C says: the scripts are in the foreground group and end by themselves. A session has its signals to itself.
pub fn on_interrupt() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return;
    };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if crate::shell::hand_on(signal) {
                continue;
            }
            if signal == SIGINT {
                let mut ui = Ui::new(crate::ui::Verbosity::Normal);
                ui.say("\ninterrupted: nothing is lost, `mvm dev` goes on from here; what runs is shown by `mvm status`");
                if let Some(what) = GOES_ON.lock().ok().and_then(|note| *note) {
                    ui.say(what);
                }
            }
            crate::ui::terminal::restore();
            #[expect(
                clippy::exit,
                reason = "the other threads wait for processes that were interrupted as well"
            )]
            std::process::exit(128 + signal);
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
        Some("cut") => "the connection to the Linux side may have broken: run it again",
        Some("release") => {
            "name another place in MVM_MIRROR_FIRECRACKER, or another release with `mvm setup --firecracker`"
        }
        Some("apt-conflict") => {
            "install the packages by hand, all from one suite (`apt-get install -t SUITE …`), then run this again"
        }
        Some("admin") => "run `mvm --verbose setup` to see what it printed",
        Some("exists") => "take another name; `mvm ls` lists those there are",
        Some("runs") => "stop it first: `mvm stop NAME`",
        Some("old-cell") => "stop it and start it again: then it does",
        Some("taken") => "take another tag; `mvm snapshot ls` lists those there are",
        Some("damaged") => {
            "nothing was changed; another snapshot may do: `mvm snapshot ls` lists those there are"
        }
        Some("old-resolver") => {
            "install dnsmasq 2.87 or later (Debian 12 and Ubuntu 24.04 have it); or allow addresses and networks alone"
        }
        Some("rules") => "it needs nftables 1.0 and Linux 5.10; what held before holds on",
        Some("gone") => "run `mvm status` to see what is there",
        _ => return error.into(),
    };
    Error::from(error).hint(hint)
}
