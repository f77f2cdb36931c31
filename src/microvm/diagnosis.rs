//! How a machine fares, and why: the likely cause of what it does, and the command that mends it.

use super::observed::{ImageState, Machine, Observed, Running, State};
use super::spec::Spec;
use super::timeline::read_phases;
use crate::script;
use crate::shell::{Answer, AnswerError, Script};
use crate::vmm::Vmm;
use crate::{doctor, ui};

/// What a machine left behind, and what its processes do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Remains {
    /// Seconds since the guest's start, and what was reached then.
    pub phases: Vec<(f64, String)>,
    /// What mvm's init said when it failed.
    pub init: Option<String>,
    pub panic: Option<String>,
    /// What the guest's kernel said when it ended a process for want of memory.
    pub oom: Option<String>,
    /// The last lines of each.
    pub vmm: Vec<String>,
    pub events: Vec<String>,
    pub console: Vec<String>,
    /// The VMM's process, where it runs: the letter that `ps` shows, and the seconds of CPU it had.
    pub process: Option<(char, f64)>,
    /// Of the last minute.
    pub load: f64,
    /// What the host can give to programs, in bytes.
    pub available_bytes: u64,
}

/// Reads it.
pub fn why(name: &super::MachineName) -> Script<Remains> {
    script!("microvm/why" with ["cell/lib", "microvm/lib"], read).input("NAME", name.as_str())
}

fn read(answer: &Answer) -> Result<Remains, AnswerError> {
    let text = |key| answer.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let all = |key| answer.all(key).map(str::to_owned).collect();
    let state = answer.text("VMM_STATE").and_then(|text| text.chars().next());
    let ticks: Option<f64> = answer.optional("VMM_TICKS")?;
    Ok(Remains {
        phases: read_phases(answer),
        init: text("INIT").map(|text| text.trim_start_matches("mvm: failed: ").to_owned()),
        panic: text("PANIC"),
        oom: text("OOM"),
        vmm: all("VMM_LOG"),
        events: all("EVENT"),
        console: all("CONSOLE"),
        process: state.zip(ticks.map(|ticks| ticks / 100.0)),
        load: answer.get("LOAD")?,
        available_bytes: answer.optional::<u64>("AVAILABLE_KIB")?.unwrap_or(0).saturating_mul(1024),
    })
}

/// The likely cause, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    pub cause: String,
    pub remedy: String,
}

/// What the guest's init says it has reached, in order, and what comes after each.
const PHASES: [(&str, &str); 6] = [
    ("kernel", "its disks"),
    ("disks", "its root file system"),
    ("root", "its network"),
    ("network", "its SSH server"),
    ("sshd", "the first login"),
    ("init", "the image's own services"),
];

/// Where the guest stands, in words; nothing where it is up, or does not run.
pub fn stands(machine: &Machine, remains: &Remains) -> Option<String> {
    let State::Booting(Running { uptime, .. }) = machine.state else { return None };
    let waiting = match remains.phases.last() {
        None => "the kernel has said nothing yet".to_owned(),
        Some((_, reached)) => {
            let next = PHASES.iter().find(|(phase, _)| phase == reached);
            let next = next.map_or(String::new(), |(_, next)| format!(", {next} to come"));
            format!("`{reached}` is reached{next}")
        }
    };
    Some(format!("{waiting}; {} since its start", ui::duration(uptime)))
}

/// What is certain comes first.
pub fn diagnose(observed: &Observed, machine: &Machine, remains: &Remains) -> Diagnosis {
    let name = &machine.name;
    let dev = format!("mvm dev {name}");
    let of = |cause: &str, remedy: &str| Diagnosis { cause: cause.to_owned(), remedy: remedy.to_owned() };
    let spec = match &machine.spec {
        Ok(spec) => spec,
        Err(why) => return of(why, &format!("mend the file, or `mvm destroy {name}`")),
    };
    if let Some((running, 'T' | 't')) = machine.state.running().zip(remains.process.map(|(state, _)| state)) {
        let pid = running.pid;
        return of(
            "its VMM's process is stopped, by a signal or a debugger",
            &format!("kill -CONT {pid}; or {dev}, which starts the machine anew"),
        );
    }
    if let Some(why) = &remains.init {
        return of(why, &format!("{dev}, after what it says"));
    }
    if let Some(panic) = &remains.panic {
        return of(panic, &format!("{dev} --memory 2G, or another `--kernel`"));
    }
    if let Some(killed) = &remains.oom {
        return of(
            &format!("the guest has too little memory: {killed}"),
            &format!("mvm stop {name} && {dev} --memory 2G"),
        );
    }
    match &machine.state {
        State::Suspended(frozen) => match frozen.fits(&observed.host) {
            Ok(_) => of("it is suspended: its memory waits on the disk", &format!("mvm resume {name}")),
            Err(why) => {
                of(&format!("it cannot go on from its memory: {why}"), &format!("{dev}, from its disk"))
            }
        },
        State::Running(_) => of("it answers", &format!("mvm ssh {name}")),
        State::Booting(running) => booting(observed, running, remains, &dev, &format!("mvm console {name}")),
        State::Stuck(running) => {
            let busy = is_busy(running, remains);
            let what = if busy { "is busy beyond measure" } else { "hangs" };
            let cause = match remains.process {
                Some(('D', _)) => "the host's kernel holds its VMM: a disk of the host hangs".to_owned(),
                _ => format!("the guest's kernel takes no connection: it {what}"),
            };
            of(&cause, &format!("mvm console {name}, to see; {dev}, to start it anew"))
        }
        State::Stopped(how) => stopped(observed, spec, how.as_deref(), remains, &dev),
    }
}

