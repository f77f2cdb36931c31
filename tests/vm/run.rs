//! One command in a fresh machine, which is gone afterwards, however the run ends.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

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
    // With `--net none` what is tried is refused before it leaves the cell.
    let script = "wc -l; echo oops >&2; echo $GREETING in $PWD; \
                  timeout 30 bash -c '</dev/tcp/192.0.2.1/80' 2>/dev/null; echo $?; exit 42";
    let args = [
        "run",
        "--memory",
        "256M",
        "--net",
        "none",
        "-e",
        "GREETING=hello",
        "-w",
        "/srv",
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut command = host.mvm_command(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let seen = crate::host::Seen::new(&args, child.wait_with_output().unwrap());
    assert_eq!(seen.code, 42, "{seen}");
    assert_eq!(seen.stdout, "2\nhello in /srv\n1\n", "{seen}");
    assert_eq!(seen.stderr, "oops\n", "nothing else is said where nobody looks: {seen}");
    assert_eq!(passing(&host), [""; 0]);
}

#[test]
fn later_runs_go_on_from_a_golden_memory() {
    let host = any_host();
    let golden = host.home.join("golden");
    fs_err::remove_dir_all(&golden).unwrap_or_default();
    let run = || {
        let script = "hostname; cat /etc/machine-id; od -An -tx1 -N16 /dev/urandom; cat /run/mvm/host_ed25519.pub; date +%s; test ! -e /root/seen; touch /root/seen; exit $?";
        let seen =
            host.ok(&["--verbose", "run", "--vmm", "qemu", "--memory", "256M", "--", "sh", "-c", script]);
        assert_eq!(passing(&host), [""; 0]);
        seen
    };
    let first = run();
    assert!(first.stderr.contains("a golden memory is kept"), "{first}");
    let key = || {
        let entries = fs_err::read_dir(&golden).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.pop()
    };
    wait_until("the golden memory", || key().is_some());
    let memory = golden.join(key().unwrap()).join("frozen/memory");
    let (second, third) = (run(), run());
    for seen in [&second, &third] {
        assert!(seen.stderr.contains("Resuming run-"), "{seen}");
    }
    let lines = |seen: &crate::host::Seen| seen.stdout.lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, two) = (lines(&second), lines(&third));
    for line in 0..4 {
        assert_ne!(one[line], two[line], "{second}{third}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(two[4].parse::<u64>().unwrap().abs_diff(now) < 60, "{third}");
    // One that is not whole is not gone on from, and made anew.
    let whole = fs_err::metadata(&memory).unwrap().len();
    fs_err::OpenOptions::new().write(true).open(&memory).unwrap().set_len(whole / 2).unwrap();
    let seen = run();
    assert!(seen.stderr.contains("a golden memory is kept"), "{seen}");
    wait_until("another golden memory", || {
        fs_err::metadata(&memory).is_ok_and(|file| file.len() != whole / 2)
    });
    // One that is whole by its looks, but none, is booted past.
    let seen = {
        let meta = memory.with_file_name("meta");
        fs_err::write(&memory, "no memory").unwrap();
        let line = format!(
            "cd '{}' && stat -c '%n %s %.9Y' memory | tr '\\n' ' '",
            memory.parent().unwrap().display()
        );
        let identity = host.command("sh").args(["-c", &line]).output().unwrap();
        let identity = String::from_utf8(identity.stdout).unwrap();
        let text = fs_err::read_to_string(&meta).unwrap();
        let text: String =
            text.lines()
                .map(|line| {
                    if line.starts_with("FILES=") {
                        format!("FILES={identity}\n")
                    } else {
                        format!("{line}\n")
                    }
                })
                .collect();
        fs_err::write(&meta, text).unwrap();
        run()
    };
    assert!(seen.stderr.contains("no golden memory, so the machine boots"), "{seen}");
    // Spare keys may still be made for it.
    let removed =
        host.command("flock").arg(host.home.join("locks/.golden")).args(["rm", "-rf"]).arg(&golden).status();
    assert!(removed.unwrap().success());
}

/// A warm one, whose command comes by what waits for it in the golden memory.
#[test]
fn the_streams_of_a_warm_run_are_those_of_a_command_here() {
    let host = any_host();
    let with = ["--memory", "256M"];
    host.ok(&["run", "--quiet", with[0], with[1], "--", "true"]);
    let run = |script: &str, options: &[&str], input: &[u8]| {
        let args = [&["run", "--verbose", with[0], with[1]], options, &["--", "sh", "-c", script]].concat();
        let mut command = host.mvm_command(&args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // A command that reads nothing is no reason to fail.
        let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap_or_default());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("Resuming run-") && !told.contains("entered by SSH"), "{told}");
        (output.status.code(), output.stdout, told.into_owned())
    };
    // More than any buffer on the way takes, both ways at once.
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (code, back, _) = run("cat", &[], &bytes);
    assert!(code == Some(0) && back == bytes, "{code:?}: {} bytes came back", back.len());
    let (code, back, told) = run("head -c 3; echo apart >&2; seq 100000 | tail -n 1; exit 253", &[], &bytes);
    assert_eq!((code, back), (Some(253), [&bytes[..3], b"100000\n"].concat()), "{told}");
    assert!(told.contains("apart"), "{told}");
    // What the command leaves running has its output still; how it ended counts.
    let script = "(sleep 1; echo late) & kill -TERM $$";
    assert_eq!(run(script, &[], b"").0, Some(143));
    let (code, back, told) = run("(sleep 1; echo late) & exit 3", &[], b"");
    assert_eq!((code, back), (Some(3), b"late\n".to_vec()), "{told}");
    // Whatever the streams are, they are files to open.
    let (code, back, told) = run("cat /dev/stdin >/dev/stdout; echo apart >/dev/stderr", &[], b"said");
    assert!(code == Some(0) && back == b"said" && told.contains("apart"), "{code:?} {back:?} {told}");
    let options = ["-u", "nobody", "-w", "/tmp", "-e", "WORDS=a b"];
    let (code, back, told) = run("id -un; pwd; echo \"$WORDS\"; test -t 0", &options, b"");
    assert_eq!((code, back), (Some(1), b"nobody\n/tmp\na b\n".to_vec()), "{told}");
    assert_eq!(run("sleep 600", &["--timeout", "1"], b"").0, Some(124));

    // One that ends while nobody reads, and all that is on the way is full, has written what it wrote.
    let script = "$SIG{ALRM} = sub { print STDERR \"wrote $count\\n\"; exit }; alarm 2; $count += syswrite(STDOUT, 'x' x 4096) while 1";
    let args = ["run", "--quiet", with[0], with[1], "--", "perl", "-e", script];
    let child = host.mvm_command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(6));
    let output = child.wait_with_output().unwrap();
    let (told, came) = (String::from_utf8_lossy(&output.stderr), output.stdout.len());
    assert!(came > 0 && told.contains(&format!("wrote {came}\n")), "{came} came: {told}");

    // Whoever stops reading ends the command that writes.
    let args = ["run", "--quiet", with[0], with[1], "--", "yes"];
    let mut child = host.mvm_command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("y\n", Some(141)));
    wait_until("the end of the machines", || passing(&host).is_empty());
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
