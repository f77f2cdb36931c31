//! Decides what to do: a pure function from what is there and what is wanted to a list of steps.

use super::asked::{
    Changes, changed, differences, flags, refuse_conflict, refuse_impossible, refuse_port_conflict,
};
use super::frozen::Thaw;
use super::idle::Idle;
use super::net;
use super::observed::{HostFacts, ImageState, Kvm, Machine, Observed, Program, State, UserNamespaces};
use super::port::Port;
use super::publish::PortState;
use super::spec::{DiskSize, MachineName, Memory, Spec, VmmChoice};
use super::user::UserName;
use crate::bootstrap::Task;
use crate::config::{self, MachineDefaults};
use crate::error::{Error, Result};
use crate::image::{ImageName, debian, oci, ubuntu};
use crate::network::Policy;
use crate::vmm::Vmm;
use crate::vmm::release::{Release, supported};
use crate::{doctor, ui};

/// How far a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Everything short of a machine.
    Setup,
    /// A running machine, where setup was done.
    Start,
    /// A running machine, whatever is missing.
    Dev,
}

#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub goal: Goal,
    pub name: &'a MachineName,
    /// By flags, and what they leave open by mvm.toml.
    pub changes: Changes,
    /// By flags alone: a running machine that has other values is not what was asked for.
    pub flags: Changes,
    pub defaults: &'a MachineDefaults,
    /// The release of Firecracker to use from now on.
    pub firecracker: Option<&'a Release>,
    pub lacking: Lacking,
    /// Whether an image that an older mvm built is built anew.
    pub renew: bool,
    /// Only what other machines need as well.
    pub common_only: bool,
    /// Whether a new machine goes on from a golden memory, or makes one.
    pub golden: bool,
    /// Whether one that goes on from a golden memory may hear who it is from whoever enters it first.
    pub first: bool,
}

impl<'a> Wanted<'a> {
    pub fn new(goal: Goal, name: &'a MachineName, changes: Changes, defaults: &'a MachineDefaults) -> Self {
        let flags = changes.clone();
        Self {
            goal,
            name,
            changes,
            flags,
            defaults,
            firecracker: None,
            lacking: Lacking::default(),
            renew: false,
            common_only: false,
            golden: false,
            first: false,
        }
    }

    /// With what mvm.toml says where no flag does.
    #[must_use]
    pub fn declared(mut self, file: &Changes) -> Self {
        self.changes = self.flags.clone().or(file.clone());
        self
    }

    /// The image that the user named, by a flag or in the settings.
    pub fn asked_image(&self) -> Option<ImageName> {
        self.changes.image.clone().or_else(|| self.defaults.image.clone())
    }
}

/// What this run tried to download, in vain, and can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lacking {
    pub firecracker: bool,
    /// The image `ubuntu`.
    pub ubuntu: bool,
}

/// One thing to do. Each is safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// As root, once.
    Admin(Vec<Task>),
    BuildImage(ImageName),
    InstallFirecracker {
        release: Release,
        /// Whether the user asked for Firecracker: then nothing else will do.
        asked: bool,
    },
    /// Ends a machine that runs but does not answer.
    End {
        name: MachineName,
        why: String,
    },
    /// Has the network policy of `spec` hold, for a machine that runs or is suspended.
    Restrict(Spec),
    /// Opens and closes the ports of a machine that runs, as `spec` has them.
    Publish(Spec),
    /// The image's id is filled in once it is there.
    Create(Spec),
    Start {
        spec: Spec,
        vmm: Vmm,
        changed: Vec<String>,
        thaw: Thaw,
    },
}

