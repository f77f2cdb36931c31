//! Network policies, without a machine: what is written down, what is refused, that nft takes the rules, and what is noted of names.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use mvm::network::{Policy, rules};

use crate::common::{skipped, which};
use crate::environment::TestHost;

#[test]
fn a_policy_is_written_down_and_shown() {
    let host = TestHost::bare();
    host.machine("web");
    let spec = || -> serde_json::Value {
        serde_json::from_str(&host.read("home/mvm/machines/web/vm.json")).unwrap()
    };
    assert!(!host.mvm_as_is(&["ls"]).stdout.contains("NET"));
    let seen = host.mvm_as_is(&["net", "set", "allow=10.1.2.3/16:443", "web"]);
    assert!(
        seen.code == 0 && seen.stderr.contains("from its next start on: allow=10.1.0.0/16:443"),
        "{seen}"
    );
    assert_eq!(spec()["net"], "allow=10.1.0.0/16:443");
    assert_eq!(host.mvm_as_is(&["net", "show", "web"]).stdout, "allow=10.1.0.0/16:443\n");
    assert!(host.read("home/mvm/machines/web/events.log").ends_with("Z net: allow=10.1.0.0/16:443\n"));
    let seen = host.mvm_as_is(&["ls"]);
    assert!(seen.stdout.contains("NET") && seen.stdout.contains("allow=10.1.0.0/16:443"), "{seen}");
    let seen = host.mvm_as_is(&["status", "--json"]);
    assert!(seen.stdout.contains(r#""net": "allow=10.1.0.0/16:443""#), "{seen}");
    // What it reaches is known while it runs.
    let seen = host.mvm_as_is(&["net", "log", "web"]);
    assert!(seen.code == 4 && seen.stderr.contains("mvm start web"), "{seen}");
    // Open is what an older mvm's file says, too.
    assert_eq!(host.mvm_as_is(&["net", "set", "open", "web"]).code, 0);
    assert!(spec().get("net").is_none());

    host.write("src/mvm.toml", "name = \"web\"\nnet = \"none\"\n");
    let seen = host.mvm_as_is_in("src", &["diff"]);
    assert!(seen.code == 5 && seen.stdout.contains("net: open → none"), "{seen}");
}

#[test]
fn what_is_no_policy_is_named_with_the_form_of_one() {
    let host = TestHost::bare();
    host.machine("web");
    for args in
        [&["net", "set", "allow=a.org,*.b.org", "web"][..], &["start", "new", "--net", "allow=a.org,*.b.org"]]
    {
        let seen = host.mvm_as_is(args);
        let said = seen.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            seen.code == 2 && said.contains("`*.b.org` needs no `*.`") && said.contains("`10.1.0.1:53/udp`"),
            "{seen}"
        );
    }
    host.write("src/mvm.toml", "net = \"allow=a.org:http\"\n");
    let seen = host.mvm_as_is_in("src", &["diff"]);
    assert!(seen.code == 2 && seen.stderr.contains("`a.org:http` has no valid port"), "{seen}");
}

/// One after the other in the same namespace, as they are in a cell.
#[test]
fn nft_takes_the_rules_of_every_policy_after_any_other() {
    let (Some(nft), Some(unshare)) = (which("nft"), which("unshare")) else {
        return skipped("the rules: nft is not installed");
    };
    let namespace = |line: &str, input: &str| {
        let mut child = Command::new(&unshare)
            .args(["--user", "--map-root-user", "--net", "sh", "-ec", line, "sh"])
            .arg(&nft)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or_default();
        child.wait_with_output().unwrap()
    };
    if !namespace("exec \"$1\" list ruleset", "").status.success() {
        return skipped("the rules: this host lets nobody make namespaces");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut line = String::new();
    let lists = [
        "allow=example.org,_a.example.org:443,10.1.0.0/16:443-444,10.2.0.1:53/udp,[2001:db8::/32]:443,2001:db8::1",
        "allow=example.org:80,0.0.0.0/0:1-65535/udp",
    ];
    for (number, text) in
        [lists[0], "open", lists[1], "none", lists[0], "learn", "open"].into_iter().enumerate()
    {
        let file = dir.path().join(number.to_string());
        let policy: Policy = text.parse().unwrap();
        fs_err::write(&file, format!("define generation = {}\n{}", number + 2, rules(&policy).unwrap()))
            .unwrap();
        line.push_str(&format!("\"$1\" -f '{}'\n", file.display()));
    }
    let output = namespace(&line, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn names_are_noted_once_and_only_where_they_are_names() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(dir.path().join("run/net")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("resources/scripts/cell/names.pl");
    let run = |lines: &str| {
        let mut child = Command::new("perl")
            .arg(&script)
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Of much that is said it passes on a little, so that the pipe does not fill up.
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        (
            String::from_utf8(output.stdout).unwrap(),
            fs_err::read_to_string(dir.path().join("run/net/names")).unwrap(),
        )
    };
    let lines = "dnsmasq[1]: started, version 2.90 cache disabled\n\
                 dnsmasq[1]: 1 172.16.0.2/4000 query[A] Alias.example from 172.16.0.2\n\
                 dnsmasq[1]: 1 172.16.0.2/4000 forwarded alias.example to 169.254.1.2\n\
                 dnsmasq[1]: 2 172.16.0.2/4001 query[AAAA] six.example from 172.16.0.2\n\
                 dnsmasq[1]: 1 172.16.0.2/4000 reply alias.example is <CNAME>\n\
                 dnsmasq[1]: 1 172.16.0.2/4000 reply target.example is 203.0.113.1\n\
                 dnsmasq[1]: 2 172.16.0.2/4001 reply six.example is 2001:db8::1\n\
                 dnsmasq[1]: 3 172.16.0.2/4002 query[A] bad.example from 172.16.0.2\n\
                 dnsmasq[1]: 3 172.16.0.2/4002 config error is REFUSED (EDE: not ready)\n\
                 dnsmasq[1]: 4 172.16.0.2/4003 query[A] a reply b is 203.0.113.9 from 172.16.0.2\n\
                 dnsmasq[1]: 4 172.16.0.2/4003 reply x is 203.0.113.9\n\
                 dnsmasq[1]: 9 172.16.0.2/4009 reply unasked.example is 203.0.113.9\n";
    let noted = "203.0.113.1 alias.example\n2001:db8::1 six.example\nrefused bad.example\n";
    let (said, names) = run(lines);
    assert_eq!(said, "mvm: resolver: dnsmasq[1]: started, version 2.90 cache disabled\n");
    assert_eq!(names, noted);
    // Once more, by another one: nothing is noted twice.
    assert_eq!(run(lines).1, noted);
    // A guest that asks without end fills nothing.
    let many: String = (0..20_000)
        .map(|n| {
            format!(
                "dnsmasq[1]: {n} 172.16.0.2/1 query[A] n{n}.example from 172.16.0.2\n\
                 dnsmasq[1]: {n} 172.16.0.2/1 config error is REFUSED (EDE: not ready)\nnoise\n"
            )
        })
        .collect();
    let (said, names) = run(&many);
    assert_eq!((said.lines().count(), names.lines().count()), (200, 8192));
}
