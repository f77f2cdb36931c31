//! Published ports, as one asks for them: without a machine that runs, and with a fake Lima VM in which one does.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::common::process::wait_until;
use crate::common::{is_root, which};
use crate::environment::TestHost;
use crate::forward::{finds_each_client, reversing, start};
use crate::lima::{lima, vm, with_lima};

fn host() -> TestHost {
    let host = TestHost::bare();
    host.machine("web");
    host.machine("api");
    host
}

/// Runs mvm, which has to succeed; all that it says.
fn ok(host: &TestHost, args: &[&str]) -> String {
    let shown = host.mvm_as_is(args);
    assert_eq!(shown.code, 0, "{shown}");
    shown.stdout + &shown.stderr
}

fn spec(host: &TestHost, name: &str) -> Value {
    serde_json::from_str(&host.read(&format!("home/mvm/machines/{name}/vm.json"))).unwrap()
}

#[test]
fn ports_of_a_stopped_machine_are_remembered() {
    let host = host();
    let shown = ok(&host, &["port", "add", "18080:80", "web"]);
    assert!(shown.contains("from its next start on"), "{shown}");
    ok(&host, &["port", "add", "127.0.0.1:15353:53/udp", "web"]);
    assert_eq!(spec(&host, "web")["ports"], json!(["18080:80", "15353:53/udp"]));
    // What a port leads to can be changed; two ports cannot be one.
    ok(&host, &["port", "add", "18080:81", "web"]);
    let shown = host.mvm_as_is(&["port", "add", "0.0.0.0:18080:80", "web"]);
    assert!(shown.code == 2 && shown.stderr.contains("the same port of the host"), "{shown}");
    let shown = ok(&host, &["port", "ls"]);
    for row in
        [" web      127.0.0.1:15353/udp  53     stopped", " web      127.0.0.1:18080      81     stopped"]
    {
        assert!(shown.contains(row), "{shown}");
    }
    let listed: Value = serde_json::from_str(&ok(&host, &["port", "ls", "web", "--json"])).unwrap();
    let expected = json!({"machine": "web", "protocol": "udp", "host_address": "127.0.0.1", "host_port": 15353,
        "guest_port": 53, "state": "stopped", "why": null});
    assert!(listed.as_array().unwrap().contains(&expected), "{listed:#}");
    assert!(ok(&host, &["ls"]).contains(" 18080:81 15353:53/udp "));

    // Several at once lose none.
    std::thread::scope(|scope| {
        for port in 18081..18085 {
            let host = &host;
            scope.spawn(move || ok(host, &["port", "add", &port.to_string(), "api"]));
        }
    });
    assert_eq!(spec(&host, "api")["ports"].as_array().unwrap().len(), 4);
    // One that was written by hand.
    let text = serde_json::to_string_pretty(&spec(&host, "api")).unwrap();
    host.write("home/mvm/machines/api/vm.json", &text);
    ok(&host, &["port", "rm", "18081", "api"]);
    assert_eq!(spec(&host, "api")["ports"].as_array().unwrap().len(), 3);
    let events = host.read("home/mvm/machines/api/events.log");
    assert!(events.lines().count() == 5 && events.ends_with(" publishes 18081:18081 no more\n"), "{events}");

    ok(&host, &["port", "rm", "18080", "web"]);
    assert_eq!(spec(&host, "web")["ports"], json!(["15353:53/udp"]));
    let shown = host.mvm_as_is(&["port", "rm", "18080", "web"]);
    assert!(shown.code == 1 && shown.stderr.contains("it publishes 15353:53/udp"), "{shown}");
    ok(&host, &["port", "rm", "15353:53/udp", "web"]);
    // As an older mvm would have written it.
    assert_eq!(spec(&host, "web").get("ports"), None);
    assert_eq!(ok(&host, &["port", "ls", "web", "--json"]), "[]\n");
    let shown = host.mvm_as_is(&["port", "ls", "wbe"]);
    assert!(shown.code == 1 && shown.stderr.contains("did you mean `web`"), "{shown}");
}

/// A process that is taken for a machine's.
struct Stand(Child);

