//! The cell: what the guest reaches, and that the host is as it was.

use std::process::Command;

use crate::host::{Who, all_pids, command_line, host, kill, lives, wait_until};

/// What a cell must not touch.
fn of_the_host() -> Vec<(&'static str, String)> {
    let show = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Counters change by themselves.
    vec![
        ("links", show("ip", &["-o", "link"])),
        ("addresses", show("sh", &["-c", "ip -o addr | sed 's/valid_lft.*//'"])),
        ("routes", show("ip", &["route", "show", "table", "all"])),
        ("rules", show("sh", &["-c", "nft list ruleset 2>/dev/null || true"])),
        // But that of the matrix' small file system, at the same time.
        ("mounts", show("sh", &["-c", "grep -v '^mvm-test ' /proc/self/mounts"])),
        ("forwarding", fs_err::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()),
    ]
}

fn nothing_outside_a_cell_changes(who: Who) {
    let Some(host) = host(who) else { return };
    host.forget("traceless");
    let before = of_the_host();
    host.ok(&["start", "traceless", "-d"]);
    assert_eq!(of_the_host(), before, "while it runs");
    wait_until("pasta", || host.pasta("traceless").is_some());
    let processes =
        [Some(host.pid("traceless", "cell")), Some(host.pid("traceless", "vmm")), host.pasta("traceless")];
    host.ok(&["stop", "traceless", "--timeout", "60"]);
    assert_eq!(of_the_host(), before, "after its end");
    for pid in processes {
        assert!(!lives(pid.unwrap()), "{} is left", command_line(pid.unwrap()));
    }
    let home = host.machine("traceless");
    let left: Vec<_> = all_pids()
        .into_iter()
        .map(command_line)
        .filter(|line| line.contains(home.to_str().unwrap()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for file in ["api.sock", "run"] {
        assert!(!home.join(file).exists(), "{file} is left");
    }
    host.ok(&["destroy", "traceless", "--yes"]);
}

#[test]
fn nothing_outside_a_cell_changes_as_root() {
    nothing_outside_a_cell_changes(Who::Root);
}

#[test]
fn nothing_outside_a_cell_changes_as_an_ordinary_user() {
    nothing_outside_a_cell_changes(Who::User);
}

fn the_guest_reaches_the_network(who: Who) {
    let Some(host) = host(who) else { return };
    host.forget("online");
    host.ok(&["start", "online", "-d"]);
    // Names, many connections, and a download, by the guest's own package manager.
    host.inside(
        "online",
        "apt-get -q update && cd /tmp && apt-get -q download hello busybox-static && ls *.deb",
    );
    // Nothing that listens beside the guest is reached: the cell has no services, and the host's loopback stays its own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused = format!(
        "for address in 172.16.0.1 169.254.1.1 169.254.169.254; do \
           timeout 30 bash -c \"exec 3<>/dev/tcp/$address/{port}\" 2>/dev/null; test $? = 1 || echo reached $address; done"
    );
    assert_eq!(host.inside("online", &refused), "");
    // Its network comes back when pasta dies.
    let pasta = host.pasta("online").unwrap();
    kill("KILL", pasta);
    wait_until("another pasta", || host.pasta("online").is_some_and(|pid| pid != pasta));
    host.inside("online", "for n in 1 2 3 4 5; do apt-get -q update 2>&1 | grep -q 'Failed\\|Err:' || exit 0; sleep 1; done; exit 1");
    host.ok(&["destroy", "online", "--yes"]);
}

#[test]
fn the_guest_reaches_the_network_as_root() {
    the_guest_reaches_the_network(Who::Root);
}

#[test]
fn the_guest_reaches_the_network_as_an_ordinary_user() {
    the_guest_reaches_the_network(Who::User);
}
