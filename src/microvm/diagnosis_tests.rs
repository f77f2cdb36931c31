//! Each state, and what is said of it.

use super::*;
use crate::image::Image;
use crate::microvm::{Kvm, Program, sample_machine};

fn observed() -> Observed {
    let image = Image { id: "abc".into(), name: "debian".into(), ..Image::default() };
    let mut observed = Observed { images: vec![ImageState::Usable(Box::new(image))], ..Observed::default() };
    let host = &mut observed.host;
    host.arch = "x86_64".into();
    host.cpus = 2;
    host.free_bytes = 1 << 40;
    host.kvm = Kvm::Missing;
    host.tun = crate::microvm::Device::Usable;
    host.tools = doctor::TOOLS.iter().map(|tool| ((*tool).to_owned(), (*tool).to_owned())).collect();
    host.qemu = Some(Program { path: "/usr/bin/qemu".into(), version: "7.2".into() });
    observed
}

fn running(uptime: u64) -> Running {
    Running { pid: 7, uptime, vmm: "qemu".into(), accelerated: false }
}

fn said(observed: &Observed, state: State, remains: &Remains) -> String {
    let Diagnosis { cause, remedy } = diagnose(observed, &sample_machine(state), remains);
    format!("{cause} | {remedy}")
}

#[test]
fn causes_and_remedies() {
    let phases = vec![(1.0, "kernel".to_owned()), (2.0, "disks".to_owned())];
    let none = Remains::default();
    let booted = Remains { phases: phases.clone(), ..Remains::default() };
    let idle = Remains { process: Some(('S', 3.0)), ..booted.clone() };
    let busy = Remains { process: Some(('S', 300.0)), ..booted.clone() };
    let loaded = Remains { load: 9.0, ..booted.clone() };
    let paused = Remains { process: Some(('T', 3.0)), ..booted.clone() };
    let held = Remains { process: Some(('D', 3.0)), ..booted.clone() };
    let panic = Remains { panic: Some("Kernel panic - not syncing".into()), ..booted.clone() };
    let failed = Remains { init: Some("the machine's disk is damaged".into()), ..booted.clone() };
    let vmm = Remains { vmm: vec!["could not open disk.img".into()], ..booted.clone() };
    let ended = |how: &str| State::Stopped(Some(how.to_owned()));
    for (state, remains, expected) in [
        (State::Running(running(9)), &booted, "it answers | mvm ssh web"),
        (State::Booting(running(9)), &booted, "it boots | mvm dev web, which waits"),
        (State::Booting(running(300)), &idle, "it does nothing, so it will not come up | mvm console web"),
        (State::Booting(running(300)), &busy, "it boots | "),
        (State::Booting(running(300)), &loaded, "a load of 9.0 on 2 CPUs | mvm dev web, which waits"),
        (State::Stuck(running(300)), &idle, "it hangs | mvm console web"),
        (State::Stuck(running(300)), &busy, "it is busy beyond measure | "),
        (State::Stuck(running(300)), &paused, "process is stopped, by a signal or a debugger | kill -CONT 7"),
        (State::Stuck(running(300)), &held, "the host's kernel holds its VMM"),
        (State::Stopped(None), &none, "it was not started yet"),
        (State::Stopped(None), &booted, "it was stopped in an orderly way | mvm dev web"),
        (ended("clean"), &booted, "it was stopped in an orderly way"),
        (ended("kernel panic"), &panic, "Kernel panic - not syncing | mvm dev web --memory"),
        (ended("clean"), &failed, "disk is damaged | mvm dev web, after what it says"),
        (ended("killed by SIGKILL"), &booted, "it ended: its VMM was killed"),
        (
            ended("exit code 1"),
            &vmm,
            "it ended: its VMM failed (exit code 1): could not open disk.img | mvm logs web --vmm",
        ),
        (ended("the host was restarted"), &booted, "it ended: the host was restarted | mvm dev web"),
    ] {
        let said = said(&observed(), state.clone(), remains);
        assert!(said.contains(expected), "{state:?}: {said}, not {expected}");
    }
}

#[test]
fn what_keeps_a_stopped_machine_from_starting() {
    let stopped = |change: &dyn Fn(&mut Observed)| {
        let mut observed = observed();
        change(&mut observed);
        said(&observed, State::Stopped(None), &Remains::default())
    };
    for (change, expected) in [
        (
            &(|o: &mut Observed| o.images.clear()) as &dyn Fn(&mut Observed),
            "debian:bookworm, is gone | mvm image ls",
        ),
        (
            &|o| o.images = vec![ImageState::Broken("abc".into(), "cut".into())],
            "is broken: cut | mvm image ls",
        ),
        (&|o| o.host.free_bytes = 1 << 20, "the host's disk is full: 1 MiB are left"),
        (&|o| o.host.tools.clear(), "this host is not set up"),
    ] {
        let said = stopped(change);
        assert!(said.contains(expected), "{said}, not {expected}");
    }
    let mut broken = sample_machine(State::Stopped(None));
    broken.spec = Err("vm.json cannot be read".into());
    assert!(diagnose(&observed(), &broken, &Remains::default()).remedy.contains("mvm destroy web"));
}

#[test]
fn where_it_stands() {
    let phases = vec![(1.0, "kernel".to_owned()), (2.0, "network".to_owned())];
    let remains = Remains { phases, ..Remains::default() };
    let stands = |state, remains: &Remains| stands(&sample_machine(state), remains);
    assert_eq!(
        stands(State::Booting(running(40)), &remains).unwrap(),
        "`network` is reached, its SSH server to come; 40 seconds since its start"
    );
    assert!(stands(State::Booting(running(1)), &Remains::default()).unwrap().contains("said nothing yet"));
    assert_eq!(stands(State::Running(running(40)), &remains), None);
}
