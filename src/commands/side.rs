//! Opening the Linux side: this host itself, or the Lima VM, which is brought up as far as a command goes.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::destroy::refused;
use super::{Context, on_interrupt_say, sources};
use crate::config::{self, Settings};
use crate::doctor;
use crate::error::{Error, Result};
use crate::lima::{
    self, Goal, Host, Installed, Instance, LOCK, Limactl, NAME, Nested, Observed, PROVISION, Sizes, Status,
    Step, install, install::How,
};
use crate::linux::{Lima, Linux};
use crate::lock::Lock;
use crate::microvm::ssh::{Terminal, enter};
use crate::microvm::{self, State};
use crate::shell::{self, Patience, ScriptError};
use crate::ui::{self, Ui};

/// More rounds than any state of Lima needs.
const ROUNDS: usize = 8;

/// How long an instance may be Broken before it is repaired: each start makes it look so for some seconds.
const DEBOUNCE: Duration = Duration::from_secs(12);

/// How long a VM may take to boot, and to do what its provisioning does.
const BOOT: Duration = Duration::from_mins(15);

/// What a clock may be off, in seconds.
const CLOCK: u64 = 5;

/// The Lima VM as a command found it or made it.
#[derive(Clone)]
pub struct LimaVm {
    pub limactl: Limactl,
    /// Not there where the VM was entered without asking Lima first.
    pub instance: Option<Instance>,
    /// Lima's folder of it.
    pub dir: PathBuf,
}

impl LimaVm {
    pub(super) fn linux(&self, settings: &Settings) -> Box<dyn Linux> {
        let transport = settings.lima.transport;
        Box::new(Lima::new(transport, self.limactl.program(), self.dir.join("ssh.config")))
    }

    /// A VM whose connection is open is not asked for first: that would cost as much as the command itself. Should it not
    /// answer, [`explain_silence`] looks.
    fn by_its_connection() -> Option<Self> {
        let dir = config::lima_home().join(NAME);
        let open = ["ssh.config", "ssh.sock", "ha.pid"].iter().all(|name| dir.join(name).exists());
        open.then(|| Self { limactl: Limactl::new("limactl", Vec::new()), instance: None, dir })
    }
}

/// The Linux side inside the VM, where a connection to it is open; Lima is not asked.
pub(super) fn by_its_connection(settings: &Settings) -> Option<Box<dyn Linux>> {
    LimaVm::by_its_connection().map(|vm| vm.linux(settings))
}

/// Why the VM did not answer, where Lima knows better than the connection.
pub(super) fn explain_silence(error: Error) -> Error {
    match observe().and_then(|(observed, _)| lima::plan(&observed, Goal::Enter)) {
        Err(why) => why,
        Ok(_) => error.hint("`mvm dev` waits for it while it boots, or starts it again"),
    }
}

/// Looks at Lima; changes nothing. The host itself is looked at only where the VM does not run.
pub(super) fn observe() -> Result<(Observed, Limactl)> {
    let mut limactl = Limactl::new("limactl", Vec::new());
    let mut found = limactl.instance();
    if found.as_ref().is_err_and(lima::LimaError::is_missing) {
        limactl = Limactl::new(config::user_prefix().join("bin/limactl"), Vec::new());
        found = limactl.instance();
    }
    let running = matches!(&found, Ok(Some(instance)) if instance.status == Status::Running);
    let (installed, instance) = match found {
        Ok(instance) if running => (Installed::Usable(None), instance),
        Ok(instance) => (limactl.installed(), instance),
        Err(error) => match limactl.installed() {
            Installed::Usable(_) => return Err(Error::from(error).hint("try `limactl list`")),
            other => (other, None),
        },
    };
    let host = if running { Host::default() } else { host()? };
    let how = if installed == Installed::Missing { How::look() } else { How::Homebrew };
    Ok((Observed { host, installed, instance, lima_home: config::lima_home(), how }, limactl))
}

fn host() -> Result<Host> {
    lima::look().ok_or_else(|| Error::failure("Lima runs on macOS and Linux only"))
}

/// The VM, and the door into it.
pub(super) type Side = (Box<dyn Linux>, LimaVm);

/// A Linux side that is open; or the exit code of a command that is done without one.
pub(super) type Opened = ControlFlow<ExitCode, Side>;

/// Opens the VM if it runs; nothing is done where it does not.
pub(super) fn open_running(settings: &Settings) -> Result<ControlFlow<Observed, Side>> {
    let (mut observed, limactl) = observe()?;
    Ok(match observed.instance.take_if(|instance| instance.status == Status::Running) {
        Some(instance) => {
            let vm = LimaVm { limactl, dir: instance.dir.clone(), instance: Some(instance) };
            ControlFlow::Continue((vm.linux(settings), vm))
        }
        None => ControlFlow::Break(observed),
    })
}

