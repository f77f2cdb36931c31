//! What one asks of machines all day: which there are, what they said, how they fare.

use crate::host::{any_host, kill, wait_until};

#[test]
fn a_machine_is_listed_heard_and_explained() {
    let host = any_host();
    host.forget("daily");
    host.ok(&["start", "daily", "-d", "--memory", "512M"]);
    let listed = || -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_str(&host.ok(&["ls", "--json"]).stdout).unwrap();
        all.as_array().unwrap().iter().find(|machine| machine["name"] == "daily").unwrap().clone()
    };
    let machine = listed();
    assert_eq!((&machine["state"], &machine["memory_bytes"]), (&"running".into(), &(512 << 20).into()));
    let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - machine["created"].as_u64().unwrap();
    assert!(age < 3600, "{machine}");
    assert!(machine["memory_used_bytes"].as_u64().unwrap() > 20 << 20, "{machine}");
    assert!(host.ok(&["ls", "--names"]).stdout.lines().any(|name| name == "daily"));
    assert!(host.ok(&["logs", "daily", "--init"]).stdout.contains(" sshd"));
    let seen = host.ok(&["why", "daily"]);
    assert!(seen.stdout.contains(" s  +") && seen.stdout.contains("it answers"), "{seen}");

    kill("STOP", host.pid("daily", "vmm"));
    wait_until("silence", || listed()["trouble"] == "it does not answer");
    let seen = host.ok(&["why", "daily"]);
    assert!(seen.stdout.contains("takes no connection") && seen.stdout.contains("mvm dev daily"), "{seen}");
    kill("KILL", host.pid("daily", "vmm"));
    wait_until("its end", || listed()["state"] == "stopped");
    let seen = host.ok(&["why", "daily"]);
    assert!(seen.stdout.contains("it ended:"), "{seen}");
    // One that cannot be read is listed all the same.
    fs_err::write(host.machine("daily").join("vm.json"), "{").unwrap();
    assert!(listed()["trouble"].as_str().unwrap().contains("vm.json"), "{}", listed());
    assert!(host.ok(&["why", "daily"]).stdout.contains("mvm destroy daily"));
    host.ok(&["destroy", "daily", "--yes"]);
    assert_eq!(host.mvm(&["why", "daily"]).code, 1);
}
