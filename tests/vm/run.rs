//! One command in a fresh machine, which is gone afterwards, however the run ends.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::host::{Host, any_host, kill, wait_until};

/// The machines of runs that are there, half or whole.
fn passing(host: &Host) -> Vec<String> {
    let entries = fs_err::read_dir(host.home.join("machines")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.trim_start_matches('.').starts_with("run-")).collect()
}

#[test]
fn a_run_is_as_if_the_command_ran_here() {
    let host = any_host();
    let script = "wc -l; echo oops >&2; echo $GREETING in $PWD; exit 42";
    let args = ["run", "--memory", "256M", "-e", "GREETING=hello", "-w", "/srv", "--", "sh", "-c", script];
    let mut command = host.mvm_command(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let seen = crate::host::Seen::new(&args, child.wait_with_output().unwrap());
    assert_eq!(seen.code, 42, "{seen}");
    assert_eq!(seen.stdout, "2\nhello in /srv\n", "{seen}");
    assert_eq!(seen.stderr, "oops\n", "nothing else is said where nobody looks: {seen}");
    assert_eq!(passing(&host), [""; 0]);
}

#[test]
fn whoever_is_killed_a_run_leaves_no_machine() {
    let host = any_host();
    // In the middle of the command, by Ctrl-C and by force.
    for (signal, code) in [("INT", Some(130)), ("KILL", None)] {
        let args = ["run", "--memory", "256M", "--", "sh", "-c", "echo begun; sleep 600"];
        let mut child = host.mvm_command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        kill(signal, child.id());
        assert_eq!(child.wait().unwrap().code(), code);
        wait_until("the end of the machine", || passing(&host).is_empty());
    }
    // Before there is a guest.
    let mut child = host.mvm_command(&["run", "--memory", "256M", "--", "true"]).spawn().unwrap();
    wait_until("a machine that starts", || !passing(&host).is_empty());
    kill("KILL", child.id());
    child.wait().unwrap();
    wait_until("the end of the machine", || passing(&host).is_empty());
}