/// Brings the Lima VM up as far as `goal` goes. A dry run that would do something is done.
pub(super) fn open(settings: &Settings, ui: &mut Ui, goal: Goal) -> Result<Opened> {
    if goal == Goal::Enter
        && let Some(vm) = LimaVm::by_its_connection()
    {
        return Ok(ControlFlow::Continue((vm.linux(settings), vm)));
    }
    let mut lock = None;
    for _ in 0..ROUNDS {
        let (observed, limactl) = observe()?;
        let steps = lima::plan(&observed, goal)?;
        let Some(step) = steps.first() else {
            let instance = observed.instance.ok_or_else(|| Error::failure("the Lima VM is gone"))?;
            let vm = LimaVm { limactl, dir: instance.dir.clone(), instance: Some(instance) };
            return Ok(ControlFlow::Continue((vm.linux(settings), vm)));
        };
        if settings.dry_run {
            for step in &steps {
                ui.data(step.describe());
            }
            ui.data("then what is missing inside the VM, which is seen once it runs");
            return Ok(ControlFlow::Break(ExitCode::SUCCESS));
        }
        // Whoever had the lock may have done it: then the next look shows.
        if lock.is_none() {
            let waiting = || ui.step("Waiting for another mvm that works on the Lima VM");
            lock = Some(Lock::take(&config::state_dir(), LOCK, waiting)?);
            continue;
        }
        act(settings, ui, &observed, &limactl, step)?;
    }
    Err(Error::failure(format!("the Lima VM `{NAME}` does not stay as it was set up"))
        .hint(format!("try `limactl list` and `limactl start {NAME}`")))
}

fn act(settings: &Settings, ui: &mut Ui, observed: &Observed, limactl: &Limactl, step: &Step) -> Result<()> {
    match step {
        Step::Install(how) => install(settings, ui, *how, &observed.host),
        Step::Create => create(settings, ui, observed, limactl),
        Step::Start { why } => {
            if observed.instance.as_ref().is_some_and(Instance::is_half_created) {
                sources::refuse_offline(settings, "the system of the Lima VM is yet to be downloaded")?;
            }
            ui.say(format!("The Lima VM `{NAME}`: {why}."));
            start(ui, &observed.host, limactl)
        }
        Step::Repair { why } => repair(ui, observed, limactl, why),
        Step::Restore => {
            ui.say(format!(
                "The Lima VM `{NAME}` has lost its file: it is written again, and its disk is as it was."
            ));
            restore(settings, observed)
        }
    }
}

fn install(settings: &Settings, ui: &mut Ui, how: How, host: &Host) -> Result<()> {
    match how {
        How::Homebrew => {
            sources::refuse_offline(settings, "Lima is to be installed by Homebrew")?;
            ui.say("Lima is not installed; Homebrew installs it.");
            let output = install::with_homebrew(&mut |event| ui.event(event))
                .map_err(|source| Error::failure(format!("cannot start `brew`: {source}")))?;
            if output.status.success() {
                return Ok(());
            }
            Err(Error::failure(format!("`brew install lima` failed:\n    {}", output.log.join("\n    ")))
                .hint("run `brew install lima` yourself, then this again"))
        }
        How::Release => {
            ui.say("Lima is not installed, and there is no Homebrew (https://brew.sh) that could.");
            let question = format!("Install Lima {} from its own release into ~/.local?", lima::PINNED);
            if !(settings.yes || (Ui::can_ask() && ui.ask(&question, true)?)) {
                return Err(Error::needs_admin("Lima is needed, and nobody said that it may be installed")
                    .hint("give `--yes` to install Lima's own release into ~/.local")
                    .hint("or install Homebrew, then run `brew install lima`"));
            }
            let prefix = config::user_prefix();
            install::with_release(host, &prefix, &settings.mirror, &settings.network, &mut |event| {
                ui.event(event);
            })?;
            ui.say(format!("Lima is in {}; `limactl` by hand needs {0}/bin on PATH.", prefix.display()));
            Ok(())
        }
    }
}

fn create(settings: &Settings, ui: &mut Ui, observed: &Observed, limactl: &Limactl) -> Result<()> {
    sources::refuse_offline(settings, "the Lima VM is made of a system and packages that are downloaded")?;
    let host = &observed.host;
    if let Nested::No(why) = &host.nested {
        ui.say(why);
    }
    let (sizes, yaml) = file(settings, host)?;
    ui.step(&format!(
        "Creating the Lima VM `{NAME}` ({} CPUs, {} of memory, a disk of up to {})",
        sizes.cpus, sizes.memory, sizes.disk
    ));
    limactl.create(&yaml, &mut |event| ui.event(event)).map_err(explain)
}

