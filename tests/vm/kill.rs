//! Whatever is killed, and whenever: the next command converges, and nothing is left behind.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::host::{Host, Who, any_host, host, kill, lives, wait_until};

/// The machine's processes, by PID.
fn processes(host: &Host, machine: &str) -> Vec<u32> {
    let mut pids = vec![host.pid(machine, "cell"), host.pid(machine, "vmm")];
    pids.extend(host.pasta(machine));
    pids
}

fn a_killed_part_ends_the_cell(who: Who) {
    let Some(host) = host(who) else { return };
    host.forget("killed");
    for (part, ended) in [("cell", "its supervisor was killed"), ("vmm", "killed by SIGKILL")] {
        host.ok(&["start", "killed", "-d"]);
        host.inside("killed", "echo survives > /root/file; sync");
        wait_until("pasta", || host.pasta("killed").is_some());
        let pids = processes(&host, "killed");
        kill("KILL", host.pid("killed", part));
        for pid in pids {
            wait_until("the end of the cell's processes", || !lives(pid));
        }
        let status = host.status("killed");
        assert_eq!((&status["state"], &status["ended"]), (&"stopped".into(), &ended.into()), "{part}");
        let seen = host.ok(&["dev", "killed", "--", "cat", "/root/file"]);
        assert_eq!(seen.stdout, "survives\n", "{part}: {seen}");
        host.ok(&["stop", "killed", "--timeout", "60"]);
    }
    host.ok(&["destroy", "killed", "--yes"]);
}

#[test]
fn a_killed_part_ends_the_cell_as_root() {
    a_killed_part_ends_the_cell(Who::Root);
}

#[test]
fn a_killed_part_ends_the_cell_as_an_ordinary_user() {
    a_killed_part_ends_the_cell(Who::User);
}

/// Starts `mvm dev` and kills it, with the scripts it runs, when its `step`-th step begins. Whether there was such a step.
fn killed_at(host: &Host, machine: &str, step: usize) -> bool {
    let mut command = host.mvm_command(&["dev", machine, "--", "true"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begins = lines.map_while(Result::ok).filter(|line| line.starts_with("==> ")).nth(step);
    // The reader is gone with it: a script that goes on has nobody to tell.
    child.kill().unwrap();
    child.wait().unwrap();
    begins.is_some()
}

#[test]
fn mvm_killed_at_each_step_is_taken_up_by_the_next() {
    let host = any_host();
    for step in 0.. {
        host.forget("cut");
        let was_cut = killed_at(&host, "cut", step);
        let seen = host.ok(&["dev", "cut", "--", "echo", "here"]);
        assert_eq!(seen.stdout, "here\n", "{seen}");
        host.ok(&["destroy", "cut", "--yes"]);
        assert!(!host.machine("cut").exists() && !host.machine(".cut.new").exists());
        if !was_cut {
            assert!(step >= 2, "creating and starting are steps");
            break;
        }
    }
}

#[test]
fn an_interrupted_start_goes_on_from_there() {
    let host = any_host();
    host.forget("ctrlc");
    let mut child = host.mvm_command(&["dev", "ctrlc", "--", "true"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("==> Starting")).unwrap();
    kill("INT", child.id());
    let rest: Vec<_> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
    let seen = host.ok(&["dev", "ctrlc", "--", "echo", "here"]);
    assert_eq!(seen.stdout, "here\n", "{seen}");
    host.ok(&["destroy", "ctrlc", "--yes"]);
}
