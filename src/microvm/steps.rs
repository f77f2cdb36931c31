//! The scripts that do the steps, and what they answer.

use super::golden::ANY;
use super::keys::NewKeys;
use super::publish::{self, FORWARD, PortStates};
use super::ssh;
use super::{Frozen, Golden, HostFacts, Idle, MachineName, Spec, Thaw, observed};
use crate::image::{
    Image,
    seed::{self, Keys},
};
use crate::linux::Door;
use crate::network;
use crate::script;
use crate::shell::{Answer, AnswerError, Script};
use crate::vmm::{Kind, Launch, Vmm, memory};

/// How long a guest may take until it answers, in seconds. In software a boot takes 4 s on a quiet host; a busy one
/// must not fail for it, nor one whose KVM is itself emulated.
const BOOT_SECONDS: u32 = 180;

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    Ready {
        pid: u32,
        newly: bool,
        ports: PortStates,
        /// Whether it goes on from its memory.
        resumed: bool,
        /// Whether a resumed guest heard what time it is.
        greeted: bool,
        /// Whether it waits for whoever enters first to hear that, and who it is.
        first: bool,
        /// Why its memory was lost, and it was started from its disk.
        lost: Option<String>,
    },
    Failed(Trouble),
    /// Nothing was done: the machine was changed by another meanwhile.
    Stale,
}

/// A guest that did not come up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trouble {
    /// How the VMM ended; nothing while it still runs.
    pub exit: Option<String>,
    /// What mvm's init said.
    pub init: Option<String>,
    pub panic: Option<String>,
    pub vmm_log: String,
    /// The console's last lines.
    pub console: Vec<String>,
}

/// How a stop ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopped {
    pub how: How,
    pub seconds: f64,
    pub console: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    WasNotRunning,
    Clean,
    Forced,
    /// It was suspended, and its memory was removed.
    Discarded,
}

/// A machine that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub keys: Option<Keys>,
    /// The memory that it goes on from.
    pub frozen: Option<Frozen>,
}

/// Makes the machine; it goes on from the memory `golden` where that is there.
pub fn create(spec: &Spec, golden: Option<&Golden>) -> anyhow::Result<Script<Created>> {
    let read = |answer: &Answer| {
        let frozen = answer.text("FROZEN").map(|meta| Frozen::read(meta.split('\t'), ""));
        let keys = answer.text("CREATED").and_then(|name| observed::keys(answer, name));
        Ok(Created { keys, frozen })
    };
    Ok(script!("microvm/create" with ["cell/lib", "microvm/lib", "vmm/lib"], read)
        .input("GOLDEN", golden.map_or("", |golden| golden.key.as_str()))
        .input("NAME", spec.name.as_str())
        .input("DISK_BYTES", spec.disk_bytes.bytes().to_string())
        .payload([&spec.line()?, NewKeys::make(spec.name.as_str())?.line()].concat()))
}

