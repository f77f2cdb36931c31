//! Every state of Lima, with a fake one: what is done, what is said.

use std::os::unix::fs::PermissionsExt;

use mvm::digest::Sha256;

use crate::common::server::{Page, Server};
use crate::environment::{Seen, TestHost};

/// A Linux host with Lima, without a VM.
pub(crate) fn with_lima() -> TestHost {
    let host = TestHost::bare().fake_administration().fake(&["limactl", "ssh"]);
    host.write("home/suites", "");
    host.write("home/vm/.keep", "");
    host.open("home/vm");
    host
}

/// A Mac without anything but Homebrew.
fn mac(chip: &str, version: &str) -> TestHost {
    let host = TestHost::bare().fake_administration().fake(&["uname", "sw_vers", "sysctl", "ssh"]);
    host.write("home/uname", "Darwin arm64\n");
    host.write("home/sw_vers", &format!("{version}\n"));
    host.write(
        "home/sysctl",
        &format!(
            "hw.memsize: 17179869184\nhw.ncpu: 8\nmachdep.cpu.brand_string: {chip}\nkern.hv_support: 1\n"
        ),
    );
    host.fake_at("limactl", "home/limactl");
    host.open("bin");
    host
}

pub(crate) fn lima(host: &TestHost, words: &[&str]) -> Seen {
    host.mvm(&[&["--host", "lima"], words].concat())
}

/// The calls that change Lima's instance, in their order.
fn changes(host: &TestHost) -> Vec<String> {
    let log = host.log();
    let words = log.lines().filter_map(|line| line.strip_prefix("limactl ")?.split(' ').next());
    words.filter(|word| !matches!(*word, "list" | "--version" | "shell")).map(str::to_owned).collect()
}

pub(crate) fn vm(host: &TestHost, status: &str) {
    host.write("home/lima/mvm/status", status);
    host.write("home/lima/mvm/disk", "");
    host.write("home/lima/mvm/lima.yaml", "");
    host.write("home/lima/mvm/ssh.config", "");
    host.write("home/lima/mvm/ha.stdout.log", "{\"status\":{\"running\":true}}\n");
    for dir in ["home/lima", "home/lima/mvm"] {
        host.open(dir);
    }
    for file in ["status", "disk", "lima.yaml", "ssh.config", "ha.stdout.log"] {
        host.open(&format!("home/lima/mvm/{file}"));
    }
}

#[test]
fn without_lima_each_command_says_what_to_do() {
    for (words, remedy) in [
        (&["setup"][..], "mvm bootstrap"),
        (&["start"], "mvm bootstrap"),
        (&["ssh"], "mvm bootstrap"),
        (&["stop"], "mvm bootstrap"),
        (&["shell"], "mvm bootstrap"),
    ] {
        let host = TestHost::bare();
        let shown = lima(&host, words);
        assert!(shown.code == 3 && shown.stderr.contains(remedy), "{words:?}: {shown}");
    }
    let shown = lima(&TestHost::bare(), &["status"]);
    assert!(shown.code == 0 && shown.stdout.contains("Lima is not installed"), "{shown}");
    let shown = lima(&TestHost::bare(), &["doctor"]);
    assert!(shown.code == 1 && shown.stdout.contains("✗ limactl"), "{shown}");
    let shown = lima(&TestHost::bare(), &["destroy", "--all", "--yes"]);
    assert!(shown.code == 0 && shown.stderr.contains("no Lima VM"), "{shown}");
}

#[test]
fn bootstrap_on_a_mac_installs_lima_by_homebrew_and_goes_on() {
    for command in ["bootstrap", "dev"] {
        let host = mac("Apple M3 Pro", "15.2").fake(&["brew"]);
        let shown = lima(&host, &[command]);
        let log = host.log();
        assert!(log.contains("brew install lima (auto-update off: 1)"), "{shown}\n{log}");
        assert_eq!(changes(&host), ["create", "start"], "{shown}");
        let yaml = fs_err::read_to_string(host.path("home/lima/mvm/lima.yaml")).unwrap();
        assert!(
            yaml.contains("vmType: \"vz\"\nnestedVirtualization: true\ncpus: 8\nmemory: \"8192MiB\""),
            "{yaml}"
        );
    }
}

#[test]
fn a_mac_that_cannot_nest_is_told_so_before_the_vm_is_made() {
    for (chip, version, why) in
        [("Apple M1", "15.2", "Apple M1 has no nested"), ("Apple M3", "14.6", "macOS 14.6 has no nested")]
    {
        let host = mac(chip, version).fake(&["brew"]);
        let shown = lima(&host, &["bootstrap"]);
        assert!(shown.stderr.contains(why) && shown.stderr.contains("QEMU in software"), "{shown}");
        let yaml = fs_err::read_to_string(host.path("home/lima/mvm/lima.yaml")).unwrap();
        assert!(yaml.contains("nestedVirtualization: false"), "{yaml}");
    }
}

