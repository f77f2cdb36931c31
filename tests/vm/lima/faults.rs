//! What befalls a Lima VM, and how `dev` gets out of it.

use std::path::Path;
use std::process::{Child, Stdio};

use super::host::{Lima, instance};
use crate::common::process::{kill, lives, wait_until};
use crate::common::said;

/// The machine that is there through all faults. It is suspended meanwhile: in a VM that is emulated itself a machine's boot takes
/// minutes, and its memory has to outlast them as well.
const MACHINE: &str = "box";

/// Ready for a fault: the host agent's PID.
fn agent(lima: &Lima) -> u32 {
    lima.ok(&["setup", "--yes"]);
    if lima.machine(MACHINE).is_none() {
        lima.ok(&["dev", MACHINE, "--", "echo kept > /root/file; sync"]);
        lima.ok(&["suspend", MACHINE]);
    }
    lima.pid("ha")
}

/// The VM is up again, with another host agent, and the machine goes on in it.
fn dev_mends(lima: &Lima, agent: u32) {
    let seen = lima.ok(&["dev", MACHINE, "--", "cat /root/file"]);
    assert_eq!(seen.stdout, "kept\n", "{seen}");
    assert_ne!(lima.pid("ha"), agent);
    assert_eq!(lima.status()["lima"]["status"], "running");
    lima.ok(&["suspend", MACHINE]);
}

fn end(signal: &str, pid: u32) {
    kill(signal, pid);
    wait_until("the end of a process", || !lives(pid));
}