/// Starts the machine, or waits for one that is starting. One that was there still has to be as `before` says. Where it is to `hold`,
/// the image's init waits for the first command.
pub fn start(
    (spec, before): (&Spec, Option<&Spec>),
    image: &Image,
    vmm: &Vmm,
    launch: &Launch,
    (keys, hold): (&Keys, bool),
    door: Door,
    thaw: &Thaw,
) -> anyhow::Result<Script<Started>> {
    let seed = seed::of(spec, image, keys, hold)?;
    let accelerator = if vmm.accelerated { "kvm" } else { "tcg" };
    let words = memory::words(vmm.kind, Some(&vmm.program), spec.name.as_str());
    let mut script = script!("microvm/start" with ["cell/lib", "microvm/lib", "vmm/lib"], read_started);
    if let Thaw::Resume(frozen) = thaw {
        script = script
            .input("THAW_DISK", frozen.disk.as_str())
            .input("THAW_ARGV", words.argv.join("\n"))
            .input("THAW_LOAD", words.load);
    }
    Ok(script
        .input("UNPAUSE", words.unpause)
        .input("MASTER", ssh::master(&spec.name).join("\n"))
        .input("NAME", spec.name.as_str())
        .input("IMAGE", spec.image_id.as_str())
        .input("DISK_BYTES", spec.disk_bytes.bytes().to_string())
        .input("AS", format!("{} {accelerator}", vmm.kind.word()))
        .input("BOOT_SECONDS", BOOT_SECONDS.to_string())
        .input("VMM_CONFIG", launch.config.clone().unwrap_or_default())
        .input("MEMORY_MIB", spec.memory_mib.mib().to_string())
        .input("HALT_WATCH", if launch.watch_halt { "yes" } else { "no" })
        .input("CELL", include_str!("../../resources/scripts/cell/cell.sh"))
        .input("INSIDE", include_str!("../../resources/scripts/cell/inside.sh"))
        .input("RESOLVE", include_str!("../../resources/scripts/cell/resolver.sh"))
        .input("SHUT", include_str!("../../resources/scripts/cell/shut.pl"))
        .input("NAMES", include_str!("../../resources/scripts/cell/names.pl"))
        .input("RULES", network::rules(&spec.net)?)
        .input("RESOLVER", network::resolver(&spec.net).unwrap_or_default())
        .input("FORWARD", FORWARD)
        .input("IDLE", spec.idle.map_or(0, Idle::seconds).to_string())
        .input("PORTS", publish::lines(&spec.ports, door))
        .input("DNS", network::DNS.to_string())
        .input("UPSTREAM", network::UPSTREAM.to_string())
        .input("MTU", network::MTU.to_string())
        .input("TAP", network::TAP)
        .input("HOST_CIDR", network::HOST_CIDR)
        .input("HOST_MAC", network::HOST_MAC)
        .input("GUEST_IP", network::GUEST.to_string())
        .input("GUEST_MAC", network::GUEST_MAC)
        .args(&launch.argv)
        .payload([spec.lines(before)?, seed].concat()))
}

/// With what a machine's start needs that is suspended when nobody uses it; `spec` is what it runs with.
#[must_use]
pub fn with_idle(start: Script<Started>, spec: &Spec, kind: Kind, host: &HostFacts) -> Script<Started> {
    start.input("SUSPEND", suspend(spec, kind, host).line())
}

fn read_started(answer: &Answer) -> Result<Started, AnswerError> {
    let text = |key| answer.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
    if answer.text("STALE").is_some() {
        return Ok(Started::Stale);
    }
    Ok(match text("TROUBLE").as_deref() {
        None => Started::Ready {
            pid: answer.get("PID")?,
            newly: answer.text("STARTED") == Some("yes"),
            ports: publish::read(answer, "PORT"),
            resumed: answer.text("RESUMED") == Some("yes"),
            greeted: answer.text("GREETED") != Some("no"),
            first: answer.text("FIRST") == Some("yes"),
            lost: text("LOST"),
        },
        Some(_) => Started::Failed(Trouble {
            exit: text("EXIT"),
            init: text("INIT"),
            panic: text("PANIC"),
            vmm_log: text("VMM_LOG").unwrap_or_default(),
            console: answer.all("CONSOLE").map(str::to_owned).collect(),
        }),
    })
}

/// What a leash says when its machine is gone. It has something left to do then, which need not be waited for.
pub const GONE: &str = "GONE=yes";

/// What removes the machine when its standard input ends.
pub fn leash(name: &MachineName, made_by: &str) -> anyhow::Result<Script<()>> {
    let script = script!("microvm/leash" with ["cell/lib", "microvm/lib"], |_| Ok(()));
    let script = script.input("NAME", name.as_str()).input("MADE_BY", made_by);
    // A fork's machines leave nothing for a next one.
    Ok(if made_by.is_empty() { script.payload(NewKeys::make(ANY)?.line()) } else { script })
}

/// Which of the machines are suspended.
pub fn suspended<'a>(names: impl IntoIterator<Item = &'a MachineName>) -> Script<Vec<String>> {
    let read = |answer: &Answer| Ok(answer.all("SUSPENDED").map(str::to_owned).collect());
    script!("microvm/awake" with ["cell/lib"], read).args(names.into_iter().map(MachineName::as_str))
}

/// How a suspension went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// What the memory takes on the host, in bytes.
    pub bytes: u64,
    /// How long the guest stood still while its memory was written, in milliseconds.
    pub paused: u64,
    /// All in all, in milliseconds.
    pub took: u64,
    /// Whether the guest wrote out its files before.
    pub synced: bool,
}