impl Step {
    /// For `--dry-run`.
    pub fn describe(&self) -> String {
        match self {
            Self::Admin(tasks) => {
                let what: Vec<_> = tasks.iter().map(Task::describe).collect();
                format!("as root: {}", what.join("; "))
            }
            Self::BuildImage(name) => format!("build the image {name}"),
            Self::InstallFirecracker { release, .. } => format!("install Firecracker {release}"),
            Self::End { name, why } => format!("end the machine {name}: {why}"),
            Self::Create(spec) => {
                let Spec { name, image, cpus, memory_mib, disk_bytes, .. } = spec;
                format!(
                    "create the machine {name}: {image}, cpus {cpus}, memory {memory_mib}, disk {disk_bytes}"
                )
            }
            Self::Restrict(spec) => format!("let the machine {} reach: {}", spec.name, spec.net),
            Self::Publish(spec) => {
                let ports: Vec<_> = spec.ports.iter().map(ToString::to_string).collect();
                format!("publish the ports of the machine {}: {}", spec.name, ports.join(", "))
            }
            Self::Start { spec, vmm, thaw: Thaw::Resume(_), .. } => {
                format!("resume the machine {}: {}", spec.name, vmm.why)
            }
            Self::Start { spec, vmm, thaw: Thaw::Discard(why), .. } => {
                format!("start the machine {} from its disk ({why}): {}", spec.name, vmm.why)
            }
            Self::Start { spec, vmm, .. } => format!("start the machine {}: {}", spec.name, vmm.why),
        }
    }

    /// Whether it is done once for all machines.
    pub fn is_common(&self) -> bool {
        matches!(self, Self::Admin(_) | Self::BuildImage(_) | Self::InstallFirecracker { .. })
    }

    /// Whether it changes what the rest of the plan was decided on.
    pub fn changes_the_view(&self) -> bool {
        matches!(
            self,
            Self::Admin(_)
                | Self::BuildImage(_)
                | Self::InstallFirecracker { .. }
                | Self::End { .. }
                | Self::Restrict(_)
        )
    }
}

/// The steps from what is there to what is wanted; none when it is so already.
pub fn plan(observed: &Observed, wanted: &Wanted<'_>) -> Result<Vec<Step>> {
    // Setup is about no machine.
    let machine = observed.machine(wanted.name).filter(|_| wanted.goal != Goal::Setup);
    let mut steps = Vec::new();
    if let Some(machine) = machine
        && machine.state.running().is_some()
    {
        refuse_changes_of_a_running_machine(machine, wanted)?;
        match &machine.state {
            // The start script finds out whether it is only paused.
            State::Stuck(_) if machine.half_suspended => {}
            State::Stuck(_) if wanted.goal == Goal::Dev => {
                let why = "it runs, but does not answer on its SSH port".to_owned();
                steps.push(Step::End { name: wanted.name.clone(), why });
            }
            // Someone else's start, or one that was cut off: the start script waits with it.
            State::Booting(_) => {}
            State::Stuck(_) => {
                return Err(Error::failure(format!(
                    "the machine `{}` runs, but does not answer",
                    wanted.name
                ))
                .hint(format!("`mvm dev {0}` restarts it; `mvm stop {0}` ends it", wanted.name)));
            }
            _ => {
                steps.extend(net::steps(observed, machine, wanted)?);
                if steps.is_empty() {
                    steps.extend(publish(machine, &wanted.changes)?.map(Step::Publish));
                }
                return Ok(steps);
            }
        }
    }
    refuse_without_namespaces(observed)?;
    // An existing machine's disk belongs to the very image it was made for.
    let existing = machine.map(readable_spec).transpose()?;
    let install = install_firecracker(observed, wanted, existing);
    // Before a VMM is there nothing can be said of it.
    let vmm_is_known =
        install.is_none() && (observed.host.qemu.is_some() || observed.host.firecracker.is_some());
    steps.extend(install);
    let net = wanted.changes.net.as_ref().or(existing.map(|spec| &spec.net));
    let resolves = wanted.goal == Goal::Setup || net.is_some_and(Policy::resolves);
    let tasks = doctor::tasks(&observed.host, resolves);
    if !tasks.is_empty() {
        match wanted.goal {
            Goal::Start => return Err(not_set_up(&tasks)),
            Goal::Setup | Goal::Dev => steps.push(Step::Admin(tasks)),
        }
    }
    let asked = wanted.asked_image().unwrap_or_else(|| default_image(observed, wanted.lacking));
    let image_id = match existing {
        Some(spec) => {
            check_image_of(observed, spec)?;
            spec.image_id.clone()
        }
        None if wanted.changes.image_id.is_some() => wanted.changes.image_id.clone().unwrap_or_default(),
        None => {
            if let Some(image) = observed.image(&asked) {
                if wanted.renew && image.is_outdated() {
                    steps.extend(make_image(observed, wanted.goal, &asked)?);
                }
                image.id.clone()
            } else {
                steps.extend(make_image(observed, wanted.goal, &asked)?);
                String::new()
            }
        }
    };
    if wanted.goal == Goal::Setup {
        return Ok(steps);
    }
    let (spec, changed) = if let Some(spec) = existing {
        if let Some(machine) = machine.filter(|machine| machine.state.suspended().is_some()) {
            refuse_impossible(spec, &wanted.flags)?;
            refuse_changes(machine.started_as().unwrap_or(spec), wanted, "is suspended")?;
            let restriction = net::steps(observed, machine, wanted)?;
            if !restriction.is_empty() {
                return Ok(restriction);
            }
        }
        changed(spec, &wanted.changes)?
    } else {
        let spec = new_spec(wanted, &observed.host, asked, image_id);
        refuse_conflict(&spec.mounts)?;
        refuse_port_conflict(&spec.ports)?;
        check_space(observed, 64 << 20, "a new machine")?;
        (spec, Vec::new())
    };
    check_against_host(observed, &spec)?;
    if existing.is_none() {
        steps.push(Step::Create(spec.clone()));
    }
    if vmm_is_known {
        let (vmm, thaw) = thaw(observed, machine, &spec)?;
        // What goes on from its memory takes on nothing new.
        let changed = if matches!(thaw, Thaw::Resume(_)) { Vec::new() } else { changed };
        steps.push(Step::Start { spec, vmm, changed, thaw });
    }
    Ok(steps)
}

