//! Reaching a goal: look, plan, do, until nothing is left to do.

use std::time::{SystemTime, UNIX_EPOCH};

use super::sources::{self, Got};
use super::{Context, images, net, ports, shares, side, ssh_config};
use crate::bootstrap::{self, Task};
use crate::error::{Error, Result};
use crate::image::{Config, debian, seed::Keys};
use crate::microvm::{
    self, Frozen, Goal, Golden, ImageName, ImageState, Machine, MachineName, Observed, Port, Publication,
    Scope, Spec, Started, Step, Thaw, Told, UserName, Wanted, pending, plan,
};
use crate::project;
use crate::shell::Event;
use crate::ui::Ui;
use crate::vmm::{Files, Vmm};

/// More rounds than any state needs.
const ROUNDS: usize = 8;

/// What is known of a machine that was made on the way.
#[derive(Default)]
struct Made {
    keys: Option<Keys>,
    /// The golden memory that it may go on from, or else makes.
    golden: Option<Golden>,
    frozen: Option<Frozen>,
}

/// A machine that was reached.
pub(super) struct Reached {
    pub home: String,
    pub pid: u32,
    /// Who sessions are, where it is not root.
    pub user: Option<UserName>,
    /// What it was asked to be, where that can be read.
    pub spec: Option<Spec>,
    /// What its image says of itself.
    pub config: Config,
    /// Whether it waits for whoever enters first to hear who it is.
    pub first: bool,
}

impl Reached {
    /// Where it runs.
    pub(super) fn of(observed: &Observed, machine: &Machine) -> Option<Self> {
        let pid = machine.state.running()?.pid;
        let user = machine.started_as().and_then(|spec| spec.user.clone());
        let spec = machine.spec.clone().ok();
        let config = spec.as_ref().map(|spec| config_of(observed, spec)).unwrap_or_default();
        Some(Self { home: observed.host.home.clone(), pid, user, spec, config, first: false })
    }
}

fn config_of(observed: &Observed, spec: &Spec) -> Config {
    match observed.image_by_id(&spec.image_id) {
        Some(ImageState::Usable(image)) => image.config.clone(),
        _ => Config::default(),
    }
}

/// Does what is needed for `wanted`. `None` where there is nothing to enter: after a setup, or a dry run.
pub(super) fn reach(context: &mut Context<'_>, wanted: &Wanted<'_>) -> Result<Option<Reached>> {
    let mut recovered = false;
    let mut wanted = wanted.clone();
    let mut made = Made::default();
    // What was not as the last look had it. A vm.json that was written by hand never is: the second time it does not matter.
    let mut stale: Option<Spec> = None;
    // Where a golden memory may be there, nothing of the host is missing: if so, what it takes is looked at after all.
    let mut probe = wanted.goal != Goal::Start && !wanted.golden;
    for _ in 0..ROUNDS {
        let scope = Scope { machine: Some(wanted.name), probe };
        let asked_at = now();
        let observed = match context.look(scope) {
            // Once: a VM that was started again and is still silent is someone's to look at.
            Err(error) if side::is_unreachable(&error) && !recovered => {
                recovered = true;
                side::recover(context)?;
                continue;
            }
            observed => observed?,
        };
        if !context.settings.dry_run
            && side::maintain(context, &observed, asked_at, wanted.goal != Goal::Start)?
        {
            continue;
        }
        let mut steps = plan(&observed, &wanted)?;
        if wanted.golden && !probe && steps.iter().any(Step::is_common) {
            probe = true;
            continue;
        }
        if wanted.common_only {
            steps.retain(Step::is_common);
        }
        if context.settings.dry_run {
            dry_run(context, &steps);
            return Ok(None);
        }
        if wanted.common_only && steps.is_empty() {
            return Ok(None);
        }
        let lines = pending(&observed, &wanted);
        if !lines.is_empty() && !wanted.common_only {
            let name = wanted.name;
            context.ui.warn(format!(
                "`{name}` runs with other values than {} gives it: {}; `mvm stop {name}`, and the next start applies them",
                project::FILE,
                lines.join(", ")
            ));
        }
        if wanted.goal != Goal::Setup && steps.is_empty() {
            return Ok(running(&observed, wanted.name));
        }
        if wanted.goal == Goal::Setup && steps.is_empty() {
            return Ok(None);
        }
        // Before anything is installed, built or made.
        ports::claim(context, wanted.name, &wanted.changes.ports, observed.machine(wanted.name))?;
        let mut looked_again = false;
        for step in steps {
            let reaches = matches!(step, Step::Restrict(_) | Step::Publish(_) | Step::Start { .. });
            let there = observed.machine(wanted.name).and_then(|machine| machine.spec.as_ref().ok());
            let before = there.filter(|spec| stale.as_ref() != Some(*spec));
            looked_again = step.changes_the_view() || reaches;
            if let Some(reached) = act(context, &observed, &mut wanted, &mut made, step, before)? {
                return Ok(Some(reached));
            }
            if reaches {
                stale = there.cloned();
            }
            if looked_again {
                break;
            }
        }
        if !looked_again {
            break;
        }
    }
    Err(Error::failure("the Linux side does not stay as it was set up")
        .hint("run `mvm doctor` to see what is missing"))
}