/// Writes the machine's memory to its folder, and ends its processes.
pub fn suspend(spec: &Spec, kind: Kind, host: &HostFacts) -> Script<Suspended> {
    let script =
        script!("microvm/suspend" with ["cell/lib", "microvm/lib", "vmm/lib", "vmm/freeze"], read_suspended);
    freezing(script, spec, kind, host)
}

/// With what a script needs that writes the memory of a machine that runs. `spec` is what it runs with.
pub(super) fn freezing<T>(script: Script<T>, spec: &Spec, kind: Kind, host: &HostFacts) -> Script<T> {
    let words = memory::words(kind, memory::program(kind, host), spec.name.as_str());
    script
        .input("NAME", spec.name.as_str())
        .input("VMM", kind.word())
        .input("MEMORY_BYTES", spec.memory_mib.bytes().to_string())
        .input("PAUSE", words.pause)
        .input("UNPAUSE", words.unpause)
        .input("SAVE", words.save)
        .input("SAVE_CHANGES", words.save_changes)
        .input("META", Frozen::facts(host))
        .args(syncing(&host.home, &spec.name))
}

/// What has a machine write out its files, run in its cell.
pub(super) fn syncing(home: &str, name: &MachineName) -> Vec<String> {
    let words = ["ssh".to_owned()].into_iter().chain(ssh::options(home, name, "root"));
    words.chain([ssh::host_alias(name), "sync".to_owned()]).collect()
}

fn read_suspended(answer: &Answer) -> Result<Suspended, AnswerError> {
    Ok(Suspended {
        bytes: answer.get("BYTES")?,
        paused: answer.get("PAUSED")?,
        took: answer.get("TOOK")?,
        synced: answer.text("SYNCED") == Some("yes"),
    })
}

/// Stops the machine: cleanly within `seconds`, else by force; with 0, by force at once.
pub fn stop(name: &MachineName, home: &str, seconds: u32) -> Script<Stopped> {
    // A restart ends the VMM as well (none starts a guest again), and Firecracker knows no power-off. INT is to systemd what Ctrl-Alt-Del
    // is: the orderly restart, without a program that asks for it, D-Bus and logind in between, which is a quarter of a stop in
    // emulation. In the first seconds there is no systemd to ask yet; `systemctl reboot` then says that it was done, and nothing comes
    // of it: it is asked only where D-Bus is up, of a systemd without that socket.
    let line = "if test -S /run/systemd/private; then kill -INT 1; elif test -e /run/mvm/own-init; then kill -TERM 1; \
                elif test -S /run/dbus/system_bus_socket && systemctl reboot 2>/dev/null; then :; \
                else sync; /run/mvm/busybox reboot -f || reboot -f; fi";
    let ask = ssh::options(home, name, "root").into_iter().chain([ssh::host_alias(name), line.to_owned()]);
    script!("microvm/stop" with ["cell/lib", "microvm/lib"], read_stopped)
        .input("NAME", name.as_str())
        .input("SECONDS_TO_WAIT", seconds.to_string())
        .args(["ssh"])
        .args(ask)
}

fn read_stopped(answer: &Answer) -> Result<Stopped, AnswerError> {
    Ok(Stopped {
        how: match answer.text("HOW") {
            Some("none") => How::WasNotRunning,
            Some("clean") => How::Clean,
            Some("discarded") => How::Discarded,
            _ => How::Forced,
        },
        seconds: answer.get::<f64>("TOOK")? / 100.0,
        console: answer.all("CONSOLE").map(str::to_owned).collect(),
    })
}

/// Removes machines; the answer is what that freed, in bytes.
pub fn destroy(names: &[MachineName]) -> Script<u64> {
    destroy_script(names, false)
}

/// Removes machines, images and everything else in MVM_HOME; the answer is what that freed, in bytes.
pub fn destroy_all(names: &[MachineName]) -> Script<u64> {
    destroy_script(names, true)
}

fn destroy_script(names: &[MachineName], all: bool) -> Script<u64> {
    script!("microvm/destroy" with ["cell/lib"], |answer| answer.get("FREED"))
        .input("ALL", if all { "yes" } else { "no" })
        .args(names.iter().map(MachineName::as_str))
}