/// How the machine begins, and with which VMM: a memory is read by the one that wrote it alone.
fn thaw(observed: &Observed, machine: Option<&Machine>, spec: &Spec) -> Result<(Vmm, Thaw)> {
    let frozen = machine.and_then(|machine| machine.state.suspended());
    let thaw = match frozen.map(|frozen| (frozen, frozen.fits(&observed.host))) {
        Some((frozen, Ok(vmm))) => return Ok((vmm, Thaw::Resume(Box::new(frozen.clone())))),
        Some((_, Err(why))) => Thaw::Discard(why),
        None => Thaw::Boot,
    };
    Ok((Vmm::choose(spec.vmm, &observed.host)?, thaw))
}

/// The steps that bring an image; what other images are made with comes first.
fn make_image(observed: &Observed, goal: Goal, asked: &ImageName) -> Result<Vec<Step>> {
    if let ImageName::Own(name) = asked {
        return Err(Error::failure(format!("there is no image `{name}`"))
            .hint(format!("`mvm image import FILE --as {name}` makes one of a file; `mvm image ls` shows those that are there"))
            .hint(format!("Docker Hub's is `docker.io/library/{name}`")));
    }
    if goal == Goal::Start {
        return Err(Error::not_set_up(format!("the image {asked} is not there yet"))
            .hint("run `mvm setup`, or `mvm dev`, which does everything"));
    }
    let needed = match asked {
        ImageName::Debian(_) => debian::SPACE_NEEDED,
        ImageName::Ubuntu => ubuntu::SPACE_NEEDED,
        ImageName::Oci(_) | ImageName::Own(_) => oci::SPACE_NEEDED,
    };
    check_space(observed, needed, "making the image")?;
    let mut steps = tools_for(observed, asked);
    steps.push(Step::BuildImage(asked.clone()));
    Ok(steps)
}

/// Images of others have neither a kernel nor an SSH server for machines: they take those of the image `debian`.
fn tools_for(observed: &Observed, asked: &ImageName) -> Vec<Step> {
    let needs_them = matches!(asked, ImageName::Oci(_) | ImageName::Own(_));
    if needs_them && observed.tools().is_none() {
        vec![Step::BuildImage(ImageName::default())]
    } else {
        Vec::new()
    }
}

