//! Entering a machine: what a command gets, and what comes back.

use std::io::Write;
use std::process::Stdio;

use crate::host::{Who, any_host, host};

fn the_first_machine(who: Who) {
    let Some(host) = host(who) else { return };
    host.forget("default");
    let seen = host.mvm(&["dev", "--", "sh", "-c", "uname -s; exit 42"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (42, "Linux\n"), "{seen}");
    // The second one enters the same machine.
    let pid = host.status("default")["pid"].clone();
    let seen = host.ok(&["dev", "--", "hostname"]);
    assert_eq!(seen.stdout, "default\n", "{seen}");
    assert_eq!(host.status("default")["pid"], pid);
    // Without a terminal and without a command there is nothing to enter.
    let seen = host.ok(&["dev"]);
    assert!(seen.stderr.contains("mvm ssh default"), "{seen}");
    host.ok(&["destroy", "default", "--yes"]);
}

#[test]
fn the_first_machine_as_root() {
    the_first_machine(Who::Root);
}

#[test]
fn the_first_machine_as_an_ordinary_user() {
    the_first_machine(Who::User);
}

#[test]
fn a_command_gets_its_arguments_input_and_output_as_they_are() {
    let host = any_host();
    host.forget("session");
    host.ok(&["start", "session", "-d"]);
    let seen = host.ok(&[
        "ssh",
        "session",
        "--",
        "printf",
        "[%s]",
        "a b",
        "",
        "it's",
        "$HOME `id` \\ *",
        "new\nline",
    ]);
    assert_eq!(seen.stdout, "[a b][][it's][$HOME `id` \\ *][new\nline]", "{seen}");
    let seen = host.mvm(&["ssh", "session", "--", "echo out; echo err >&2; exit 143"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (143, "out\n"), "{seen}");
    assert!(seen.stderr.contains("err"), "{seen}");

    let bytes: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 256).unwrap()).collect();
    let mut child = host
        .mvm_command(&["ssh", "session", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
    host.ok(&["destroy", "session", "--yes"]);
}

#[test]
fn the_guest_is_a_sane_place() {
    let host = any_host();
    host.forget("sane");
    host.ok(&["start", "sane", "-d", "--cpus", "2", "--memory", "512M"]);
    assert_eq!(host.inside("sane", "hostname; echo $LANG; id -un; nproc"), "sane\nC.UTF-8\nroot\n2\n");
    for tool in ["sudo", "curl", "git", "vi", "less", "ps", "ip", "ping"] {
        host.inside("sane", &format!("command -v {tool}"));
    }
    host.inside("sane", "sudo -n true && test -s /etc/ssl/certs/ca-certificates.crt");
    // systemd comes up behind the session, whole.
    let state = host
        .inside("sane", "timeout 120 systemctl is-system-running --wait || systemctl --failed --no-legend");
    assert_eq!(state, "running\n");
    let apart: i64 = {
        let guest: i64 = host.inside("sane", "date +%s").trim().parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        guest - i64::try_from(now.as_secs()).unwrap()
    };
    assert!(apart.abs() < 60, "the guest's clock is {apart} s off");
    host.ok(&["destroy", "sane", "--yes"]);
}