/// Lima's file, of the settings.
fn file(settings: &Settings, host: &Host) -> Result<(Sizes, String)> {
    let wanted = &settings.lima;
    let sizes = Sizes::of(host, wanted.cpus, wanted.memory, wanted.disk);
    let yaml = lima::render(host, &sizes, wanted.image.as_deref(), &provisioning(&host.arch))
        .map_err(|error| Error::failure(format!("resources/lima.yaml.tera: {error}")))?;
    Ok((sizes, yaml))
}

/// The commands that install what the Linux side needs, for the VM's own script.
fn provisioning(arch: &str) -> Vec<String> {
    doctor::provisioning(arch).iter().flat_map(crate::bootstrap::Task::commands).collect()
}

/// Writes the file of an instance that has lost it, if it has.
pub(super) fn restore(settings: &Settings, observed: &Observed) -> Result<()> {
    let Some(instance) = observed.instance.as_ref().filter(|instance| instance.has_lost_its_file()) else {
        return Ok(());
    };
    let (_, yaml) = file(settings, &observed.host)?;
    Ok(fs_err::write(instance.file(), yaml)?)
}

/// Mends the files of a VM that does not run, after asking: those that name strangers' processes as Lima's go, and its own file comes
/// back.
pub(super) fn mend_files(settings: &Settings, ui: &mut Ui, observed: &Observed) -> Result<()> {
    let Some(instance) = &observed.instance else { return Ok(()) };
    let lock = || Lock::take(&config::state_dir(), LOCK, || {});
    let strangers = lima::strangers(&instance.dir)?;
    if !strangers.is_empty() {
        for (path, name) in &strangers {
            ui.say(format!("Not Lima's process: {} names `{name}`.", path.display()));
        }
        if refused(settings, ui, "Remove these stale files of Lima's?")?.is_none() {
            let _lock = lock()?;
            lima::verify_pids(&instance.dir)?;
        }
    }
    if instance.has_lost_its_file()
        && refused(settings, ui, &format!("Write the lost file of the Lima VM `{NAME}` again?"))?.is_none()
    {
        let _lock = lock()?;
        restore(settings, observed)?;
    }
    Ok(())
}

fn start(ui: &mut Ui, host: &Host, limactl: &Limactl) -> Result<()> {
    let mut environment = Vec::new();
    if host.nested == Nested::Emulated && !config::names_qemu_for_lima() {
        ui.say(
            "This host's KVM cannot be used, so the Lima VM is emulated in software: slow, and its first boot takes minutes.",
        );
        environment.push(EMULATION.into());
    }
    let limactl = Limactl::new(limactl.program(), environment);
    ui.step(&format!("Starting the Lima VM `{NAME}`"));
    on_interrupt_say(Some(
        "the Lima VM goes on booting: `mvm dev` waits for it, `limactl stop -f mvm` ends it",
    ));
    let started = limactl.start(&mut |event| ui.event(event));
    on_interrupt_say(None);
    match started {
        // It can be used; what is wrong in it, the look inside finds.
        Err(error) if error.log().contains("degraded") => {
            ui.warn(format!(
                "Lima calls the VM degraded: {}",
                error.log().lines().last().unwrap_or_default()
            ));
            Ok(())
        }
        started => started.map_err(explain),
    }
}

/// Lima would take a /dev/kvm that opens, whether or not guests boot on it. `-cpu max` has AMD's SVM, so there is a KVM in the
/// VM. (Lima drops its own `-machine` and `-cpu` where these are: pkg/driver/qemu/qemu.go.)
const EMULATION: &str = "QEMU_SYSTEM_X86_64=qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max";

fn repair(ui: &mut Ui, observed: &Observed, limactl: &Limactl, why: &str) -> Result<()> {
    ui.step(&format!("Waiting whether the Lima VM `{NAME}` comes to itself: {why}"));
    let until = Instant::now() + DEBOUNCE;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_secs(2));
        match limactl.instance() {
            Ok(Some(instance)) if instance.status == Status::Broken => {}
            _ => return Ok(()),
        }
    }
    if let Some(instance) = &observed.instance {
        for stranger in lima::verify_pids(&instance.dir)? {
            ui.say(format!("Not Lima's process, so not to be ended: {stranger}."));
        }
    }
    ui.step(&format!("Ending what is left of the Lima VM `{NAME}`"));
    limactl.stop(true, &mut |event| ui.event(event)).map_err(explain)
}

