//! What befalls a Lima VM, and how `dev` gets out of it.

use crate::common::process::{kill, lives, wait_until};
use crate::host::{Lima, instance, lima};

/// The VM is up again, with another host agent, and machines run in it.
fn dev_mends(lima: &Lima, agent: u32) {
    let seen = lima.ok(&["dev", "box", "--", "echo mended"]);
    assert_eq!(seen.stdout, "mended\n", "{seen}");
    assert_ne!(lima.pid("ha"), agent);
    assert_eq!(lima.status()["lima"]["status"], "running");
    lima.ok(&["destroy", "box", "--yes"]);
}

/// Ready for a fault: the host agent's PID.
fn agent(lima: &Lima) -> u32 {
    lima.ok(&["setup", "--yes"]);
    lima.pid("ha")
}

fn end(signal: &str, pid: u32) {
    kill(signal, pid);
    wait_until("the end of a process", || !lives(pid));
}

#[test]
fn a_killed_host_agent_is_repaired() {
    let Some(lima) = lima() else { return };
    let agent = agent(&lima);
    end("KILL", agent);
    let status = lima.status();
    assert_eq!(status["lima"]["status"], "broken", "{status:#}");
    assert!(status["lima"]["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{status:#}");
    dev_mends(&lima, agent);
}

#[test]
fn a_killed_qemu_is_started_again() {
    let Some(lima) = lima() else { return };
    let agent = agent(&lima);
    end("KILL", lima.pid("qemu"));
    dev_mends(&lima, agent);
}

#[test]
fn a_vm_stopped_behind_mvms_back_is_started() {
    let Some(lima) = lima() else { return };
    let agent = agent(&lima);
    let stopped = lima.limactl(&["stop", "mvm"]);
    assert_eq!(stopped.code, 0, "{stopped}");
    assert_eq!(lima.status()["lima"]["status"], "stopped");
    let seen = lima.mvm(&["ssh", "box", "--", "true"]);
    assert!(seen.code == 4 && seen.stderr.contains("mvm start"), "{seen}");
    dev_mends(&lima, agent);
}

#[test]
fn a_lost_file_is_written_again() {
    let Some(lima) = lima() else { return };
    let agent = agent(&lima);
    lima.ok(&["dev", "box", "--", "echo kept > /root/file; sync"]);
    lima.ok(&["stop", "box"]);
    assert_eq!(lima.limactl(&["stop", "mvm"]).code, 0);
    fs_err::remove_file(instance().join("lima.yaml")).unwrap();
    let seen = lima.ok(&["dev", "box", "--", "cat /root/file"]);
    assert_eq!(seen.stdout, "kept\n", "{seen}");
    dev_mends(&lima, agent);
}

/// As after a host's sleep: the processes live, and the connection answers nothing.
#[test]
fn a_vm_that_does_not_answer_is_started_again() {
    let Some(lima) = lima() else { return };
    let agent = agent(&lima);
    kill("STOP", lima.pid("qemu"));
    dev_mends(&lima, agent);
}

/// As after a host's sleep: the VM's clock stood still.
#[test]
fn a_clock_that_stood_still_is_set() {
    let Some(lima) = lima() else { return };
    agent(&lima);
    lima.ok(&["dev", "box", "--", "true"]);
    lima.ok(&["shell", "--", "sudo date -s '2 hours ago'"]);
    lima.ok(&["ssh", "box", "--", "date -s '2 hours ago'"]);
    let seen = lima.ok(&["dev", "box", "--", "date +%s"]);
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(seen.stderr.contains("clock is set"), "{seen}");
    assert!(now() - seen.stdout.trim().parse::<u64>().unwrap() < 3_000, "{seen}");
    lima.ok(&["destroy", "box", "--yes"]);
}

/// A command that waits at one of its steps in the VM (src/checkpoint.rs), until that is done away with.
fn waits_at(lima: &Lima, args: &[&str], place: &str) -> std::process::Child {
    lima.ok(&["shell", "--", "rm -f /tmp/reached /tmp/reached.passed"]);
    let mut command = lima.mvm_command(args);
    command.env("MVM_CHECKPOINT", format!("{place}=/tmp/reached"));
    let mvm =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until(place, || lima.mvm(&["shell", "--", "test -e /tmp/reached"]).code == 0);
    mvm
}

/// The host agent is killed in the midst of a command: `dev` mends it, and what was fsynced is there.
#[test]
fn a_command_whose_vm_goes_away_is_taken_up_by_the_next() {
    let Some(lima) = lima() else { return };
    agent(&lima);
    lima.ok(&["dev", "box", "--", "echo kept > /root/file; sync"]);
    // One place of the matrix: the VM's next start takes minutes in emulation.
    let mut mvm = waits_at(&lima, &["stop", "box"], "stop.asked");
    end("KILL", lima.pid("ha"));
    mvm.kill().unwrap();
    mvm.wait().unwrap();
    for args in [&["status"][..], &["status", "--json"]] {
        lima.ok(args);
    }
    let seen = lima.ok(&["dev", "box", "--", "cat /root/file"]);
    assert_eq!(seen.stdout, "kept\n", "{seen}");
    lima.ok(&["destroy", "box", "--yes"]);
    let left = lima.ok(&["shell", "--", "ls -A ~/.local/share/mvm/machines"]).stdout;
    assert_eq!(left, "");
}