#[test]
fn an_unusable_limactl_is_explained() {
    let host = with_lima();
    host.write("home/lima-version", "1.2.1");
    let shown = lima(&host, &["setup"]);
    assert!(shown.code == 1 && shown.stderr.contains("1.2.1 is too old"), "{shown}");
    let host = with_lima();
    host.write("home/rosetta", "");
    let shown = lima(&host, &["dev"]);
    assert!(shown.code == 1 && shown.stderr.contains("/opt/homebrew"), "{shown}");
    if crate::common::is_root() {
        let shown = with_lima().mvm_as_is(&["--host", "lima", "dev"]);
        assert!(shown.code == 1 && shown.stderr.contains("ordinary user"), "{shown}");
    }
}

/// A release of Lima on loopback, whose limactl is the fake one.
fn release(host: &TestHost) -> Server {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("bin")).unwrap();
    fs_err::copy("testing/fakes/limactl", dir.path().join("bin/limactl")).unwrap();
    fs_err::set_permissions(dir.path().join("bin/limactl"), PermissionsExt::from_mode(0o755)).unwrap();
    let tarball = dir.path().join("lima.tar.gz");
    let mut pack = std::process::Command::new("tar");
    let status = pack.arg("-czf").arg(&tarball).arg("-C").arg(dir.path()).arg("bin").status();
    assert!(status.unwrap().success());
    let bytes = fs_err::read(tarball).unwrap();
    let (name, server) = ("lima-2.2.0-Darwin-arm64.tar.gz", Server::start());
    server.put("/v2.2.0/SHA256SUMS", Page::File(format!("{}  {name}\n", Sha256::of(&bytes)).into_bytes()));
    server.put(&format!("/v2.2.0/{name}"), Page::File(bytes));
    host.write("config/mvm/config.toml", &format!("[mirror]\nlima = \"{}\"\n", server.url("")));
    server
}

#[test]
fn without_homebrew_the_release_is_offered() {
    let host = mac("Apple M4", "15.2");
    let _server = release(&host);
    let shown = lima(&host, &["bootstrap"]);
    assert!(
        shown.code == 3 && shown.stderr.contains("no Homebrew") && shown.stderr.contains("--yes"),
        "{shown}"
    );
    let shown = lima(&host, &["bootstrap", "--yes"]);
    assert!(shown.stderr.contains("Installing Lima 2.2.0 into [HOST]/home/.local"), "{shown}");
    assert_eq!(changes(&host), ["create", "start"], "{shown}");
}

#[test]
fn a_release_that_is_not_what_it_should_be_is_not_installed() {
    let host = mac("Apple M4", "15.2");
    let server = release(&host);
    server.put("/v2.2.0/lima-2.2.0-Darwin-arm64.tar.gz", Page::File(b"something else".to_vec()));
    let shown = lima(&host, &["bootstrap", "--yes"]);
    assert!(
        shown.code == 1 && shown.stderr.contains("SHA-256") && shown.stderr.contains("[mirror] lima"),
        "{shown}"
    );
    assert!(!host.path("home/.local/bin/limactl").exists());
}

#[test]
fn a_failing_homebrew_is_shown() {
    let host = mac("Apple M4", "15.2").fake(&["brew"]);
    host.write("home/brew-fails", "");
    let shown = lima(&host, &["bootstrap"]);
    assert!(shown.code == 1 && shown.stderr.contains("no bottle available"), "{shown}");
}

#[test]
fn dev_goes_on_from_every_state_of_the_vm() {
    // Its own script would change the host: the fake sudo only notes it.
    for (status, expected) in [("Stopped", &["start"][..]), ("Running", &[]), ("Broken", &["stop", "start"])]
    {
        let host = with_lima();
        host.write("home/no-provisioning", "");
        vm(&host, status);
        if status == "Broken" {
            host.write("home/lima/mvm/errors", "host agent is running but driver is not\n");
            host.open("home/lima/mvm/errors");
        }
        let shown = lima(&host, &["dev"]);
        assert_eq!(changes(&host), expected, "{status}: {shown}");
        assert!(host.log().contains("lima/provision"), "{status}: {shown}\n{}", host.log());
    }
}

/// Lima itself neither starts, stops nor deletes such a VM.
#[test]
fn a_vm_without_its_file_is_mended_or_destroyed() {
    for (words, expected) in [(&["dev"][..], &["start"][..]), (&["destroy", "--all", "--yes"], &["delete"])] {
        let host = with_lima();
        host.write("home/no-provisioning", "");
        vm(&host, "Stopped");
        fs_err::remove_file(host.path("home/lima/mvm/lima.yaml")).unwrap();
        let status = lima(&host, &["ssh"]);
        assert!(status.stderr.contains("has lost its file"), "{status}");
        let shown = lima(&host, words);
        assert_eq!(changes(&host), expected, "{shown}");
    }
}

#[test]
fn a_cut_download_goes_on_with_the_next_run() {
    let host = with_lima();
    host.write("home/no-provisioning", "");
    host.write("home/no-download", "");
    let shown = lima(&host, &["setup"]);
    assert!(
        shown.code == 1 && shown.stderr.contains("got 404") && shown.stderr.contains("[lima] image"),
        "{shown}"
    );
    let shown = lima(&host, &["status"]);
    assert!(shown.stdout.contains("half created"), "{shown}");
    let shown = lima(&host, &["setup"]);
    assert!(shown.stderr.contains("cut off and goes on"), "{shown}");
    assert_eq!(changes(&host), ["create", "start"], "{shown}");
}