/// What to do when the VM does not answer: wait while it boots, else start it again.
pub(super) fn recover(context: &mut Context<'_>) -> Result<()> {
    let Some(vm) = &context.lima else { return Ok(()) };
    let (dir, limactl) = (vm.dir.clone(), vm.limactl.clone());
    if lima::still_booting(&dir) {
        context.ui.step(&format!("Waiting for the Lima VM `{NAME}`, which is booting"));
        let until = Instant::now() + BOOT;
        while Instant::now() < until && lima::still_booting(&dir) {
            std::thread::sleep(Duration::from_secs(1));
        }
    } else {
        context.ui.warn(format!("the Lima VM `{NAME}` runs, but does not answer: it is started again"));
        let _lock = Lock::take(&config::state_dir(), LOCK, || {})?;
        restart(context.ui, &limactl)?;
    }
    reopen(context)
}

fn restart(ui: &mut Ui, limactl: &Limactl) -> Result<()> {
    ui.step(&format!("Stopping the Lima VM `{NAME}`"));
    if limactl.stop(false, &mut |event| ui.event(event)).is_err() {
        limactl.stop(true, &mut |event| ui.event(event)).map_err(explain)?;
    }
    start(ui, &host()?, limactl)
}

fn reopen(context: &mut Context<'_>) -> Result<()> {
    if let ControlFlow::Continue((linux, vm)) = open(&context.settings, context.ui, Goal::Start)? {
        context.linux = linux;
        context.lima = Some(vm);
    }
    Ok(())
}

/// What the VM itself needs before machines do: the provisioning of this mvm, a restart after it, the right time. True when
/// something was done, so that one has to look again.
pub(super) fn maintain(
    context: &mut Context<'_>,
    observed: &microvm::Observed,
    asked_at: u64,
    set_up: bool,
) -> Result<bool> {
    let Some(vm) = &context.lima else { return Ok(false) };
    let limactl = vm.limactl.clone();
    let host = &observed.host;
    let is_offline = context.settings.network.offline;
    if set_up && !is_offline && host.provisioned.is_none_or(|generation| generation < PROVISION) {
        context.ui.say("The Lima VM was provisioned by an older mvm, or not to its end: it is done again.");
        context.run(&lima::provision(&host.user, &provisioning(&host.arch)))?;
        return Ok(true);
    }
    if set_up && host.wants_restart {
        context.ui.say("The Lima VM's kernel got new options: it is started again, once.");
        let _lock = Lock::take(&config::state_dir(), LOCK, || {})?;
        restart(context.ui, &limactl)?;
        reopen(context)?;
        return Ok(true);
    }
    let now = super::reach::now();
    // A look may itself take seconds.
    if host.now + CLOCK < asked_at || host.now > now + CLOCK {
        context.ui.say("The Lima VM's clock is set: it stands still while this host sleeps.");
        context.run(&lima::set_clock(now))?;
        set_clocks_of_machines(context, observed);
        return Ok(true);
    }
    Ok(false)
}

/// A machine's clock stood still with the VM's.
fn set_clocks_of_machines(context: &mut Context<'_>, observed: &microvm::Observed) {
    let patience = Patience::whole(Duration::from_secs(20));
    for machine in &observed.machines {
        let State::Running(running) = &machine.state else { continue };
        let words = ["date", "-s", &format!("@{}", super::reach::now())].map(Into::into);
        let call =
            enter(&observed.host.home, &machine.name, "root", running.pid, &words, &Terminal::default());
        context.round_trips += 1;
        let done = shell::run_within(&context.linux.wrap(call), &patience, &mut |_| {});
        if !done.is_ok_and(|output| output.status.success()) {
            context.ui.warn(format!("the clock of `{}` could not be set", machine.name));
        }
    }
}

/// Whether the Linux side is there, but does not answer.
pub(super) fn is_unreachable(error: &Error) -> bool {
    matches!(error.source.downcast_ref(), Some(ScriptError::Unreachable { .. }))
}

/// The remedy for what Lima says (its source, and users' reports).
fn explain(error: lima::LimaError) -> Error {
    let log = error.log();
    let hint = lima::remedy(&log);
    let error = Error::from(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error.hint(format!("its logs are in {}", config::lima_home().join(NAME).display())),
    }
}

/// What `status` and `destroy` say of the VM.
pub(super) fn describe(instance: &Instance) -> String {
    let mut text = match &instance.status {
        Status::Running => format!("running, SSH port {}", instance.ssh_port),
        Status::Stopped if instance.is_half_created() => {
            "half created: `mvm setup` goes on with it".to_owned()
        }
        Status::Stopped => "stopped: `mvm dev` starts it".to_owned(),
        Status::Broken => "broken: `mvm dev` repairs it".to_owned(),
        Status::Unknown(_) => "not readable for Lima".to_owned(),
    };
    text.push_str(&format!(
        "; {} CPUs, {} of memory, disk {} / {}",
        instance.cpus,
        ui::size(instance.memory),
        ui::size(instance.disk_used()),
        ui::size(instance.disk)
    ));
    for error in &instance.errors {
        text.push_str(&format!("\n            {error}"));
    }
    text
}
