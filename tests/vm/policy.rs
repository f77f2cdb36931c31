//! What a machine may reach, by its network policy: against servers and a resolver in namespaces of this test (testing/neighbourhood.sh).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{install, is_root, skipped};
use crate::host::{Host, Seen, any_host, command_line, descendants, kill, lives, wait_until};

/// Namespaces in which mvm is started: what it takes for the host's network is this test's.
struct Neighbourhood<'a> {
    host: &'a Host,
    holder: Child,
    folder: PathBuf,
}

impl<'a> Neighbourhood<'a> {
    fn new(host: &'a Host) -> Self {
        let folder = std::env::temp_dir().join(format!("mvm-neighbourhood-{}", std::process::id()));
        fs_err::create_dir_all(&folder).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/testing/neighbourhood.sh");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "bash", script])
            .arg(&folder)
            .args(["80", "443", "8080"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        Self { host, holder, folder }
    }

    fn mvm(&self, args: &[&str]) -> Seen {
        let inner = self.host.mvm_command(args);
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-n", "-m", "--"]);
        command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null()).env_clear();
        command.current_dir(inner.get_current_dir().unwrap_or("/".as_ref()));
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Seen::new(args, command.output().unwrap())
    }

    fn ok(&self, args: &[&str]) -> Seen {
        let seen = self.mvm(args);
        assert_eq!(seen.code, 0, "{seen}");
        seen
    }
}

impl Drop for Neighbourhood<'_> {
    fn drop(&mut self) {
        self.holder.kill().unwrap_or_default();
        self.holder.wait().map(drop).unwrap_or_default();
        fs_err::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

/// Tries each `HOST:PORT[/udp]` in the guest, and says for each what it reached, or how it was refused. None of them may hang.
const TRY: &str = r"
import socket, sys
for place in sys.argv[1:]:
    target, _, protocol = place.partition('/')
    host, port = target.rsplit(':', 1)
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if protocol else socket.SOCK_STREAM)
        s.settimeout(30)
        s.connect((host, int(port)))
        if protocol:
            s.send(b'echo')
        print(place, s.recv(100).decode().strip())
    except socket.gaierror:
        print(place, 'no name')
    except (ConnectionRefusedError, ConnectionResetError, PermissionError):
        print(place, 'refused')
    except OSError as error:
        print(place, 'refused' if error.errno == 113 else repr(error))
";

fn tried(host: &Host, places: &[&str]) -> Vec<String> {
    let args = [&["exec", "fenced", "--", "python3", "-c", TRY], places].concat();
    host.ok(&args).stdout.lines().map(str::to_owned).collect()
}

/// The machine's resolver, in its supervisor's care.
fn resolver(host: &Host) -> Option<u32> {
    descendants(host.pid("fenced", "cell")).into_iter().find(|pid| command_line(*pid).starts_with("dnsmasq"))
}

#[test]
fn a_machine_reaches_what_its_policy_allows() {
    if !is_root() {
        return skipped("the network policies: the test needs a network of its own, which root can make");
    }
    install(&[("dnsmasq", "dnsmasq-base"), ("ip", "iproute2")]);
    let host = any_host();
    host.forget("fenced");
    let outside = Neighbourhood::new(&host);

    // From its first packet on.
    let policy =
        "allow=good.example:80,alias.example:8080,rebind.example,203.0.113.2:8080,203.0.113.3:80/udp";
    outside.ok(&["start", "fenced", "-d", "--net", policy]);
    assert_eq!(
        tried(
            &host,
            &[
                "203.0.113.1:443",
                "good.example:80",
                "sub.good.example:80",
                "good.example:443",
                "alias.example:8080",
                "bad.example:80",
                "rebind.example:80",
                "203.0.113.2:8080",
                "203.0.113.2:80",
                "203.0.113.2:8080/udp",
                "203.0.113.3:80/udp",
                "203.0.113.3:80",
                "203.0.113.53:53/udp",
                "169.254.1.2:53/udp",
                "172.16.0.1:80",
                "198.51.100.2:80",
            ]
        ),
        [
            "203.0.113.1:443 refused",
            "good.example:80 203.0.113.1:80",
            "sub.good.example:80 203.0.113.1:80",
            "good.example:443 refused",
            "alias.example:8080 203.0.113.1:8080",
            "bad.example:80 no name",
            "rebind.example:80 refused",
            "203.0.113.2:8080 203.0.113.2:8080",
            "203.0.113.2:80 refused",
            "203.0.113.2:8080/udp refused",
            "203.0.113.3:80/udp echo",
            "203.0.113.3:80 refused",
            "203.0.113.53:53/udp refused",
            "169.254.1.2:53/udp refused",
            "172.16.0.1:80 refused",
            "198.51.100.2:80 refused",
        ]
    );
    assert!(host.mvm(&["exec", "fenced", "--", "ping", "-c", "1", "-W", "5", "203.0.113.2"]).code != 0);
    let log: Value = serde_json::from_str(&host.ok(&["net", "log", "fenced", "--json"]).stdout).unwrap();
    let flow = |allowed: bool, address: Option<&str>, port: Option<u16>| {
        let same = |flow: &&Value| {
            flow["allowed"] == allowed
                && flow["address"].as_str() == address
                && flow["port"].as_u64() == port.map(u64::from)
        };
        log.as_array()
            .unwrap()
            .iter()
            .find(same)
            .unwrap_or_else(|| panic!("{address:?} {port:?}: {log}"))
            .clone()
    };
    let good = flow(true, Some("203.0.113.1"), Some(80));
    assert!(good["bytes"].as_u64().unwrap() > 100 && good["protocol"] == "tcp", "{good}");
    assert!(good["names"].as_array().unwrap().contains(&"sub.good.example".into()), "{good}");
    flow(false, Some("203.0.113.2"), Some(80));
    flow(false, Some("169.254.169.254"), Some(80));
    assert_eq!(flow(false, None, None)["names"][0], "bad.example");
    let shown = host.ok(&["net", "log", "fenced"]).stdout;
    assert!(shown.contains("refused  203.0.113.2:80/tcp"), "{shown}");

    // The resolver that is killed comes back.
    let first = resolver(&host).unwrap();
    kill("KILL", first);
    wait_until("another resolver", || resolver(&host).is_some_and(|pid| pid != first));
    wait_until("its names", || tried(&host, &["good.example:80"]) == ["good.example:80 203.0.113.1:80"]);

    // Tightened while it runs: what is open ends, and is told so.
    let held = "import socket\ns = socket.create_connection(('203.0.113.1', 80))\nopen('/tmp/held', 'w').write('held')\n\
                try:\n    while s.send(b'x') and s.recv(100): pass\nexcept OSError: pass\nopen('/tmp/held', 'w').write('ended')";
    host.ok(&[
        "exec",
        "fenced",
        "--",
        "sh",
        "-c",
        &format!("rm -f /tmp/held; setsid python3 -c \"{held}\" </dev/null >/dev/null 2>&1 &"),
    ]);
    let state = || host.inside("fenced", "cat /tmp/held 2>/dev/null || true");
    wait_until("the connection", || state() == "held");
    host.ok(&["net", "set", "none", "fenced"]);
    wait_until("the end of the connection", || state() == "ended");
    assert_eq!(host.ok(&["net", "show", "fenced"]).stdout, "none\n");
    let all = ["203.0.113.1:80", "good.example:80", "203.0.113.2:8080", "203.0.113.3:80/udp"];
    assert_eq!(
        tried(&host, &all),
        [
            "203.0.113.1:80 refused",
            "good.example:80 no name",
            "203.0.113.2:8080 refused",
            "203.0.113.3:80/udp refused"
        ]
    );
    assert_eq!(resolver(&host), None);

    // Its memory knows nothing of what holds it.
    outside.ok(&["suspend", "fenced"]);
    outside.ok(&["resume", "fenced"]);
    assert_eq!(tried(&host, &all[..1]), ["203.0.113.1:80 refused"]);

    // Open: but not what is the host's own.
    host.ok(&["net", "set", "open", "fenced"]);
    assert_eq!(
        tried(
            &host,
            &[
                "203.0.113.3:443",
                "bad.example:80",
                "203.0.113.2:80/udp",
                "rebind.example:80",
                "198.51.100.2:80"
            ]
        ),
        [
            "203.0.113.3:443 203.0.113.3:443",
            "bad.example:80 203.0.113.2:80",
            "203.0.113.2:80/udp echo",
            "rebind.example:80 refused",
            "198.51.100.2:80 refused"
        ]
    );

    // What it needs is learned, and is enough.
    host.ok(&["net", "set", "learn", "fenced"]);
    tried(&host, &["good.example:443"]);
    let learned = host.ok(&["net", "learn", "fenced"]).stdout;
    assert!(learned.starts_with("allow=") && learned.contains("good.example:443"), "{learned}");
    host.ok(&["net", "set", learned.trim(), "fenced"]);
    assert_eq!(
        tried(&host, &["good.example:443", "good.example:8080"]),
        ["good.example:443 203.0.113.1:443", "good.example:8080 refused"]
    );

    let resolver = resolver(&host).unwrap();
    host.ok(&["destroy", "fenced", "--yes"]);
    wait_until("the resolver's end", || !lives(resolver));
}

#[test]
fn a_host_that_does_not_take_the_rules_starts_no_machine() {
    let host = any_host();
    host.forget("unruled");
    let nft = "#!/bin/sh\necho 'nftables v0.9.0'\ntest \"$1\" = --version\n";
    let seen = host.mvm_with("nft", nft, &["start", "unruled", "-d", "--image", "debian"]);
    let said = seen.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(seen.code == 1 && said.contains("does not take the rules of the network policy"), "{seen}");
    assert!(said.contains("nftables v0.9.0"), "{seen}");
    assert_eq!(host.status("unruled")["state"], "stopped");
    host.ok(&["destroy", "unruled", "--yes"]);
}