fn running(observed: &Observed, name: &MachineName) -> Option<Reached> {
    Reached::of(observed, observed.machine(name)?)
}

fn dry_run(context: &mut Context<'_>, steps: &[Step]) {
    if steps.is_empty() {
        context.ui.data("nothing to do");
    }
    for step in steps {
        context.ui.data(step.describe());
    }
}

/// Nothing as well where the machine is not as `before` says any more.
fn act(
    context: &mut Context<'_>,
    observed: &Observed,
    wanted: &mut Wanted<'_>,
    made: &mut Made,
    step: Step,
    before: Option<&Spec>,
) -> Result<Option<Reached>> {
    match step {
        Step::Admin(tasks) => admin(context, observed, tasks)?,
        Step::BuildImage(ImageName::Debian(suite)) => {
            sources::refuse_build_offline(&context.settings, &ImageName::Debian(suite))?;
            let script = debian::build(suite, &context.settings.mirror);
            context.run(&script).map(|id| tracing::debug!(id, "built"))?;
        }
        Step::BuildImage(ImageName::Ubuntu) => match sources::make_ubuntu(context, &observed.host.arch)? {
            Got::Done => {}
            Got::Absent(error) if wanted.asked_image().is_some() => return Err(error),
            Got::Absent(error) => {
                // Then there is nothing to build another one of, either.
                sources::refuse_build_offline(&context.settings, &ImageName::Ubuntu)?;
                let instead = ImageName::default();
                context.ui.say(format!(
                    "The image ubuntu cannot be had ({}), so {instead} is built.",
                    error.source
                ));
                wanted.lacking.ubuntu = true;
            }
        },
        Step::BuildImage(ImageName::Oci(reference)) => {
            images::pull(context, observed, &reference).map(drop)?;
        }
        // The plan makes none of these.
        Step::BuildImage(ImageName::Own(_)) => {}
        Step::InstallFirecracker { release, asked } => {
            let choose = wanted.firecracker.is_some();
            match sources::install_firecracker(context, &observed.host.arch, &release, choose)? {
                Got::Done => {}
                Got::Absent(error) if asked => return Err(error),
                Got::Absent(error) => {
                    context.ui.say(format!("Firecracker cannot be had ({}), so QEMU is used.", error.source));
                    wanted.lacking.firecracker = true;
                }
            }
        }
        Step::End { name, why } => {
            context.ui.warn(format!("`{name}`: {why}; it is ended and started again"));
            let stopped = context.run(&microvm::stop(&name, &observed.host.home, 0))?;
            show_console(context, &stopped.console);
        }
        // One that another has changed meanwhile is looked at again.
        Step::Restrict(spec) => net::restrict(context, before, &spec).map(drop)?,
        Step::Publish(spec) => return publish(context, observed, wanted, (&spec, before)),
        Step::Create(mut spec) => {
            warn_of_old_image(context, observed, &spec);
            spec.created = now();
            made.golden = if wanted.golden { golden(observed, &spec)? } else { None };
            let created = context.run(&microvm::create(&spec, made.golden.as_ref())?)?;
            (made.keys, made.frozen) = (created.keys, created.frozen);
        }
        Step::Start { spec, vmm, changed, thaw } => {
            let started = start(context, observed, (wanted, made), (&spec, before), &vmm, &changed, &thaw)?;
            let Some(up) = started else { return Ok(None) };
            if let Some(golden) = made.golden.as_ref().filter(|_| !up.resumed) {
                make_golden(context, observed, golden, &spec, &vmm);
            }
            let (home, user) = (observed.host.home.clone(), spec.user.clone());
            let config = config_of(observed, &spec);
            let Up { pid, first, .. } = up;
            return Ok(Some(Reached { home, pid, user, spec: Some(spec), config, first }));
        }
    }
    Ok(None)
}

