//! What one asks of machines all day: which there are, what they said, how they fare.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::host::{Host, any_host, kill, wait_until};

/// Neither network nor SSH server is needed for it. What comes before the image's init is heard as well: this one takes the console
/// for a moment and throws away what it holds.
fn the_console_gives_a_shell(host: &Host) {
    // The first line is the first command, after which its shell goes on; that one's end is not the console's.
    console(host, "echo it is $((6 * 7)) on $(tty)\n", &["it is 42 on /dev/tty", "root@daily:~#"]);
    console(host, "exit\n", &["logout"]);
    console(host, "\necho again $((6 * 7))\n", &["again 42"]);
    // The log has it all as well.
    let log = host.ok(&["logs", "daily"]).stdout;
    assert!(log.contains("it is 42 on /dev/tty") && log.contains("again 42"), "{log}");
}

/// Types `keys` and sees `answers`, which come while the console is open.
fn console(host: &Host, keys: &str, answers: &[&str]) {
    let mut child =
        host.mvm_command(&["console", "daily"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut typing, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let seen = Arc::new(Mutex::new(String::new()));
    let reader = Arc::clone(&seen);
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            reader.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
    typing.write_all(keys.as_bytes()).unwrap();
    for answer in answers {
        wait_until(answer, || seen.lock().unwrap().contains(answer));
    }
    drop(typing);
    assert!(child.wait().unwrap().success());
    reading.join().unwrap();
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
