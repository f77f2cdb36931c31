//! Machines that go on from another one's memory are machines of their own.

use crate::host::{any_host, kill, wait_until};

#[test]
fn a_fork_goes_on_as_a_machine_of_its_own() {
    let host = any_host();
    for name in ["tree", "tree-1", "tree-2"] {
        host.forget(name);
    }
    host.ok(&["start", "tree", "-d", "--vmm", "qemu", "--memory", "256M"]);
    host.inside(
        "tree",
        "echo kept > /root/file; echo in-memory > /dev/shm/file; nohup sleep 5000 > /dev/null 2>&1 &",
    );
    let seen = host.ok(&["fork", "tree", "-n", "2"]);
    assert!(
        seen.stderr.contains("`tree`, which stood still for") && seen.stderr.contains("tree-1, tree-2"),
        "{seen}"
    );
    // They heard who they are from what waited for that in the memory, and not by a connection; it does not stay where it waited.
    for name in ["tree-1", "tree-2"] {
        assert!(!host.machine(name).join("run/master").exists(), "{name}");
    }
    for name in ["tree", "tree-1", "tree-2"] {
        wait_until("the end of what waited", || {
            host.inside(name, "pgrep -f '[f]irst.pl' || true").is_empty()
        });
    }
    // At last the cookie that the SSH server begins a connection with: both clones have that server's memory.
    let who = "hostname; cat /etc/machine-id; cat /run/mvm/host_ed25519.pub; od -An -tx1 -N16 /dev/urandom
        exec 3<> /dev/tcp/127.0.0.1/22; printf 'SSH-2.0-test\\r\\n' >&3; read -r _ <&3
        head -c 22 <&3 | tail -c 16 | od -An -tx1";
    let mut identities = Vec::new();
    for name in ["tree", "tree-1", "tree-2"] {
        let seen = host.inside(name, "cat /root/file /dev/shm/file; pgrep -x sleep > /dev/null && echo runs");
        assert_eq!(seen, "kept\nin-memory\nruns\n", "{name}");
        let lines: Vec<String> =
            host.ok(&["ssh", name, "--", "bash", "-c", who]).stdout.lines().map(str::to_owned).collect();
        assert_eq!((lines[0].as_str(), lines.len()), (name, 5));
        identities.extend(lines);
        host.inside(name, &format!("echo {name} > /root/own"));
    }
    let all = identities.len();
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), all, "something is the same in two machines: {identities:?}");
    for name in ["tree", "tree-1", "tree-2"] {
        assert_eq!(host.inside(name, "cat /root/own"), format!("{name}\n"));
    }
    // It reads its key once more when it is told to begin anew.
    let connection_ends = |name: &str| {
        let master = host.machine(name).join("run/master");
        kill("TERM", host.pid(name, "master"));
        wait_until("the end of the shared connection", || !master.exists());
    };
    let begins_anew = |name: &str| {
        host.inside(
            name,
            "read -r PID < /run/mvm/sshd.pid; rm /run/mvm/sshd.pid; kill -HUP $PID
            until [ -s /run/mvm/sshd.pid ]; do sleep 0.1; done",
        );
        connection_ends(name);
        assert_eq!(host.ok(&["exec", name, "--", "hostname"]).stdout, format!("{name}\n"));
    };
    begins_anew("tree-2");
    // So does that of a fork whose own SSH server came of a fork, and the one that it came of.
    host.ok(&["fork", "tree-2"]);
    assert_eq!(host.inside("tree-2-1", "hostname; cat /root/own"), "tree-2-1\ntree-2\n");
    begins_anew("tree-2-1");
    begins_anew("tree-2");
    host.ok(&["destroy", "tree-2-1", "--yes"]);
    // A connection of its own needs the new key, both ways: that of the other machine is refused.
    connection_ends("tree-1");
    assert_eq!(host.ok(&["exec", "tree-1", "--", "hostname"]).stdout, "tree-1\n");
    let keys = host.machine("tree-1").join("keys");
    let other = host.machine("tree").join("keys");
    let kept = keys.with_file_name("kept");
    fs_err::copy(keys.join("id_ed25519"), &kept).unwrap();
    fs_err::copy(other.join("id_ed25519"), keys.join("id_ed25519")).unwrap();
    connection_ends("tree-1");
    let seen = host.mvm(&["exec", "tree-1", "--", "true"]);
    assert!(seen.code == 255 && seen.stderr.contains("Permission denied"), "{seen}");
    fs_err::copy(kept, keys.join("id_ed25519")).unwrap();
    // It boots as itself as well, and a fork can be forked.
    host.ok(&["stop", "tree-1"]);
    host.ok(&["start", "tree-1", "-d"]);
    assert_eq!(host.inside("tree-1", "hostname; cat /root/own"), "tree-1\ntree-1\n");
    let seen = host.mvm(&["fork", "tree-2", "-n", "2", "--", "sh", "-c", "cat /root/own; exit $(({} - 1))"]);
    assert!(seen.code == 1 && seen.stdout == "tree-2\ntree-2\n", "{seen}");
    assert!(seen.stderr.contains("tree-2-2: exit code 1"), "{seen}");
    wait_until("the end of the forks", || {
        !host.machine("tree-2-1").exists() && !host.machine("tree-2-2").exists()
    });
    for name in ["tree", "tree-1", "tree-2"] {
        host.ok(&["destroy", name, "--yes"]);
    }
}
