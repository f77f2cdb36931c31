//! What the user asks of a machine, beside what the machine has.

use super::Environment;
use super::idle::Idle;
use super::mount::MountSpec;
use super::port::Port;
use super::spec::{DiskSize, Memory, Spec, VmmChoice};
use super::user::UserName;
use crate::error::{Error, Result};
use crate::image::ImageName;
use crate::network::Policy;

/// What the user asked of a machine, by flags or in mvm.toml.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    pub image: Option<ImageName>,
    pub cpus: Option<u8>,
    pub memory: Option<Memory>,
    pub disk: Option<DiskSize>,
    pub vmm: Option<VmmChoice>,
    /// The user that sessions are.
    pub user: Option<UserName>,
    /// After how long without use it is suspended.
    pub idle: Option<Idle>,
    /// What it may reach.
    pub net: Option<Policy>,
    /// All of it.
    pub env: Option<Environment>,
    /// The very image, where it was made for this machine.
    pub image_id: Option<String>,
    /// Folders to share, beside those that it shares already.
    pub mounts: Vec<MountSpec>,
    /// Ports to publish, beside those that are already.
    pub ports: Vec<Port>,
    /// Whether these mounts are all there are to be, as mvm.toml lists them.
    pub only_mounts: bool,
    /// The same of the ports.
    pub only_ports: bool,
}

impl Changes {
    /// What is not said here is as in `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let image_id = self.image_id.or_else(|| other.image_id.filter(|_| self.image.is_none()));
        Self {
            image: self.image.or(other.image),
            cpus: self.cpus.or(other.cpus),
            memory: self.memory.or(other.memory),
            disk: self.disk.or(other.disk),
            vmm: self.vmm.or(other.vmm),
            user: self.user.or(other.user),
            idle: self.idle.or(other.idle),
            net: self.net.or(other.net),
            env: self.env.or(other.env),
            image_id,
            mounts: MountSpec::merge(&other.mounts, &self.mounts),
            ports: Port::merge(&other.ports, &self.ports),
            only_mounts: self.only_mounts || other.only_mounts,
            only_ports: self.only_ports || other.only_ports,
        }
    }

    /// What a machine takes on when it is started alone.
    pub(super) fn at_start(&self) -> Self {
        Self { net: None, ..self.clone() }
    }

    /// The folders that a machine is to share which shares those `present`.
    pub fn mounts_over(&self, present: &[MountSpec]) -> Vec<MountSpec> {
        MountSpec::merge(if self.only_mounts { &[] } else { present }, &self.mounts)
    }

    pub(super) fn ports_over(&self, present: &[Port]) -> Vec<Port> {
        Port::merge(if self.only_ports { &[] } else { present }, &self.ports)
    }
}

/// What `changes` says differently from `spec`, a line each.
pub(super) fn differences(spec: &Spec, changes: &Changes) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |what: &str, has: String, asked: Option<String>| {
        if let Some(asked) = asked.filter(|asked| *asked != has) {
            lines.push(format!("{what}: {has} → {asked}"));
        }
    };
    compare("image", spec.image.to_string(), changes.image.as_ref().map(ToString::to_string));
    compare("cpus", spec.cpus.to_string(), changes.cpus.map(|v| v.to_string()));
    compare("memory", spec.memory_mib.to_string(), changes.memory.map(|v| v.to_string()));
    compare("disk", spec.disk_bytes.to_string(), changes.disk.map(|v| v.to_string()));
    let user = spec.user.as_ref().map_or("root", UserName::as_str);
    compare("user", user.to_owned(), changes.user.as_ref().map(ToString::to_string));
    let idle = spec.idle.map_or_else(|| "off".to_owned(), |idle| idle.to_string());
    compare("idle", idle, changes.idle.map(|idle| idle.to_string()));
    compare("net", spec.net.to_string(), changes.net.as_ref().map(ToString::to_string));
    compare("vmm", spec.vmm.to_string(), changes.vmm.map(|v| v.to_string()));
    if let Some(env) = &changes.env {
        lines.extend(env.differing(&spec.env).iter().map(|name| format!("env: {name} differs")));
    }
    lines
}

