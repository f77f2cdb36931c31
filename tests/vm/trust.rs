//! What a user may rely on, looked at within other tests' machines: secrets, `mvm verify`, and another user of the host.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::host::{Host, Seen, all_pids, wait_until};

/// The value of a secret, which stands nowhere by chance: nor in the tests that run beside.
pub(crate) fn value(host: &Host) -> String {
    format!("hunter2-of-{:?}-alone", host.who)
}

/// A machine was started with the secret TOKEN in the environment: only the guest's memory has it.
pub(crate) fn a_secret_is_in_the_guests_memory_alone(host: &Host, machine: &str, said: &Seen) {
    let value = value(host);
    assert!(!said.stderr.contains(&value), "{said}");
    let script = "stat -c '%a %U' /run/secrets/TOKEN; stat -f -c %T /run/secrets; cat /run/secrets/TOKEN; \
                  env | grep TOKEN; grep -l -a -F -f /run/secrets/TOKEN /proc/[0-9]*/cmdline /proc/[0-9]*/environ";
    let seen = host.mvm(&["exec", machine, "--", "sh", "-c", script]);
    assert_eq!(seen.stdout, format!("600 root\ntmpfs\n{value}"), "{seen}");

    // Another one by standard input, for another user, with all there is to trace.
    let args = [
        "--verbose",
        "exec",
        "--secret",
        "PIPED=-",
        "-u",
        "www-data",
        machine,
        "--",
        "cat",
        "/run/secrets/PIPED",
    ];
    let mut command = host.mvm_command(&args);
    command.env("MVM_LOG", "trace").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let piped = format!("{value}\n\nof two lines\n");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), piped.as_bytes()).unwrap();
    let seen = Seen::new(&args, child.wait_with_output().unwrap());
    assert!(seen.code == 0 && seen.stdout == piped, "{seen}");
    assert!(seen.stderr.contains("argv") && !seen.stderr.contains("hunter2"), "{seen}");
    let others = host.mvm(&["exec", "-u", "www-data", machine, "--", "cat", "/run/secrets/TOKEN"]);
    assert!(others.code != 0 && !others.stdout.contains(&value), "{others}");

    // Nor has any process of the machine's on the host it in its words or its environment, or any file but the disk.
    for pid in all_pids() {
        for file in ["cmdline", "environ"] {
            let text = fs_err::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains(&value), "/proc/{pid}/{file}");
        }
    }
    let folder = host.machine(machine);
    let found = Command::new("grep")
        .args(["-r", "-l", "-a", "-F", "--exclude=disk.img", "-D", "skip", &value])
        .arg(&folder)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // In the guest's memory it is, and so in a memory that is written: docs/security.md says so.
}

/// `mvm verify` finds what is promised, and what is broken on purpose.
pub(crate) fn verified(host: &Host, machine: &str) {
    let seen = host.mvm(&["verify", machine, "--json"]);
    let findings: Vec<Value> =
        serde_json::from_str(&seen.stdout).unwrap_or_else(|error| panic!("{error}: {seen}"));
    for probe in [
        "namespaces",
        "rights",
        "limits",
        "files it sees",
        "modes",
        "ports",
        "image",
        "VMM's binary",
        "host's loopback",
        "network policy",
        "secrets",
    ] {
        let finding = findings.iter().find(|finding| finding["probe"] == probe).unwrap();
        assert_eq!(finding["ok"], true, "{finding}");
    }
    // What this host's network has there is told, and the exit code goes by it.
    let metadata = findings.iter().find(|finding| finding["probe"] == "metadata").unwrap();
    assert!(metadata["ok"].is_boolean() && seen.code == i32::from(metadata["ok"] == false), "{seen}");
    let secrets = findings.iter().find(|finding| finding["probe"] == "secrets").unwrap();
    assert!(secrets["evidence"].as_str().unwrap().contains("TOKEN"), "{secrets}");

    // What a policy refuses is tried, and the cell itself tells of it.
    for policy in ["allow=198.51.100.1", "none"] {
        host.ok(&["net", "set", policy, machine]);
        let seen = host.mvm(&["verify", machine, "--json"]);
        let findings: Vec<Value> =
            serde_json::from_str(&seen.stdout).unwrap_or_else(|error| panic!("{error}: {seen}"));
        let finding = findings.iter().find(|finding| finding["probe"] == "network policy").unwrap();
        let evidence = finding["evidence"].as_str().unwrap();
        assert!(finding["ok"] == true && evidence.contains("the cell refused it"), "{finding}");
    }
    host.ok(&["net", "set", "open", machine]);

    let spec = host.machine(machine).join("vm.json");
    fs_err::set_permissions(&spec, PermissionsExt::from_mode(0o644)).unwrap();
    let log = host.machine(machine).join("provision.log");
    fs_err::write(&log, format!("echo {}\n", value(host))).unwrap();
    let seen = host.mvm(&["verify", machine]);
    assert_eq!(seen.code, 1, "{seen}");
    for text in ["644 ./vm.json", "a secret's value stands in ./provision.log"] {
        assert!(seen.stdout.contains(text) || seen.stderr.contains(text), "{text}: {seen}");
    }
    assert!(!seen.stdout.contains(&value(host)), "{seen}");
    fs_err::remove_file(log).unwrap();
    fs_err::set_permissions(&spec, PermissionsExt::from_mode(0o600)).unwrap();
    // The host's own part: whatever else other tests have left, nobody else may enter here.
    let seen = host.mvm(&["verify", "--json"]);
    let findings: Vec<Value> =
        serde_json::from_str(&seen.stdout).unwrap_or_else(|error| panic!("{error}: {seen}"));
    let modes = findings.iter().find(|finding| finding["probe"] == "modes" && finding["machine"].is_null());
    assert_eq!(modes.unwrap()["ok"], true, "{seen}");
}