#[test]
fn start_expects_setup_and_starts_a_stopped_vm() {
    let host = with_lima();
    let shown = lima(&host, &["start"]);
    assert!(shown.code == 3 && shown.stderr.contains("no Lima VM `mvm` yet"), "{shown}");
    vm(&host, "Stopped");
    let shown = lima(&host, &["start"]);
    assert_eq!(changes(&host), ["start"], "{shown}");
    assert!(shown.code == 3 && shown.stderr.contains("not set up"), "{shown}");
}

#[test]
fn status_works_in_every_state() {
    let host = with_lima();
    let shown = lima(&host, &["status"]);
    assert!(shown.code == 0 && shown.stdout.contains("no Lima VM `mvm` yet"), "{shown}");
    for (status, words) in
        [("Stopped", "stopped: `mvm dev` starts it"), ("Broken", "broken"), ("", "not readable")]
    {
        vm(&host, status);
        host.write("home/lima/mvm/errors", "qemu driver is running but host agent is not\n");
        let shown = lima(&host, &["status"]);
        assert!(shown.code == 0 && shown.stdout.contains(words), "{shown}");
        assert!(shown.stdout.contains("qemu driver is running but host agent is not"), "{shown}");
        let json: serde_json::Value =
            serde_json::from_str(&lima(&host, &["status", "--json"]).stdout).unwrap();
        assert_eq!(json["lima"]["errors"][0], "qemu driver is running but host agent is not");
    }
    vm(&host, "Running");
    let before = host.log().lines().filter(|line| line.starts_with("ssh ")).count();
    let shown = lima(&host, &["status", "--verbose"]);
    assert!(
        shown.code == 0 && shown.stdout.contains("Lima VM     running, SSH port 60022; 2 CPUs, 4 GiB"),
        "{shown}"
    );
    assert!(
        shown.stdout.contains("the Lima VM `mvm`: ")
            && shown.stderr.contains("round trips to the Linux side: 1"),
        "{shown}"
    );
    assert_eq!(host.log().lines().filter(|line| line.starts_with("ssh ")).count(), before + 1);
}

#[test]
fn both_transports_bring_the_same() {
    let host = with_lima();
    vm(&host, "Running");
    let by_ssh = lima(&host, &["shell", "--", "printf", "%s|", "a b", "", "it's", "$HOME"]);
    assert_eq!(by_ssh.stdout, "Welcome to the fake VM\na b||it's|$HOME|", "{by_ssh}");
    host.write("config/mvm/config.toml", "[lima]\ntransport = \"limactl\"\n");
    let by_limactl = lima(&host, &["shell", "--", "printf", "%s|", "a b", "", "it's", "$HOME"]);
    assert_eq!(by_limactl.stdout, "a b||it's|$HOME|", "{by_limactl}");
    let shown = lima(&host, &["shell", "--", "exit 42"]);
    assert_eq!(shown.code, 42, "{shown}");
}

#[test]
fn a_wedged_connection_is_made_anew() {
    let host = with_lima();
    vm(&host, "Running");
    host.write("home/wedged", "master");
    let shown = lima(&host, &["status"]);
    assert!(shown.code == 0 && shown.stdout.contains("Machines"), "{shown}");
    assert!(host.log().contains("-O exit lima-mvm"), "{}", host.log());
}

#[test]
fn a_vm_that_does_not_answer_is_started_again_by_dev_only() {
    let host = with_lima();
    host.write("home/no-provisioning", "");
    vm(&host, "Running");
    host.write("home/refused", "");
    let shown = lima(&host, &["status"]);
    assert!(
        shown.code == 1 && shown.stderr.contains("does not answer") && shown.stderr.contains("mvm dev"),
        "{shown}"
    );
    let shown = lima(&host, &["dev"]);
    assert_eq!(changes(&host), ["stop", "start"], "{shown}");
}

#[test]
fn destroy_all_removes_the_vm_after_asking() {
    let host = with_lima();
    vm(&host, "Running");
    let shown = lima(&host, &["destroy", "--all"]);
    assert!(shown.code == 2 && host.path("home/lima/mvm").exists(), "{shown}");
    let shown = lima(&host, &["destroy", "--all", "--yes"]);
    assert!(shown.code == 0 && !host.path("home/lima/mvm").exists(), "{shown}");
    assert_eq!(changes(&host), ["delete"]);
}

#[test]
fn a_dry_run_shows_the_steps_and_does_nothing() {
    let host = with_lima();
    let shown = lima(&host, &["dev", "--dry-run"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert!(
        shown.stdout.starts_with("create the Lima VM `mvm`\nstart the Lima VM `mvm`: it is new\n"),
        "{shown}"
    );
    assert_eq!(changes(&host), [""; 0]);
}
