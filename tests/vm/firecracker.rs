//! The real Firecracker, where there is one (`MVM_TEST_FIRECRACKER` names it) and KVM to run it with.

use std::path::PathBuf;

use crate::common::{skipped, which};
use crate::host::{Host, Who, host, wait_until};

fn firecracker() -> Option<PathBuf> {
    let named = std::env::var_os("MVM_TEST_FIRECRACKER").map(PathBuf::from);
    named.or_else(|| which("firecracker"))
}

/// The host with Firecracker on PATH, if both are there.
fn with_firecracker(who: Who) -> Option<(Host, PathBuf)> {
    let Some(program) = firecracker() else {
        skipped("Firecracker's tests: there is none on PATH and MVM_TEST_FIRECRACKER names none");
        return None;
    };
    let host = host(who)?;
    let status: serde_json::Value = serde_json::from_str(&host.ok(&["status", "--json"]).stdout).unwrap();
    if status["vmm"]["kvm"] != true {
        skipped(&format!("Firecracker's tests: {}", status["vmm"]["kvm_trouble"]));
        return None;
    }
    Some((host, program))
}

fn the_whole_life_of_a_machine(who: Who) {
    let Some((host, program)) = with_firecracker(who) else {
        return;
    };
    host.forget("fire");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.parent().unwrap().display());
    let mvm = |args: &[&str]| {
        crate::host::Seen::new(args, host.mvm_command(args).env("PATH", &path).output().unwrap())
    };
    let seen = mvm(&[
        "dev",
        "fire",
        "--vmm",
        "firecracker",
        "--memory",
        "512M",
        "--",
        "sh",
        "-c",
        "echo kept > /root/file; exit 42",
    ]);
    assert_eq!(seen.code, 42, "{seen}");
    assert_eq!(host.status("fire")["vmm"], "firecracker");
    let seen = mvm(&["stop", "fire", "--timeout", "120"]);
    assert!(seen.code == 0 && seen.stderr.contains("is stopped"), "{seen}");
    let seen = mvm(&["dev", "fire", "--", "cat", "/root/file"]);
    assert_eq!(seen.stdout, "kept\n", "{seen}");
    // A guest's power-off leaves Firecracker running; mvm ends it.
    assert_ne!(mvm(&["ssh", "fire", "--", "until systemctl poweroff; do sleep 1; done"]).code, 2);
    wait_until("a clean end of Firecracker", || host.status("fire")["ended"] == "clean");
    host.ok(&["destroy", "fire", "--yes"]);
}

#[test]
fn the_whole_life_of_a_machine_as_root() {
    the_whole_life_of_a_machine(Who::Root);
}

#[test]
fn the_whole_life_of_a_machine_as_an_ordinary_user() {
    the_whole_life_of_a_machine(Who::User);
}