/// Where no image was asked for: one that is there, else Ubuntu, else what can be built without its bucket.
fn default_image(observed: &Observed, lacking: Lacking) -> ImageName {
    let there =
        [ImageName::Ubuntu, ImageName::default()].into_iter().find(|name| observed.image(name).is_some());
    there.unwrap_or(if lacking.ubuntu { ImageName::default() } else { ImageName::Ubuntu })
}

/// Firecracker is installed where it was asked for, and where a new machine would profit.
fn install_firecracker(observed: &Observed, wanted: &Wanted<'_>, existing: Option<&Spec>) -> Option<Step> {
    let host = &observed.host;
    let release = wanted.firecracker.cloned().unwrap_or_else(Release::pinned);
    let has = |test: &dyn Fn(&Program) -> bool| host.firecracker.as_ref().is_some_and(test);
    let chosen = wanted.changes.vmm.or(existing.map(|spec| spec.vmm)).or(wanted.defaults.vmm);
    let useful = host.kvm == Kvm::Usable && !has(&|program| supported(program).is_some());
    let (needed, asked) = match chosen.unwrap_or_default() {
        _ if wanted.firecracker.is_some() => {
            (!has(&|program| program.path == release.path(&host.home)), true)
        }
        VmmChoice::Qemu => (false, false),
        VmmChoice::Firecracker => (useful, true),
        VmmChoice::Auto => (useful && existing.is_none() && !wanted.lacking.firecracker, false),
    };
    (needed && wanted.goal != Goal::Start).then_some(Step::InstallFirecracker { release, asked })
}

fn new_spec(wanted: &Wanted<'_>, host: &HostFacts, image: ImageName, image_id: String) -> Spec {
    let Changes { cpus, memory, disk, vmm, env, .. } = &wanted.changes;
    let defaults = wanted.defaults;
    Spec {
        version: Spec::VERSION,
        name: wanted.name.clone(),
        image,
        image_id,
        cpus: (*cpus).or(defaults.cpus).unwrap_or(match host.kvm {
            // Two that share one processor wait for each other.
            Kvm::Usable if host.cpus > 1 => config::DEFAULT_CPUS,
            // A second emulated one makes the boot slower.
            _ => 1,
        }),
        memory_mib: (*memory).or(defaults.memory).unwrap_or(Memory::from_mib(config::DEFAULT_MEMORY_MIB)),
        disk_bytes: (*disk).or(defaults.disk).unwrap_or(DiskSize::from_bytes(config::DEFAULT_DISK_BYTES)),
        vmm: (*vmm).or(defaults.vmm).unwrap_or_default(),
        env: env.clone().unwrap_or_default(),
        created: 0,
        user: wanted.changes.user.clone().or_else(|| defaults.user.clone()).and_then(UserName::unless_root),
        idle: wanted.changes.idle.or(defaults.idle).and_then(Idle::unless_off),
        mounts: wanted.changes.mounts.clone(),
        ports: Port::merge(&[], &wanted.changes.ports),
        net: wanted.changes.net.clone().unwrap_or_default(),
    }
}

/// What a machine that runs lacks of its ports, old and new; nothing when all are open.
fn publish(machine: &Machine, changes: &Changes) -> Result<Option<Spec>> {
    // One whose file cannot be read runs all the same.
    let Ok(spec) = &machine.spec else { return Ok(None) };
    let ports = changes.ports_over(&spec.ports);
    refuse_port_conflict(&ports)?;
    let open = |port: &Port| machine.ports.get(&port.listen.id()) == Some(&PortState::Open);
    let lacking = ports != spec.ports || !ports.iter().all(open);
    Ok(lacking.then(|| Spec { ports, ..spec.clone() }))
}

/// How a running machine differs from what mvm.toml says, a line each: it takes that on when it is started again.
pub fn pending(observed: &Observed, wanted: &Wanted<'_>) -> Vec<String> {
    let machine = observed.machine(wanted.name).filter(|machine| matches!(machine.state, State::Running(_)));
    machine
        .and_then(Machine::started_as)
        .map_or_else(Vec::new, |spec| differences(spec, &wanted.changes.at_start()))
}

