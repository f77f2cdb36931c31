//! From no VM to a machine in it, and every way in and out.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use super::host::{Lima, instance};
use super::set_up::home;
use crate::common::process::{Seen, command_line, wait_until};
use crate::common::skipped;

pub(super) fn a_machine_in_the_lima_vm(lima: &Lima) {
    lima.ok(&["setup", "--yes"]);
    let seen = lima.ok(&["dev", "fresh", "--", "uname -n; cat /proc/sys/kernel/ostype"]);
    assert_eq!(seen.stdout, "fresh\nLinux\n", "{seen}");
    assert_eq!(lima.mvm(&["ssh", "fresh", "--", "exit 42"]).code, 42);

    // Evidence of how it is shut in; the VM's systemd limits it as well, a moment after its start.
    let verified = || {
        let seen = lima.mvm(&["verify", "fresh"]);
        assert_eq!(seen.code, 0, "{seen}");
        seen.stdout
    };
    wait_until("the machine's cgroup", || {
        let said = verified();
        said.contains("cgroup memory.max") && said.contains("cgroup pids.max 1024")
    });

    // A port of it is one of this host's own loopback.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    lima.ok(&["port", "add", &format!("{}:22", port.port()), "fresh"]);
    let mut banner = [0; 4];
    TcpStream::connect(port).unwrap().read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");
    let seen = lima.ok(&["port", "ls", "fresh"]);
    assert!(seen.stdout.contains("open"), "{seen}");
    lima.ok(&["port", "rm", &port.port().to_string(), "fresh"]);
    wait_until("the port's end", || TcpStream::connect(port).is_err());
    // Datagrams come there as well, and their answers back.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    lima.ok(&["port", "add", &format!("{}:7000/udp", port.port()), "fresh"]);
    let echo = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 7000, Proto => 'udp') or die; \
                $s->send(scalar reverse $m) while defined $s->recv($m, 100)";
    lima.ok(&["exec", "fresh", "--", "sh", "-c", "setsid perl -e \"$0\" </dev/null >/dev/null 2>&1 &", echo]);
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut answer = [0; 9];
    wait_until("the answer", || {
        socket.send_to(b"datagram", port).unwrap();
        socket.recv(&mut answer).is_ok_and(|length| answer[..length] == *b"margatad")
    });
    lima.ok(&["port", "rm", &format!("{}/udp", port.port()), "fresh"]);
    wait_until("the port's end", || UdpSocket::bind(port).is_ok());

    let status = lima.status();
    assert_eq!(status["lima"]["status"], "running", "{status:#}");
    assert_eq!(status["lima"]["cpus"], 1, "{status:#}");
    let machine = lima.machine("fresh").unwrap();
    assert_eq!((&machine["name"], &machine["state"]), (&"fresh".into(), &"running".into()), "{status:#}");
    assert_eq!(machine["vmm"], "qemu");
    // The VM's processor has SVM, so its KVM works.
    assert_eq!(machine["kvm"], status["vmm"]["kvm"]);

    // A folder of this host is in it, and is again after its next starts.
    let folder = home().join("shared");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
    fs_err::write(folder.join("here"), "of the host\n").unwrap();
    lima.ok(&["mount", "add", &format!("{}:/shared", folder.display()), "fresh"]);
    let seen = lima.ok(&["ssh", "fresh", "--", "cat /shared/here; echo back > /shared/there"]);
    assert_eq!(seen.stdout, "of the host\n", "{seen}");
    assert_eq!(fs_err::read_to_string(folder.join("there")).unwrap(), "back\n");

    lima.ok(&["ssh", "fresh", "--", "echo kept > /root/file; sync"]);
    lima.ok(&["stop", "fresh"]);
    let seen = lima.mvm(&["ssh", "fresh", "--", "true"]);
    assert!(seen.code == 4 && seen.stderr.contains("mvm start fresh"), "{seen}");
    lima.ok(&["start", "fresh", "-d"]);
    assert_eq!(lima.ok(&["ssh", "fresh", "--", "cat /root/file /shared/here"]).stdout, "kept\nof the host\n");

    let boot = || lima.ok(&["exec", "fresh", "--", "cat", "/proc/sys/kernel/random/boot_id", "/shared/here"]);
    let before = boot().stdout;
    lima.ok(&["suspend", "fresh"]);
    assert_eq!(lima.machine("fresh").unwrap()["state"], "suspended");
    assert_eq!(boot().stdout, before);
    // Nothing of it is left on this host's side when it ends.
    assert!(serves("fresh"));
    lima.ok(&["destroy", "fresh", "--yes"]);
    wait_until("the end of what served the folder", || !serves("fresh"));
}