/// A machine keeps its image: the one that is made of an old one hears so.
fn warn_of_old_image(context: &mut Context<'_>, observed: &Observed, spec: &Spec) {
    if let Some(ImageState::Usable(image)) = observed.image_by_id(&spec.image_id)
        && image.is_outdated()
    {
        let label = image.label();
        context.ui.warn(format!(
            "the image {label} was built by an older mvm, and may lack what shared folders and projects need (sshfs, python3); \
             `mvm setup --image {label}` builds it anew, for machines that are made from then on"
        ));
    }
}

/// Says what is to be done as root, asks where someone can answer, and does it.
pub(super) fn admin(context: &mut Context<'_>, observed: &Observed, mut tasks: Vec<Task>) -> Result<()> {
    if let Some(packages) = tasks.iter().find(|task| matches!(task, Task::Packages { .. })) {
        sources::refuse_offline(&context.settings, &format!("it remains to {}", packages.describe()))?;
    }
    if !observed.host.probed.as_ref().is_some_and(|probed| probed.has_apt)
        && tasks.iter().any(|task| matches!(task, Task::Packages { .. }))
    {
        let what: Vec<_> = tasks.iter().map(Task::describe).collect();
        return Err(Error::needs_admin(format!(
            "this is no Debian or Ubuntu: mvm cannot {}",
            what.join("; ")
        ))
        .hint("install what `mvm doctor` lists with your own package manager, then run this again"));
    }
    for task in &mut tasks {
        if let Task::Packages { packages, suite } = task {
            *suite = context.run(&bootstrap::choose_suite(packages))?;
        }
    }
    let commands = || tasks.iter().map(|task| format!("\n    {}", task.shown())).collect::<String>();
    if !context.linux.is_root() && !context.linux.is_ours() {
        context.ui.say("To be done once, as root:");
        for task in &tasks {
            context.ui.say(format!("  - {}", task.describe()));
        }
        let may = context.settings.yes || (Ui::can_ask() && context.ui.ask("Do it now, with sudo?", true)?);
        if !may || !context.linux.sudo(Ui::can_ask())? {
            return Err(Error::needs_admin(
                "administrator's rights are needed, and mvm may not take them here",
            )
            .hint(format!("run this, then the same command again:{}", commands())));
        }
    }
    context.run(&bootstrap::admin(&tasks))
}

/// A machine that was started.
struct Up {
    pid: u32,
    /// Whether it goes on from a memory.
    resumed: bool,
    first: bool,
}

