//! Entering a machine: what a command gets, and what comes back.

use std::io::Write;
use std::process::Stdio;

use crate::host::{Seen, Who, any_host, host};
use crate::trust;

fn the_first_machine(who: Who) {
    let Some(host) = host(who) else { return };
    host.forget("default");
    let args = ["dev", "--secret", "TOKEN", "--", "sh", "-c", "uname -s; exit 42"];
    let seen = Seen::new(&args, host.mvm_command(&args).env("TOKEN", trust::value(&host)).output().unwrap());
    assert_eq!((seen.code, seen.stdout.as_str()), (42, "Linux\n"), "{seen}");
    let first = seen;
    // The second one enters the same machine.
    let pid = host.status("default")["pid"].clone();
    let seen = host.ok(&["dev", "--", "hostname"]);
    assert_eq!(seen.stdout, "default\n", "{seen}");
    assert_eq!(host.status("default")["pid"], pid);
    // Without a terminal and without a command there is nothing to enter.
    let seen = host.ok(&["dev"]);
    assert!(seen.stderr.contains("mvm ssh default"), "{seen}");
    trust::a_secret_is_in_the_guests_memory_alone(&host, "default", &first);
    trust::verified(&host, "default");
    if who == Who::Root {
        trust::another_user_can_do_nothing(&host, "default");
    }
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
    crate::fidelity::arguments_arrive_as_given(&host, "session");
    host.ok(&["destroy", "session", "--yes"]);
}

#[test]
fn sessions_are_the_machines_user() {
    let host = any_host();
    host.forget("user");
    host.ok(&["start", "user", "-d", "--user", "me"]);
    assert_eq!(host.ok(&["ssh", "user", "--", "id -un; pwd; sudo id -un"]).stdout, "me\n/home/me\nroot\n");
    assert_eq!(host.ok(&["exec", "user", "--", "id", "-un"]).stdout, "me\n");
    for who in ["root", "www-data"] {
        assert_eq!(host.ok(&["exec", "-u", who, "user", "--", "id", "-un"]).stdout, format!("{who}\n"));
    }
    // Others by ssh as well, and what is copied is that user's.
    let config = host.ok(&["ssh-config", "user"]).stdout;
    assert!(config.contains("\n  User me\n"), "{config}");
    host.ok(&["cp", "/etc/hosts", "user:copied"]);
    let owner = host.ok(&["exec", "user", "--", "stat", "-c", "%U", "/home/me/copied"]).stdout;
    assert_eq!(owner, "me\n");
    let seen = host.mvm(&["cp", "/etc/hosts", "user:/etc/copied"]);
    assert!(seen.code == 1 && seen.stderr.contains("cannot write in '/etc'"), "{seen}");
    host.ok(&["cp", "-u", "root", "/etc/hosts", "user:/etc/copied"]);
    // It has it from its next start on; until then sessions are who they were.
    host.ok(&["set", "user", "--user", "root"]);
    assert_eq!(host.ok(&["exec", "user", "--", "id", "-un"]).stdout, "me\n");
    host.ok(&["stop", "user", "--timeout", "60"]);
    assert_eq!(host.ok(&["dev", "user", "--", "id -un"]).stdout, "root\n");
    host.ok(&["destroy", "user", "--yes"]);
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
    crate::terminal::a_session_has_a_real_terminal(&host, "sane");
    host.ok(&["destroy", "sane", "--yes"]);
}