pub(super) fn a_killed_host_agent_is_repaired(lima: &Lima) {
    let agent = agent(lima);
    end("KILL", agent);
    let status = lima.status();
    assert_eq!(status["lima"]["status"], "broken", "{status:#}");
    assert!(status["lima"]["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{status:#}");
    dev_mends(lima, agent);
}

pub(super) fn a_killed_qemu_is_started_again(lima: &Lima) {
    let agent = agent(lima);
    end("KILL", lima.pid("qemu"));
    dev_mends(lima, agent);
}

pub(super) fn a_vm_stopped_behind_mvms_back_is_started(lima: &Lima) {
    let agent = agent(lima);
    let stopped = lima.limactl(&["stop", "mvm"]);
    assert_eq!(stopped.code, 0, "{stopped}");
    assert_eq!(lima.status()["lima"]["status"], "stopped");
    let seen = lima.mvm(&["ssh", MACHINE, "--", "true"]);
    assert!(seen.code == 4 && seen.stderr.contains("mvm start"), "{seen}");
    dev_mends(lima, agent);
}

pub(super) fn a_lost_file_is_written_again(lima: &Lima) {
    let agent = agent(lima);
    assert_eq!(lima.limactl(&["stop", "mvm"]).code, 0);
    let file = instance().join("lima.yaml");
    fs_err::remove_file(&file).unwrap();
    dev_mends(lima, agent);
    assert!(file.exists());
}

/// As after a host's sleep: the processes live, and the connection answers nothing.
pub(super) fn a_vm_that_does_not_answer_is_started_again(lima: &Lima) {
    let agent = agent(lima);
    kill("STOP", lima.pid("qemu"));
    dev_mends(lima, agent);
}

/// As after a host's sleep: the VM's clock stood still.
pub(super) fn a_clock_that_stood_still_is_set(lima: &Lima) {
    agent(lima);
    lima.ok(&["dev", MACHINE, "--", "true"]);
    lima.ok(&["shell", "--", "sudo date -s '2 hours ago'"]);
    lima.ok(&["ssh", MACHINE, "--", "date -s '2 hours ago'"]);
    let seen = lima.ok(&["dev", MACHINE, "--", "date +%s"]);
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(seen.stderr.contains("clock is set"), "{seen}");
    assert!(now() - seen.stdout.trim().parse::<u64>().unwrap() < 3_000, "{seen}");
    lima.ok(&["suspend", MACHINE]);
}

/// Where both mvm and what it does in the VM can write, each on its own side.
const REACHED: &str = "/tmp/mvm-lima-reached";

/// A command that waits at one of its steps (src/checkpoint.rs) until it is done away with: mvm's own, or one in the VM.
fn waits_at(lima: &Lima, args: &[&str], place: &str) -> Child {
    for file in [REACHED.to_owned(), format!("{REACHED}.passed")] {
        lima.ok(&["shell", "--", "rm", "-f", &file]);
        fs_err::remove_file(file).unwrap_or_default();
    }
    let mut mvm = lima.mvm_command(args);
    mvm.env("MVM_CHECKPOINT", format!("{place}={REACHED}"));
    let mvm = mvm.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(place, || {
        Path::new(REACHED).exists()
            || lima.mvm_command(&["shell", "--", "test", "-e", REACHED]).status().unwrap().success()
    });
    mvm
}

/// mvm is killed when it provisions a VM again, as it does with one that an older mvm has provisioned.
pub(super) fn a_provisioning_that_is_cut_off_is_done_by_the_next(lima: &Lima) {
    lima.ok(&["setup", "--yes"]);
    lima.ok(&["shell", "--", "sudo rm /etc/mvm-provisioned"]);
    let mut mvm = waits_at(lima, &["setup", "--yes"], "sends lima/provision");
    mvm.kill().unwrap();
    mvm.wait().unwrap();
    lima.ok(&["setup", "--yes"]);
    lima.ok(&["shell", "--", "test -e /etc/mvm-provisioned"]);
    fs_err::remove_file(REACHED).unwrap();
}

/// What befalls the VM.
#[derive(Debug, Clone, Copy)]
enum Harm {
    AgentKilled,
    QemuKilled,
    Stopped,
}

/// The rows of the fault matrix (tests/it/matrix) that have to do with Lima: what the machine is before, a command, the place where it is
/// struck. Few, since the VM's next start takes a minute in emulation.
const ROWS: &[(&[&str], &[&str], &str, Harm)] = &[
    (&["start", "-d", MACHINE], &["stop", MACHINE], "stop.asked", Harm::AgentKilled),
    (&["resume", MACHINE], &["suspend", MACHINE], "freeze.paused", Harm::Stopped),
    (&["resume", MACHINE], &["suspend", MACHINE], "suspend.placed", Harm::QemuKilled),
    (&["suspend", MACHINE], &["resume", MACHINE], "start.thawing", Harm::QemuKilled),
    (&["resume", MACHINE], &["snapshot", "create", "box@now"], "snapshot.copied", Harm::AgentKilled),
    (&["suspend", MACHINE], &["destroy", MACHINE, "--yes"], "remove.renamed", Harm::Stopped),
];

/// The VM goes away in the midst of a command: `dev` mends it, and what was fsynced is there.
pub(super) fn a_command_whose_vm_goes_away_is_taken_up_by_the_next(lima: &Lima) {
    for (before, args, place, harm) in ROWS {
        said(&format!("lima: {} at {place}: {harm:?}", args.join(" ")));
        let agent = agent(lima);
        lima.ok(before);
        let mut mvm = waits_at(lima, args, place);
        match harm {
            Harm::AgentKilled => end("KILL", agent),
            Harm::QemuKilled => end("KILL", lima.pid("qemu")),
            Harm::Stopped => assert_eq!(lima.limactl(&["stop", "mvm"]).code, 0),
        }
        mvm.kill().unwrap();
        mvm.wait().unwrap();
        for args in [&["status"][..], &["status", "--json"], &["ls"], &["why", MACHINE]] {
            lima.mvm(args);
        }
        let machines: &[&str] = if args[0] == "destroy" {
            lima.ok(&["setup", "--yes"]);
            &[]
        } else {
            dev_mends(lima, agent);
            &[MACHINE]
        };
        // Nor is anything half-made.
        let names: Vec<_> = lima.status()["machines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|machine| machine["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, machines);
        lima.ok(&["gc", "--yes"]);
        let left = lima.ok(&["shell", "--", "ls -A ~/.local/share/mvm/machines"]).stdout;
        assert_eq!(left.lines().collect::<Vec<_>>(), machines);
    }
}
