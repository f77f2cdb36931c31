//! A machine that nobody uses is suspended by itself.

use crate::host::{any_host, wait_until};

#[test]
fn a_machine_that_nobody_uses_is_suspended() {
    let host = any_host();
    host.forget("lazy");
    host.ok(&["start", "lazy", "-d", "--vmm", "qemu", "--memory", "256M", "--idle", "2s", "-p", "28080:80"]);
    let suspended = || host.status("lazy")["state"] == "suspended";
    wait_until("a machine that fell asleep", suspended);
    let events = host.ok(&["logs", "--events", "lazy"]).stdout;
    assert!(events.contains("suspended: nobody has used it"), "{events}");
    // Whoever uses it wakes it, and as long as they do it stays awake: a session, a connection to a port.
    let seen = host.ok(&["exec", "lazy", "--", "sh", "-c", "sleep 8; echo done"]);
    assert_eq!(seen.stdout, "done\n");
    host.inside("lazy", "nohup python3 -m http.server 80 > /dev/null 2>&1 & until curl -so /dev/null localhost; do sleep 0.2; done");
    let boot = |line: &str| host.inside("lazy", line);
    let before = boot("cat /proc/sys/kernel/random/boot_id");
    let connection = std::net::TcpStream::connect(("127.0.0.1", 28080)).unwrap();
    let ends = std::time::Instant::now() + std::time::Duration::from_secs(8);
    while std::time::Instant::now() < ends {
        assert!(!suspended());
    }
    drop(connection);
    wait_until("it to fall asleep again", suspended);
    assert_eq!(boot("cat /proc/sys/kernel/random/boot_id"), before);
    // What runs keeps what it was started with.
    let seen = host.ok(&["set", "lazy", "--idle", "off"]);
    assert!(seen.stderr.contains("idle: 2s → off"), "{seen}");
    host.ok(&["destroy", "lazy", "--yes"]);
}