pub(super) fn a_run_in_the_lima_vm(lima: &Lima) {
    lima.ok(&["setup", "--yes"]);
    let machines = || lima.status()["machines"].as_array().unwrap().len();
    let before = machines();
    let seen = lima.mvm(&["run", "--", "sh", "-c", "echo once; exit 7"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (7, "once\n"), "{seen}");
    assert_eq!(machines(), before);
}

/// Whether what serves the machine's folders lives.
fn serves(machine: &str) -> bool {
    let keeper = format!("mount keep {machine}");
    let pids = fs_err::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .any(|pid| command_line(pid).contains(&keeper))
}

pub(super) fn bytes_pass_both_ways_as_they_are(lima: &Lima) {
    lima.ok(&["setup", "--yes"]);
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(300_000).collect();
    let mut child = lima
        .mvm_command(&["shell", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == bytes, "{} bytes came back of {}", output.stdout.len(), bytes.len());
    let seen = lima.mvm(&["shell", "--", "echo", "two  words", "$HOME"]);
    assert_eq!(seen.stdout, "two  words $HOME\n", "{seen}");
    assert_eq!(lima.mvm(&["shell", "--", "exit 7"]).code, 7);

    // An image goes in as a stream, and out with its kernel and tools.
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", &bytes[..]).unwrap();
    let (tree, export) = (home().join("tree.tar"), home().join("l/tree.mvm"));
    fs_err::write(&tree, tar.into_inner().unwrap()).unwrap();
    fs_err::remove_file(&export).unwrap_or_default();
    lima.ok(&["image", "import", tree.to_str().unwrap(), "--as", "tree"]);
    lima.ok(&["image", "export", "tree", "-o", export.to_str().unwrap()]);
    let mut files = tar::Archive::new(fs_err::File::open(&export).unwrap());
    let names: Vec<_> =
        files.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    let expected = ["image.json", "kernel", "initrd", "tools", "base"].map(std::path::PathBuf::from);
    assert_eq!(names, expected);
    fs_err::remove_file(&export).unwrap();
    lima.ok(&["image", "rm", "tree"]);
}

pub(super) fn lima_itself_finds_the_file_valid(lima: &Lima) {
    lima.ok(&["setup", "--yes"]);
    let file = instance().join("lima.yaml");
    let seen = lima.limactl(&["template", "validate", "--fill", file.to_str().unwrap()]);
    assert_eq!(seen.code, 0, "{seen}");
    // Fields that Lima doesn't know, and expressions that it cannot fill, only show so.
    assert!(!seen.stderr.contains("Non-strict") && !seen.stdout.contains("<no value>"), "{seen}");
    assert!(seen.stdout.contains("mode: system") && seen.stdout.contains("mvm-provisioned"), "{seen}");
}

/// The second time there is nothing to do, so nothing is changed.
pub(super) fn setup_of_a_vm_that_is_set_up_changes_nothing(lima: &Lima) {
    lima.ok(&["setup", "--yes"]);
    let agent = lima.pid("ha");
    lima.ok(&["setup", "--yes"]);
    assert_eq!(lima.pid("ha"), agent);
}

pub(super) fn firecracker_in_the_lima_vm(lima: &Lima) {
    let Some(program) = std::env::var_os("MVM_TEST_FIRECRACKER") else {
        return skipped("Firecracker in the Lima VM: MVM_TEST_FIRECRACKER names none");
    };
    lima.ok(&["setup", "--yes"]);
    let words = ["shell", "--", "sudo install -m 0755 /dev/stdin /usr/local/bin/firecracker"];
    let mut install = lima.mvm_command(&words);
    install.stdin(fs_err::File::open(program).unwrap().into_parts().0);
    let seen = Seen::new(&words, install.output().unwrap());
    assert_eq!(seen.code, 0, "{seen}");
    let seen = lima.ok(&["dev", "fire", "--vmm", "firecracker", "--memory", "512M", "--", "uname -n"]);
    assert_eq!(seen.stdout, "fire\n", "{seen}");
    assert_eq!(lima.machine("fire").unwrap()["vmm"], "firecracker");
    lima.ok(&["destroy", "fire", "--yes"]);
    lima.ok(&["shell", "--", "sudo rm /usr/local/bin/firecracker"]);
}
