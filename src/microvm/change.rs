//! Changing a machine that is there: what it is to have, its name, its disk.

use std::ffi::OsString;

use super::asked::{Changes, changed, differences};
use super::observed::{Machine, Observed, State};
use super::plan::{check_against_host, readable_spec};
use super::spec::{MachineName, Spec};
use super::ssh;
use crate::error::{Error, Result};
use crate::script;
use crate::shell::Script;
use crate::vmm::{Kind, memory};

/// What a machine is to have from its next start on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub spec: Spec,
    /// What is new, a line each.
    pub lines: Vec<String>,
}

/// The change that `changes` are to `machine`; nothing when it is so already.
pub fn set(observed: &Observed, machine: &Machine, changes: &Changes) -> Result<Option<Change>> {
    let (spec, lines) = changed(readable_spec(machine)?, changes)?;
    check_against_host(observed, &spec)?;
    Ok((!lines.is_empty()).then_some(Change { spec, lines }))
}

/// What a machine that runs will have at its next start only, a line each.
pub fn at_next_start(machine: &Machine) -> Vec<String> {
    let (Some(runs), Ok(spec)) = (&machine.started_with, &machine.spec) else { return Vec::new() };
    let changes = Changes {
        cpus: Some(spec.cpus),
        memory: Some(spec.memory_mib),
        disk: Some(spec.disk_bytes),
        vmm: Some(spec.vmm),
        user: spec.user.clone().or_else(|| "root".parse().ok()),
        idle: spec.idle.or_else(|| "off".parse().ok()),
        ..Changes::default()
    };
    differences(runs, &changes)
}

/// What `machine` is under its new name; nothing where its vm.json cannot be read, which is no reason to refuse.
pub fn rename(observed: &Observed, machine: &Machine, new: &MachineName) -> Result<Option<Spec>> {
    let old = &machine.name;
    if old == new {
        return Err(Error::usage(format!("the machine is called `{old}` already")).hint("give another name"));
    }
    if observed.machine(new).is_some() {
        return Err(Error::failure(format!("there is a machine `{new}` already"))
            .hint(format!("take another name, or remove that one and its disk first: `mvm destroy {new}`")));
    }
    if machine.state.running().is_some() {
        return Err(Error::failure(format!(
            "the machine `{old}` runs, and keeps its name as long as it does"
        ))
        .hint(format!("`mvm stop {old} && mvm rename {old} {new}`")));
    }
    if machine.state.suspended().is_some() {
        return Err(Error::failure(format!(
            "the machine `{old}` is suspended, and its memory knows that name"
        ))
        .hint(format!("`mvm resume {old} && mvm stop {old} && mvm rename {old} {new}`")));
    }
    Ok(machine.spec.clone().ok().map(|spec| Spec { name: new.clone(), ..spec }))
}

/// Writes down a change, only where the machine still is as `before` says. The answer is whether it was written.
pub fn write_change(before: Option<&Spec>, change: &Change) -> serde_json::Result<Script<bool>> {
    Ok(script!("microvm/set" with ["cell/lib", "microvm/lib"], |answer| Ok(answer.text("STALE").is_none()))
        .input("NAME", change.spec.name.as_str())
        .input("CHANGES", change.lines.join(", "))
        .payload(change.spec.lines(before)?))
}

/// Whether the disk of `machine` can grow now: it runs, and is to have more than it runs with.
pub fn grows_now(machine: &Machine, change: &Change) -> Option<Kind> {
    let State::Running(running) = &machine.state else { return None };
    let has = machine.started_as()?.disk_bytes;
    if change.spec.disk_bytes > has { Kind::read(&running.vmm) } else { None }
}

/// Grows the disk of a machine that runs; the answer is why it could not be, if it could not.
pub fn grow(spec: &Spec, kind: Kind, home: &str) -> Script<Option<String>> {
    // The guest hears of it in its own time.
    const GROW: &str = "while [ \"$(($(cat /sys/block/vdb/size) * 512))\" -lt \"$1\" ]; do sleep 0.1; done; \
                        if [ -d /run/mvm/tools ]; then exec /run/mvm/tool usr/sbin/resize2fs /dev/vdb; fi; \
                        exec resize2fs /dev/vdb";
    let bytes = spec.disk_bytes.bytes();
    let words = ["/run/mvm/busybox", "sh", "-c", GROW, "grow", &bytes.to_string()].map(OsString::from);
    script!("microvm/grow" with ["cell/lib", "microvm/lib", "vmm/lib"], |answer| {
        match answer.text("GROWN") {
            Some(_) => Ok(None),
            None => answer.get("FAULT").map(Some),
        }
    })
    .input("NAME", spec.name.as_str())
    .input("VMM", kind.word())
    .input("GROW", memory::grow(kind, bytes))
    .input("DISK_BYTES", bytes.to_string())
    .args(["ssh"])
    .args(ssh::options(home, &spec.name, "root"))
    .args([OsString::from(ssh::host_alias(&spec.name)), ssh::quoted(&words)])
}

/// Gives the machine `old` its new name.
pub fn move_to(old: &MachineName, new: &MachineName, spec: Option<&Spec>) -> serde_json::Result<Script<()>> {
    Ok(script!("microvm/rename" with ["cell/lib", "microvm/lib"], |_| Ok(()))
        .input("NAME", old.as_str())
        .input("NEW_NAME", new.as_str())
        .payload(spec.map_or(Ok(Vec::new()), Spec::line)?))
}