fn start(
    context: &mut Context<'_>,
    observed: &Observed,
    (wanted, made): (&Wanted<'_>, &mut Made),
    (spec, before): (&Spec, Option<&Spec>),
    vmm: &Vmm,
    changed: &[String],
    thaw: &Thaw,
) -> Result<Option<Up>> {
    let mut spec = spec.clone();
    // As the step that made it just now.
    if spec.created == 0 {
        spec.created = now();
    }
    let (spec, name) = (&spec, &spec.name);
    shares::check_folders(name, &spec.mounts)?;
    for line in changed {
        context.ui.say(format!("`{name}` from now on: {line}"));
    }
    let known = || observed.machine(wanted.name).and_then(|machine| machine.keys.clone());
    let keys = match made.keys.take().or_else(known) {
        Some(keys) => keys,
        None => context
            .look(Scope { machine: Some(name), probe: false })?
            .machine(name)
            .and_then(|m| m.keys.clone())
            .ok_or_else(|| {
                Error::failure(format!(
                    "the machine `{name}` has lost its keys ({}/machines/{name}/keys)",
                    observed.host.home
                ))
                .hint(format!("put them back, or remove the machine and its disk with `mvm destroy {name}`"))
            })?,
    };
    if let Thaw::Discard(why) = thaw {
        say_lost(context, name, why);
    }
    context.ui.say(&vmm.why);
    let Some(ImageState::Usable(image)) = observed.image_by_id(&spec.image_id) else {
        return Err(Error::failure(format!("the image {} of `{name}` is gone", spec.image)));
    };
    let files = Files::of(image);
    let golden = made.frozen.take().map(|frozen| Thaw::Resume(Box::new(frozen)));
    let thaw = golden.as_ref().unwrap_or(thaw);
    ports::claim(context, name, &spec.ports, observed.machine(name))?;
    let launch = vmm.launch(spec, &observed.host, &files, now());
    let mut script = microvm::start(
        (spec, before),
        image,
        vmm,
        &launch,
        (&keys, wanted.golden),
        context.linux.door(),
        thaw,
    )?;
    if wanted.first && golden.is_some() {
        script = microvm::told(script, Told::First);
    }
    if spec.idle.is_some() {
        let frozen = observed.machine(name).filter(|_| matches!(thaw, Thaw::Resume(_)));
        let runs_with = frozen.and_then(Machine::started_as).unwrap_or(spec);
        script = microvm::with_idle(script, runs_with, vmm.kind, &observed.host);
    }
    match context.run(&script)? {
        Started::Ready { pid, newly, mut ports, resumed, greeted, first, lost } => {
            // One that another mvm was starting has the ports that that one asked for.
            if !newly
                && !spec.ports.iter().all(|port| ports::is_open(&ports, port))
                && let Publication::Now(open) = open_ports(context, (spec, None))?
            {
                ports = open;
            }
            for error in ports::settle(context, name, &observed.host.home, &spec.ports, &ports) {
                context.ui.warn(error.source);
            }
            match lost {
                // Whether it was booted or not is the same to whoever asked for a fresh one.
                Some(why) if wanted.golden => {
                    context.ui.event(Event::Log(&format!("no golden memory, so the machine boots: {why}")));
                }
                Some(why) => say_lost(context, name, &why),
                None => {}
            }
            if resumed && !greeted {
                context.ui.warn(format!(
                    "`{name}` goes on, but its clock could not be set: it is behind; `mvm exec {name} -- date` shows it"
                ));
            }
            let before = observed.machine(name).and_then(|machine| machine.spec.as_ref().ok());
            ssh_config::refresh(context, name, before.is_none_or(|before| before.user != spec.user));
            Ok(Some(Up { pid, resumed, first }))
        }
        Started::Stale => Ok(None),
        Started::Failed(trouble) => {
            show_console(context, &trouble.console);
            Err(explain(name, &observed.host.home, &trouble))
        }
    }
}

/// The golden memory of a new machine; nothing where its image is not there yet.
fn golden(observed: &Observed, spec: &Spec) -> Result<Option<Golden>> {
    let Some(ImageState::Usable(image)) = observed.image_by_id(&spec.image_id) else { return Ok(None) };
    let vmm = Vmm::choose(spec.vmm, &observed.host)?;
    Ok(Some(Golden::of(spec, image, &Files::of(image), &vmm, &observed.host)?))
}

/// Makes a golden memory of a machine that was just booted. Where that fails the next one boots as well.
fn make_golden(context: &mut Context<'_>, observed: &Observed, golden: &Golden, spec: &Spec, vmm: &Vmm) {
    let made = golden.make(spec, vmm, &observed.host).map_err(Error::from);
    let said = match made.and_then(|script| context.run(&script)) {
        Ok(Some(paused)) => {
            format!("a golden memory is kept, for the next run; the machine stood still for {paused} ms")
        }
        Ok(None) => "another run makes the golden memory".to_owned(),
        Err(error) => format!("no golden memory is kept: {}", error.source),
    };
    context.ui.event(Event::Log(&said));
}

/// Tells a machine that runs which ports to open.
fn open_ports(context: &mut Context<'_>, (spec, before): (&Spec, Option<&Spec>)) -> Result<Publication> {
    let all: Vec<_> = spec.ports.iter().map(ToString::to_string).collect();
    let change = format!("publishes {}", all.join(" "));
    let script = microvm::publish(before, spec, &change, context.linux.door())?;
    context.run(&script)
}

/// Opens the ports that a machine lacks which runs.
fn publish(
    context: &mut Context<'_>,
    observed: &Observed,
    wanted: &Wanted<'_>,
    (spec, before): (&Spec, Option<&Spec>),
) -> Result<Option<Reached>> {
    let (name, home) = (wanted.name, &observed.host.home);
    let gone = || Error::not_running(format!("the machine `{name}` is not running any more"));
    let reached = running(observed, name).ok_or_else(gone)?;
    // What it was to have before is no reason to fail now.
    let asked = |port: &&Port| wanted.changes.ports.contains(port);
    let new: Vec<_> = spec.ports.iter().filter(asked).copied().collect();
    let states = match open_ports(context, (spec, before))? {
        Publication::Now(states) => states,
        Publication::Stale => return Ok(None),
        Publication::Later => return Err(gone()),
    };
    for error in ports::settle(context, name, home, &spec.ports, &states) {
        context.ui.warn(error.source);
    }
    match new.iter().find(|port| !ports::is_open(&states, port)) {
        Some(port) => Err(Error::failure(format!("the port {port} of `{name}` is not open"))),
        None => Ok(Some(reached)),
    }
}

fn say_lost(context: &mut Context<'_>, name: &MachineName, why: &str) {
    context.ui.warn(format!(
        "`{name}` was suspended, and cannot go on from there: {why}; it is started from its disk"
    ));
}

pub(super) fn explain(name: &MachineName, home: &str, trouble: &microvm::Trouble) -> Error {
    let folder = format!("{home}/machines/{name}");
    if let Some(why) = &trouble.init {
        return Error::failure(format!("the machine `{name}` did not come up: {why}"))
            .hint(format!("its console is in {folder}/console.log"));
    }
    if let Some(panic) = &trouble.panic {
        return Error::failure(format!("the kernel of `{name}` did not come up: {panic}")).hint(format!(
            "the image's kernel or the machine's memory may be at fault: try `mvm start {name} --memory 1G`; \
             its console is in {folder}/console.log"
        ));
    }
    match &trouble.exit {
        Some(exit) => Error::failure(format!("the VMM of `{name}` ended at once ({exit}): {}", trouble.vmm_log.trim()))
            .hint(format!("its log is {folder}/vmm.log; `mvm doctor` shows what is missing")),
        None => Error::failure(format!("the machine `{name}` was started, but does not answer"))
            .hint(format!("a busy host may be slow: `mvm dev {name}` waits again or restarts it; `mvm stop {name}` ends it"))
            .hint(format!("its console is in {folder}/console.log")),
    }
}

fn show_console(context: &mut Context<'_>, lines: &[String]) {
    if !lines.is_empty() {
        context.ui.say("The console's last lines:");
        for line in lines {
            context.ui.say(format!("    {line}"));
        }
    }
}

/// Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