/// A stopped machine takes on what the flags say, except another image or a smaller disk.
pub(super) fn changed(spec: &Spec, changes: &Changes) -> Result<(Spec, Vec<String>)> {
    refuse_impossible(spec, changes)?;
    let mut new = spec.clone();
    new.cpus = changes.cpus.unwrap_or(new.cpus);
    new.memory_mib = changes.memory.unwrap_or(new.memory_mib);
    new.disk_bytes = changes.disk.unwrap_or(new.disk_bytes);
    new.vmm = changes.vmm.unwrap_or(new.vmm);
    if let Some(user) = &changes.user {
        new.user = user.clone().unless_root();
    }
    if let Some(idle) = changes.idle {
        new.idle = idle.unless_off();
    }
    new.net = changes.net.clone().unwrap_or(new.net);
    new.env = changes.env.clone().unwrap_or(new.env);
    new.mounts = changes.mounts_over(&spec.mounts);
    refuse_conflict(&new.mounts)?;
    let mut lines = differences(spec, changes);
    lines.extend(came_and_went("shares", &spec.mounts, &new.mounts));
    new.ports = changes.ports_over(&spec.ports);
    refuse_port_conflict(&new.ports)?;
    lines.extend(came_and_went("publishes", &spec.ports, &new.ports));
    Ok((new, lines))
}

/// What is new in a list, and what is not in it any more, a line each.
pub fn came_and_went<T: PartialEq + ToString>(verb: &str, before: &[T], after: &[T]) -> Vec<String> {
    let came =
        after.iter().filter(|one| !before.contains(one)).map(|one| format!("{verb} {}", one.to_string()));
    let went = before
        .iter()
        .filter(|one| !after.contains(one))
        .map(|one| format!("{verb} {} no more", one.to_string()));
    came.chain(went).collect()
}

/// Two of a machine's ports that would be one port of the host.
pub fn refuse_port_conflict(ports: &[Port]) -> Result<()> {
    match Port::conflict(ports) {
        Some(why) => {
            Err(Error::usage(why).hint("`mvm port ls` shows those there are; `mvm port rm` takes one away"))
        }
        None => Ok(()),
    }
}

/// Shared folders that would hide each other.
pub fn refuse_conflict(mounts: &[MountSpec]) -> Result<()> {
    match MountSpec::conflict(mounts) {
        Some(why) => {
            Err(Error::usage(why).hint("`mvm mount ls` shows those there are; `mvm mount rm` takes one away"))
        }
        None => Ok(()),
    }
}

/// A machine keeps its image and its kernel, and its disk does not shrink.
pub(super) fn refuse_impossible(spec: &Spec, changes: &Changes) -> Result<()> {
    let name = &spec.name;
    if let Some(disk) = changes.disk.filter(|disk| *disk < spec.disk_bytes) {
        return Err(Error::usage(format!(
            "the disk of `{name}` has {}; it can grow, but not shrink to {disk}",
            spec.disk_bytes
        ))
        .hint(format!(
            "give `--disk` at least {}, or make another machine: `mvm dev OTHER --disk {disk}`",
            spec.disk_bytes
        )));
    }
    if changes.image_id.as_ref().is_some_and(|id| *id != spec.image_id) {
        return Err(Error::failure(format!("the machine `{name}` was made with another kernel"))
            .hint(format!("make another machine with this one: `mvm dev OTHER --kernel FILE`; or `mvm destroy {name}` first")));
    }
    if let Some(image) = changes.image.as_ref().filter(|image| **image != spec.image) {
        return Err(Error::failure(format!(
            "the machine `{name}` was made from {}, not {image}",
            spec.image
        ))
        .hint(format!(
            "make another machine: `mvm dev OTHER --image {image}`; or a new one of that name: \
             `mvm destroy {name}`, then `mvm dev {name} --image {image}`"
        )));
    }
    Ok(())
}

/// The flags that ask for it.
pub(super) fn flags(changes: &Changes) -> String {
    let mut text = String::new();
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag} {value}"));
        }
    };
    // Sizes as they are typed: no blank.
    let size = |bytes: u64| {
        if bytes.is_multiple_of(1 << 30) { format!("{}G", bytes >> 30) } else { format!("{}M", bytes >> 20) }
    };
    add("cpus", changes.cpus.map(|v| v.to_string()));
    add("memory", changes.memory.map(|v| size(v.bytes())));
    add("disk", changes.disk.map(|v| size(v.bytes())));
    add("user", changes.user.as_ref().map(ToString::to_string));
    add("idle", changes.idle.map(|v| v.to_string()));
    add("net", changes.net.as_ref().map(ToString::to_string));
    add("vmm", changes.vmm.map(|v| v.to_string()));
    text
}