/// Gives a machine a new, empty disk; the answer is what that freed, in bytes.
pub fn reset(spec: &Spec) -> Script<u64> {
    script!("microvm/reset" with ["cell/lib", "microvm/lib"], |answer| answer.get("FREED"))
        .input("NAME", spec.name.as_str())
        .input("DISK_BYTES", spec.disk_bytes.bytes().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::microvm::{DiskSize, Memory, Running, sample_machine};

    fn observed(state: State, spec: std::result::Result<(), &str>) -> Observed {
        let mut machine = sample_machine(state);
        if let Err(why) = spec {
            machine.spec = Err(why.to_owned());
        }
        let mut observed = Observed::default();
        observed.host.memory_mib = 8192;
        observed.machines = vec![machine];
        observed
    }

    fn running() -> State {
        State::Running(Running { pid: 7, uptime: 1, vmm: "qemu".into(), accelerated: false })
    }

    #[test]
    fn what_is_set() {
        let cpus = Changes { cpus: Some(4), ..Changes::default() };
        let more = Changes {
            memory: Some(Memory::from_mib(2048)),
            disk: Some(DiskSize::from_bytes(20 << 30)),
            ..Changes::default()
        };
        let same = Changes { cpus: Some(2), ..Changes::default() };
        for state in [State::Stopped(None), running()] {
            let observed = observed(state, Ok(()));
            let lines = |changes: &Changes| {
                set(&observed, &observed.machines[0], changes).unwrap().map(|change| change.lines)
            };
            assert_eq!(lines(&cpus), Some(vec!["cpus: 2 → 4".to_owned()]));
            assert_eq!(
                lines(&more),
                Some(vec!["memory: 512 MiB → 2 GiB".to_owned(), "disk: 10 GiB → 20 GiB".to_owned()])
            );
            assert_eq!(lines(&same), None);
        }
    }

    #[test]
    fn a_disk_grows_at_once_where_the_machine_answers() {
        let grown = |state, bytes: u64| {
            let observed = observed(state, Ok(()));
            let changes = Changes { disk: Some(DiskSize::from_bytes(bytes)), ..Changes::default() };
            let change = set(&observed, &observed.machines[0], &changes).unwrap();
            change.is_some_and(|change| grows_now(&observed.machines[0], &change).is_some())
        };
        let State::Running(cell) = running() else { panic!() };
        for (state, bytes, now) in [
            (running(), 20 << 30, true),
            (running(), 10 << 30, false),
            (State::Stopped(None), 20 << 30, false),
            (State::Booting(cell.clone()), 20 << 30, false),
            (State::Stuck(cell), 20 << 30, false),
        ] {
            assert_eq!(grown(state.clone(), bytes), now, "{state:?}");
        }
    }

    #[test]
    fn what_it_runs_with_is_told_from_what_it_will_have() {
        let mut machine = sample_machine(running());
        assert_eq!(at_next_start(&machine), [""; 0]);
        machine.started_with = machine.spec.clone().ok();
        assert_eq!(at_next_start(&machine), [""; 0]);
        let spec = machine.spec.as_mut().unwrap();
        spec.cpus = 4;
        spec.user = Some("me".parse().unwrap());
        assert_eq!(at_next_start(&machine), ["cpus: 2 → 4", "user: root → me"]);
    }

    #[test]
    fn what_cannot_be_set() {
        let smaller = Changes { disk: Some(DiskSize::from_bytes(1 << 30)), ..Changes::default() };
        let huge = Changes { memory: Some(Memory::from_mib(9000)), ..Changes::default() };
        for (changes, spec, kind) in [
            (&smaller, Ok(()), Kind::Usage),
            (&huge, Ok(()), Kind::Usage),
            (&huge, Err("cut"), Kind::Failure),
        ] {
            let observed = observed(State::Stopped(None), spec);
            let error = set(&observed, &observed.machines[0], changes).unwrap_err();
            assert!(error.kind == kind && !error.hints.is_empty(), "{error:?}");
        }
    }

    #[test]
    fn who_may_be_renamed() {
        for (state, spec, new, expected) in [
            (State::Stopped(None), Ok(()), "shop", "shop"),
            (State::Stopped(Some("killed by SIGKILL".into())), Ok(()), "shop", "shop"),
            // One that is broken can be moved out of the way.
            (State::Stopped(None), Err("vm.json cannot be read"), "shop", "as it is"),
            (State::Stopped(None), Ok(()), "web", "refused: the machine is called `web` already"),
            (
                running(),
                Ok(()),
                "shop",
                "refused: the machine `web` runs, and keeps its name as long as it does",
            ),
        ] {
            let observed = observed(state, spec);
            let done = match rename(&observed, &observed.machines[0], &new.parse().unwrap()) {
                Ok(spec) => spec.map_or("as it is".to_owned(), |spec| spec.name.to_string()),
                Err(error) => format!("refused: {}", error.source),
            };
            assert_eq!(done, expected);
        }
        let mut observed = observed(State::Stopped(None), Ok(()));
        let other = Machine { name: "shop".parse().unwrap(), ..observed.machines[0].clone() };
        observed.machines.push(other);
        assert!(rename(&observed, &observed.machines[0], &"shop".parse().unwrap()).is_err());
    }
}