/// Whether the VMM has had a CPU most of the time.
fn is_busy(running: &Running, remains: &Remains) -> bool {
    let seconds = f64::from(u32::try_from(running.uptime).unwrap_or(u32::MAX));
    remains.process.is_some_and(|(_, cpu)| cpu > seconds / 2.0)
}

fn booting(observed: &Observed, running: &Running, remains: &Remains, dev: &str, console: &str) -> Diagnosis {
    let host = &observed.host;
    let (cause, remedy) = if remains.load > f64::from(host.cpus) * 2.0 {
        (
            format!("it boots, on a host that is busy: a load of {:.1} on {} CPUs", remains.load, host.cpus),
            format!("{dev}, which waits for it"),
        )
    } else if running.uptime > 60 && !is_busy(running, remains) {
        (
            "it does nothing, so it will not come up".to_owned(),
            format!("{console}, to see; {dev} starts it anew"),
        )
    } else {
        ("it boots".to_owned(), format!("{dev}, which waits for it"))
    };
    Diagnosis { cause, remedy }
}

/// What kept one from starting, or how it ended.
fn stopped(observed: &Observed, spec: &Spec, how: Option<&str>, remains: &Remains, dev: &str) -> Diagnosis {
    let host = &observed.host;
    let of = |cause: String, remedy: &str| Diagnosis { cause, remedy: remedy.to_owned() };
    match observed.image_by_id(&spec.image_id) {
        Some(ImageState::Usable(_)) => {}
        Some(ImageState::Broken(_, why)) => {
            return of(
                format!("the image it was made from, {}, is broken: {why}", spec.image),
                "mvm image ls",
            );
        }
        None => return of(format!("the image it was made from, {}, is gone", spec.image), "mvm image ls"),
    }
    let tasks = doctor::tasks(host, spec.net.resolves());
    if !tasks.is_empty() {
        let what: Vec<_> = tasks.iter().map(crate::bootstrap::Task::describe).collect();
        return of(format!("this host is not set up: it remains to {}", what.join("; ")), "mvm setup");
    }
    if let Err(error) = Vmm::choose(spec.vmm, host) {
        return of(error.source.to_string(), error.hints.first().map_or("mvm doctor", String::as_str));
    }
    if host.free_bytes < 64 << 20 {
        return of(
            format!("the host's disk is full: {} are left in {}", ui::size(host.free_bytes), host.home),
            "make room there",
        );
    }
    let last = remains.vmm.last().map_or(String::new(), |line| format!(": {line}"));
    match how {
        None if remains.phases.is_empty() => {
            of("it was not started yet, or its VMM said nothing".to_owned(), dev)
        }
        None | Some("clean") => of("it was stopped in an orderly way".to_owned(), dev),
        Some("ended by mvm") => of("it was ended by force, as asked for".to_owned(), dev),
        Some("killed by SIGKILL") => of(
            format!(
                "it ended: its VMM was killed, by someone or by the host's kernel for want of memory ({} are available now, it \
                 was given {})",
                ui::size(remains.available_bytes),
                spec.memory_mib
            ),
            dev,
        ),
        Some(how) if how.starts_with("exit code") => of(
            format!("it ended: its VMM failed ({how}){last}"),
            &format!("mvm logs {} --vmm; then {dev}", spec.name),
        ),
        Some(how) => of(format!("it ended: {how}"), dev),
    }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