fn refuse_changes_of_a_running_machine(machine: &Machine, wanted: &Wanted<'_>) -> Result<()> {
    let (Ok(asked), Some(spec)) = (&machine.spec, machine.started_as()) else { return Ok(()) };
    refuse_impossible(asked, &wanted.flags)?;
    refuse_changes(spec, wanted, "runs")
}

/// What runs, or is to go on from its memory, `is` so with the values it has. `mvm set` may have written down others.
fn refuse_changes(spec: &Spec, wanted: &Wanted<'_>, is: &str) -> Result<()> {
    let lines = differences(spec, &wanted.flags.at_start());
    if lines.is_empty() {
        return Ok(());
    }
    let flags = flags(&wanted.flags);
    let command = if wanted.goal == Goal::Start { "start" } else { "dev" };
    let name = wanted.name;
    Err(Error::failure(format!("the machine `{name}` {is} with other values: {}", lines.join(", "))).hint(format!(
        "to apply them: `mvm stop {name} && mvm {command} {name}{flags}`; to enter it as it is, leave them out"
    )))
}

/// What `machine` was asked to be, or that this cannot be read.
pub fn readable_spec(machine: &Machine) -> Result<&Spec> {
    machine.spec.as_ref().map_err(|why| {
        let name = &machine.name;
        Error::failure(format!("the machine `{name}` is broken: {why}"))
            .hint(format!("mend the file, or remove the machine and its disk with `mvm destroy {name}`"))
    })
}

fn check_image_of(observed: &Observed, spec: &Spec) -> Result<()> {
    let why = match observed.image_by_id(&spec.image_id) {
        Some(ImageState::Usable(_)) => return Ok(()),
        Some(ImageState::Broken(_, why)) => why.as_str(),
        None => "it is gone",
    };
    let Spec { name, image, image_id, .. } = spec;
    Err(Error::failure(format!(
        "the image that `{name}` was made from ({image}, {}/images/{image_id}) cannot be used: {why}",
        observed.host.home
    ))
    .hint(format!(
        "put it back; or make the machine anew, which removes its disk: remove what is left of the image, then \
         `mvm destroy {name}` and `mvm dev {name} --image {image}`"
    )))
}

fn check_space(observed: &Observed, needed: u64, what: &str) -> Result<()> {
    let host = &observed.host;
    if host.free_bytes >= needed {
        return Ok(());
    }
    Err(Error::failure(format!(
        "{what} needs {} of free disk space in {}, and there are {}",
        ui::size(needed),
        host.home,
        ui::size(host.free_bytes)
    ))
    .hint("make room there, or name a folder on another disk in MVM_HOME"))
}

/// No task of an administrator's mends this one for sure, so it is said before anything is done.
fn refuse_without_namespaces(observed: &Observed) -> Result<()> {
    let off =
        observed.host.probed.as_ref().is_some_and(|probed| probed.user_namespaces == UserNamespaces::Off);
    if !off {
        return Ok(());
    }
    Err(Error::needs_admin("this host does not let this user make namespaces, and every machine needs them")
        .hint(doctor::NAMESPACES_REMEDY))
}

pub(super) fn check_against_host(observed: &Observed, spec: &Spec) -> Result<()> {
    let host = &observed.host;
    if u64::from(spec.memory_mib.mib()) > host.memory_mib {
        return Err(Error::usage(format!(
            "{} of memory for `{}` is more than this host has ({})",
            spec.memory_mib,
            spec.name,
            ui::size(host.memory_mib << 20)
        ))
        .hint("give less with `--memory`, such as `--memory 1G`"));
    }
    Ok(())
}

pub(super) fn not_set_up(tasks: &[Task]) -> Error {
    let what: Vec<_> = tasks.iter().map(Task::describe).collect();
    Error::not_set_up(format!("this host is not set up: it remains to {}", what.join("; ")))
        .hint("run `mvm setup`, or `mvm dev`, which does everything")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