impl Stand {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    /// PID, start time, boot.
    fn identity(&self) -> String {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let started = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().to_owned();
        let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        format!("{} {started} {boot}", self.0.id())
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A machine that boots, with ports that are open.
fn boots(host: &TestHost, dir: &str, stand: &Stand, protocol: &str, open: &[SocketAddr]) {
    let ports: Vec<_> = open.iter().map(|listen| format!("{listen}:80/{protocol}")).collect();
    let spec = json!({"version": 1, "name": "web", "image": "debian:bookworm", "image_id": "abc", "cpus": 1,
        "memory_mib": 512, "disk_bytes": 128 << 20, "vmm": "auto", "created": 1, "ports": ports});
    let write = |file: &str, text: &str| host.write(&format!("{dir}/{file}"), text);
    write("vm.json", &format!("{spec}\n"));
    write("run/cell", &stand.identity());
    write("run/vmm", &stand.identity());
    write("run/as", "qemu tcg\n");
    for listen in open {
        write(&format!("run/ports/{}{protocol}", listen.port()), &stand.identity());
        write(&format!("run/ports/{}{protocol}.log", listen.port()), "listening\n");
    }
}

#[test]
fn a_port_that_cannot_be_opened_is_explained() {
    let (host, stand) = (host(), Stand::new());
    boots(&host, "home/mvm/machines/web", &stand, "tcp", &[]);
    symlink(which("ss").unwrap(), host.path("bin/ss")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let shown = host.mvm_as_is(&["port", "add", &format!("{port}:80"), "web"]);
    let holder = format!("the port 127.0.0.1:{port} is taken by `it-");
    assert!(shown.code == 1 && shown.stderr.contains(&holder), "{shown}");
    assert!(shown.stderr.contains(&format!("(PID {})", std::process::id())), "{shown}");
    assert!(shown.stderr.contains("another port of this host, such as `"), "{shown}");
    assert_eq!(spec(&host, "web")["ports"], json!([]));
    let shown = host.mvm_as_is(&["port", "add", "203.0.113.9:80:80", "web"]);
    assert!(shown.code == 1 && shown.stderr.contains("no address 203.0.113.9"), "{shown}");
    for (text, why) in
        [("8080:80/sctp", "neither tcp nor udp"), ("[::1:8080:80", "brackets"), ("http", "no port")]
    {
        let shown = host.mvm_as_is(&["start", "new", "-p", text]);
        assert!(shown.code == 2 && shown.stderr.contains(why), "{shown}");
    }
    let first = fs_err::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u16>().unwrap() > 81 {
        let shown = host.mvm(&["port", "add", "81", "web"]);
        assert!(shown.code == 3 && shown.stderr.contains("ip_unprivileged_port_start=81"), "{shown}");
        assert!(shown.stderr.contains("such as `8081:81`"), "{shown}");
    }
}

#[test]
fn ports_in_the_lima_vm_are_brought_to_this_host_by_whatever_looks() {
    let host = with_lima();
    vm(&host, "Running");
    let stand = Stand::new();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = "home/vm/.local/share/mvm/machines/web";
    boots(&host, dir, &stand, "tcp", &[listen]);
    let socket = format!("{}/run/ports/{}tcp.sock", host.path(dir).display(), listen.port());
    let carried =
        || host.log().lines().filter(|line| line.contains(" -L ")).map(str::to_owned).collect::<Vec<_>>();

    let shown = lima(&host, &["ls"]);
    assert!(shown.code == 0 && shown.stdout.contains(&format!(" {}:80 ", listen.port())), "{shown}");
    let words = carried();
    assert_eq!(words.len(), 1, "{}", host.log());
    for part in [format!("-L {listen}:{socket} lima-mvm --"), "-f -T -n".into(), "ControlPath=none".into()] {
        assert!(words[0].contains(&part), "{part}: {words:?}");
    }
    // The fake opens nothing, so it is tried again, and said.
    let shown = lima(&host, &["port", "ls"]);
    assert!(shown.stdout.contains("closed: the connection to the Lima VM `mvm` broke"), "{shown}");
    assert_eq!(carried().len(), 2);
    // What listens is left alone, whosever it is.
    let other = TcpListener::bind(listen).unwrap();
    assert_eq!(lima(&host, &["ls"]).code, 0);
    assert_eq!(carried().len(), 2);
    drop(other);
    host.write("home/no-forward", "bind [127.0.0.1]: Address already in use\n");
    let shown = lima(&host, &["ls"]);
    assert!(shown.code == 0 && shown.stderr.contains("is not open: bind [127.0.0.1]"), "{shown}");
    drop(stand);
    let count = carried().len();
    wait_until("its end", || lima(&host, &["port", "ls"]).stdout.contains("stopped"));
    assert_eq!(carried().len(), count);
}

#[test]
fn datagrams_are_carried_from_the_lima_vm() {
    let host = with_lima();
    vm(&host, "Running");
    let stand = Stand::new();
    let listen = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = "home/vm/.local/share/mvm/machines/web";
    boots(&host, dir, &stand, "udp", &[listen]);
    host.write(&format!("{dir}/run/forward.pl"), include_str!("../../resources/scripts/cell/forward.pl"));
    // Nothing of it is there yet.
    let shown = lima(&host, &["ls"]);
    assert!(shown.code == 0 && shown.stderr.contains("/udp of `web` is not open: No such file"), "{shown}");

    let socket = host.path(dir).join(format!("run/ports/{}udp.sock", listen.port()));
    let guest = reversing();
    let (forwarder, said) = start("udp", socket.to_str().unwrap(), guest);
    assert_eq!(said, "listening\n");
    for file in ["run/forward.pl", &format!("run/ports/{}udp.sock", listen.port())] {
        host.open(&format!("{dir}/{file}"));
    }
    let shown = lima(&host, &["ls"]);
    assert!(shown.code == 0 && shown.stderr.is_empty(), "{shown}");
    finds_each_client(listen, 3);
    // Who looks sees whose it is, and leaves it alone.
    let shown = lima(&host, &["port", "ls"]);
    assert!(shown.stdout.contains("/udp  80     open"), "{shown}");
    // With its forwarder the port goes.
    drop(forwarder);
    wait_until("the port's end", || UdpSocket::bind(listen).is_ok());
}

#[test]
fn what_led_to_a_port_before_is_waited_for() {
    let host = with_lima();
    vm(&host, "Running");
    // Each look of mvm's is noted.
    let ss = format!(
        "#!/bin/bash\nprintf 'ss %s\\n' \"$*\" >>\"$FAKES/log\"\nexec {} \"$@\"\n",
        which("ss").unwrap().display()
    );
    host.write("bin/ss", &ss);
    host.open("bin/ss");
    let looks = || host.log().lines().filter(|line| line.starts_with("ss ")).count();
    let stand = Stand::new();
    boots(&host, "home/vm/.local/share/mvm/machines/web", &stand, "tcp", &[]);
    host.write("home/vm/.local/share/mvm/locks/.keep", "");
    for dir in ["locks", "machines/web"] {
        host.open(&format!("home/vm/.local/share/mvm/{dir}"));
    }
    // One that ends when it is spoken to, and is known by its words.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let leaves = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => $ARGV[0], Listen => 9, ReuseAddr => 1) or die; \
                  $| = 1; print 'listens'; my $c = $s->accept";
    let leaving = |words: &str| {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl"]);
            command
        } else {
            Command::new("perl")
        };
        command.args(["-e", leaves, &listen.to_string(), words]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 7]).unwrap();
        Stand(child)
    };
    let add = || lima(&host, &["port", "add", &format!("{}:80", listen.port()), "web"]);
    let other = leaving("someone else's");
    let shown = add();
    assert!(shown.code == 1 && shown.stderr.contains("is taken by `perl`"), "{shown}");
    drop(other);
    let ours = leaving(&format!("-L {listen}:/h/machines/web/run/ports/{}tcp.sock", listen.port()));
    let before = looks();
    let shown = std::thread::scope(|scope| {
        let shown = scope.spawn(add);
        wait_until("the look", || looks() > before);
        drop(TcpStream::connect(listen));
        shown.join().unwrap()
    });
    drop(ours);
    // The machine is of a kind that has no ports, so this was as far as it goes.
    assert!(shown.code == 1 && shown.stderr.contains("started by an older mvm"), "{shown}");
}
