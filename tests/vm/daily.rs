//! What one asks of machines all day: which there are, what they said, how they fare.

use std::io::Write;
use std::process::Stdio;

use crate::host::{Host, any_host, kill, wait_until};

/// Neither network nor SSH server is needed for it. What comes before the image's init is heard as well: this one takes the console
/// for a moment and throws away what it holds.
fn the_console_gives_a_shell(host: &Host) {
    let says = |keys: &str, answer: &str| {
        assert!(console(host, keys).status.success());
        wait_until(answer, || said(host).contains(answer));
    };
    // The first line is the first command, after which its shell goes on; that one's end is not the console's.
    says("echo it is $((6 * 7)) on $(tty)\n", "it is 42 on /dev/tty");
    says("exit\n", "logout");
    says("\necho again $((6 * 7))\n", "again 42");
}

fn said(host: &Host) -> String {
    host.ok(&["logs", "daily"]).stdout
}

fn console(host: &Host, keys: &str) -> std::process::Output {
    let mut child =
        host.mvm_command(&["console", "daily"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(keys.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_machine_is_listed_heard_and_explained() {
    let host = any_host();
    host.forget("daily");
    host.ok(&["start", "daily", "-d", "--memory", "512M"]);
    the_console_gives_a_shell(&host);
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
    assert!(host.ok(&["logs", "daily", "--events"]).stdout.contains("up: its SSH server answers"));
    let top: serde_json::Value = serde_json::from_str(&host.ok(&["top", "--json"]).stdout).unwrap();
    let top = top.as_array().unwrap().iter().find(|usage| usage["name"] == "daily").unwrap();
    let bytes = |key: &str| top[key].as_u64().unwrap();
    assert!(bytes("unique_bytes") > 20 << 20 && bytes("resident_bytes") >= bytes("unique_bytes"), "{top}");
    assert!(bytes("shared_bytes") > 0 && bytes("disk_used_bytes") < bytes("disk_bytes"), "{top}");
    assert!(top["cpu_percent"].as_f64().unwrap() >= 0.0 && top["memory_bytes"] == 512 << 20, "{top}");
    assert!(host.ok(&["top"]).stdout.contains("UNIQUE"));
    let seen = host.ok(&["why", "daily"]);
    assert!(seen.stdout.contains(" s  +") && seen.stdout.contains("it answers"), "{seen}");

    // The machine runs on, its SSH server's part of the connection is gone: 255, which ssh says as well; the next one has another.
    let line = "for P in /proc/[0-9]*; do case $(tr '\\0' ' ' <$P/cmdline) in 'sshd: root'*) kill -KILL ${P#/proc/} ;; esac; done; sleep 60";
    assert_eq!(host.mvm(&["exec", "daily", "--", "sh", "-c", line]).code, 255);
    assert_eq!(host.mvm(&["exec", "daily", "--", "sh", "-c", "exit 7"]).code, 7);

    kill("STOP", host.pid("daily", "vmm"));
    wait_until("silence", || listed()["trouble"] == "it does not answer");
    let seen = host.ok(&["why", "daily"]);
    assert!(
        seen.stdout.contains("is stopped, by a signal") && seen.stdout.contains("mvm dev daily"),
        "{seen}"
    );
    let follower =
        host.mvm_command(&["logs", "-f", "--events", "daily"]).stdout(Stdio::piped()).spawn().unwrap();
    kill("KILL", host.pid("daily", "vmm"));
    // Its end is the machine's.
    let followed = follower.wait_with_output().unwrap();
    assert!(followed.status.success(), "{followed:?}");
    assert!(String::from_utf8_lossy(&followed.stdout).contains("end: killed by SIGKILL\n"), "{followed:?}");
    wait_until("its end", || listed()["state"] == "stopped");
    let seen = host.ok(&["why", "daily"]);
    assert!(seen.stdout.contains("it ended:"), "{seen}");
    assert_eq!(host.mvm(&["console", "daily"]).code, 4);
    // One that cannot be read is listed all the same.
    fs_err::write(host.machine("daily").join("vm.json"), "{").unwrap();
    assert!(listed()["trouble"].as_str().unwrap().contains("vm.json"), "{}", listed());
    assert!(host.ok(&["why", "daily"]).stdout.contains("mvm destroy daily"));
    host.ok(&["destroy", "daily", "--yes"]);
    assert_eq!(host.mvm(&["why", "daily"]).code, 1);
}