/// What another user tries of a machine: its files, pipes and sockets, its processes and namespaces. Each success is a line.
const TRIES: &str = r#"
while IFS= read -r -d '' path; do
  # A pipe that nobody writes to is waited for, unless it is opened for both.
  if [[ -p $path ]]; then
    if { : <>"$path"; } 2>/dev/null; then echo "read $path"; fi
    continue
  fi
  if { : <"$path"; } 2>/dev/null; then echo "read $path"; fi
  if { : >>"$path"; } 2>/dev/null; then echo "wrote $path"; fi
  if [[ -S $path ]] && perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, sockaddr_un($ARGV[0])) or exit 1' "$path" 2>/dev/null; then
    echo "connected $path"
  fi
done
for pid; do
  if kill -0 "$pid" 2>/dev/null; then echo "signal $pid"; fi
  for file in environ maps fd/0 root cwd ns/net; do
    if [[ $file == [em]* ]] && head -c 1 "/proc/$pid/$file" 2>/dev/null | grep -q . ; then echo "read $pid $file"; fi
    if [[ $file != [em]* ]] && readlink "/proc/$pid/$file" >/dev/null 2>&1; then echo "saw $pid $file"; fi
  done
  if nsenter -t "$pid" -U -n --preserve-credentials true 2>/dev/null; then echo "entered $pid"; fi
done
"#;

fn tried(as_whom: &[&str], paths: &[u8], pids: &[String]) -> Vec<String> {
    let mut command = Command::new(as_whom[0]);
    command.args(&as_whom[1..]).args(["timeout", "60", "bash", "-c", TRIES, "tries"]).args(pids);
    let mut child = command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), paths).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Root's machine, and somebody else on the host.
pub(crate) fn another_user_can_do_nothing(host: &Host, machine: &str) {
    let folder = host.machine(machine);
    wait_until("pasta", || host.pasta(machine).is_some());
    let pids = [host.pid(machine, "cell"), host.pid(machine, "vmm"), host.pasta(machine).unwrap()];
    let pids = pids.map(|pid| pid.to_string());
    // The folders above hold everybody off; without them the files themselves do.
    let folders = [
        host.home.clone(),
        host.home.join("machines"),
        folder.clone(),
        folder.join("run"),
        folder.join("keys"),
    ];
    for path in &folders {
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o711)).unwrap();
    }
    let found = Command::new("find").arg(&folder).args(["!", "-type", "l", "-print0"]).output().unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let reached = tried(&nobody, &found.stdout, &pids);
    let own = tried(&["env"], &found.stdout, &pids);
    for path in &folders {
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
    }
    assert!(reached.is_empty(), "{reached:#?}");
    // That all this is there to be reached.
    for what in ["read ", "wrote ", "connected ", "signal ", "saw "] {
        assert!(own.iter().any(|line| line.starts_with(what)), "{what}: {own:#?}");
    }
    let key = format!("read {}/keys/id_ed25519", folder.display());
    assert!(own.contains(&key), "{own:#?}");

    // mvm itself has nothing for them.
    let output = Command::new(nobody[0])
        .args(&nobody[1..])
        .arg(host.program())
        .args(["exec", machine, "--", "id"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("MVM_HOME", &host.home)
        .output()
        .unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}
