//! The VMM replaced by a hostile program: it reaches its own machine's files, and nothing else.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::host::{Host, Seen, Who, host};

const HOSTILE: &str = include_str!("../../testing/hostile-vmm.pl");
const ARCH: &str = std::env::consts::ARCH;

/// Starts the machine with the program as its VMM, which has to have come to its end; what it said.
fn start(host: &Host, machine: &str, path: &str) -> String {
    // With a policy that has the cell ask the host's resolver.
    let args = ["start", machine, "-d", "--image", "debian", "--vmm", "qemu", "--net", "learn"];
    let seen = Seen::new(&args, host.mvm_command(&args).env("PATH", path).output().unwrap());
    assert_eq!(seen.code, 1, "{seen}");
    let folder = host.machine(machine);
    let said = fs_err::read_to_string(folder.join("console.log")).unwrap();
    let log = fs_err::read_to_string(folder.join("vmm.log")).unwrap();
    assert!(said.ends_with("through\n"), "{seen}\n{said}\n{log}");
    said
}

fn a_hostile_vmm_reaches_nothing_but_its_own(who: Who) {
    let Some(host) = host(who) else { return };
    for machine in ["hostile", "other"] {
        host.forget(machine);
    }
    let bin = host.home.join("hostile");
    fs_err::create_dir_all(&bin).unwrap();
    fs_err::set_permissions(&bin, PermissionsExt::from_mode(0o755)).unwrap();
    let image = fs_err::read_dir(host.home.join("images")).unwrap().flatten();
    let image = image
        // Another test may have made one of another suite.
        .filter(|entry| {
            fs_err::read_to_string(entry.path().join("image.json"))
                .is_ok_and(|text| text.contains("\"bookworm\""))
        })
        .map(|entry| entry.file_name().into_string().unwrap())
        .next()
        .unwrap();

    let mut victim = host.command("sleep").arg("600").spawn().unwrap();
    let name = format!("mvm-test-{}", victim.id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let socket = bin.join("socket");
    if socket.exists() {
        fs_err::remove_file(&socket).unwrap();
    }
    let _socket = UnixListener::bind(&socket).unwrap();
    fs_err::set_permissions(&socket, PermissionsExt::from_mode(0o777)).unwrap();
    let loopback = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = loopback.local_addr().unwrap().port();

    let home = host.home.display();
    let machines = format!("{home}/machines");
    let target = format!(
        "my %target = (secrets => ['{machines}/other/vm.json', '{machines}/other/disk.img', '{machines}/other/keys', \
         '{machines}/hostile/vm.json', '{machines}/hostile/keys', '../other/disk.img', '{home}/images', '{home}/locks', 'vm.json', 'keys'], \
         read_only => ['../../images/{image}/base', '../../images/{image}/kernel', 'run/forward.pl', 'run/cell.sh', \
         'run/vm.json', 'vm.json', '/usr/bin/env', '{machines}/other/disk.img'], \
         folders => ['{home}', '{machines}', '{machines}/hostile'], image => '{image}', victim => {}, \
         abstract => '{name}', socket => '{}', port => {port}, addresses => []);",
        victim.id(),
        socket.display(),
    );
    let program = bin.join(format!("qemu-system-{ARCH}"));
    fs_err::write(&program, format!("#!/usr/bin/perl\n{target}\n{HOSTILE}")).unwrap();
    fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());

    start(&host, "other", &path);
    let said = start(&host, "hostile", &path);
    let lines = |what: &str| -> Vec<&str> { said.lines().filter(|line| line.starts_with(what)).collect() };
    assert_eq!(lines("reached: "), [""; 0], "{said}");
    assert_eq!(
        lines("own: "),
        ["own: disk.img", "own: vmm.log", "own: run/out/new", "own: /dev/null", "own: image"]
    );

    // That the targets are there to be reached, as the same user without the confinement.
    let line = format!(
        "test -r '{machines}/other/disk.img' && test -w '{machines}/hostile/keys' && kill -0 {} && \
         grep -q {name} /proc/net/unix && test -S '{}' && (exec 3<>/dev/tcp/127.0.0.1/{port})",
        victim.id(),
        socket.display()
    );
    assert!(host.command("bash").args(["-c", &line]).status().unwrap().success(), "{line}");
    victim.kill().unwrap();
    victim.wait().unwrap();
    fs_err::remove_dir_all(&bin).unwrap();
    for machine in ["hostile", "other"] {
        host.ok(&["destroy", machine, "--yes"]);
    }
}

#[test]
fn a_hostile_vmm_reaches_nothing_but_its_own_as_root() {
    a_hostile_vmm_reaches_nothing_but_its_own(Who::Root);
}

#[test]
fn a_hostile_vmm_reaches_nothing_but_its_own_as_an_ordinary_user() {
    a_hostile_vmm_reaches_nothing_but_its_own(Who::User);
}
