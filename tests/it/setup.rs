//! Setup on a bare host: what is asked for, what is run, what is refused.

use crate::environment::TestHost;

fn bare() -> TestHost {
    let host = TestHost::bare().fake_administration();
    host.write("home/suites", "");
    host
}

#[test]
fn without_a_terminal_the_exact_command_is_printed_and_nothing_is_run() {
    for command in ["setup", "bootstrap", "dev"] {
        let host = bare();
        let shown = host.mvm(&[command]);
        assert_eq!(shown.code, 3, "{shown}");
        let install = "sudo apt-get update && sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y \
                       --no-install-recommends ";
        assert!(shown.stderr.contains(install) && shown.stderr.contains("passt openssh-client"), "{shown}");
        assert!(!host.log().contains("apt-get update"), "{}", host.log());
    }
}

#[test]
fn with_yes_it_is_done_through_sudo() {
    let host = bare();
    let shown = host.mvm(&["setup", "--yes"]);
    let log = host.log();
    assert!(
        log.contains("sudo -n true") && log.contains("apt-get -o DPkg::Lock::Timeout=120 update"),
        "{log}"
    );
    assert!(log.contains("install -y --no-install-recommends"), "{log}");
    // The fake installs nothing, so mvm notices that it goes in circles.
    assert!(shown.code == 1 && shown.stderr.contains("mvm doctor"), "{shown}");
}

#[test]
fn with_yes_and_no_rights_the_exact_command_is_printed() {
    let host = bare();
    host.write("home/no-sudo", "");
    let shown = host.mvm(&["setup", "--yes"]);
    assert_eq!(shown.code, 3, "{shown}");
    assert!(shown.stderr.contains("sudo apt-get update"), "{shown}");
    assert!(!host.log().contains("apt-get -o"), "{}", host.log());
}

#[test]
fn a_host_without_apt_is_told_what_to_install() {
    let shown = TestHost::bare().mvm(&["setup"]);
    assert_eq!(shown.code, 3, "{shown}");
    assert!(shown.stderr.contains("no Debian or Ubuntu") && shown.stderr.contains("mvm doctor"), "{shown}");
}

#[test]
fn start_expects_setup() {
    let shown = bare().mvm(&["start"]);
    assert_eq!(shown.code, 3, "{shown}");
    assert!(shown.stderr.contains("not set up") && shown.stderr.contains("`mvm setup`"), "{shown}");
}

#[test]
fn a_dry_run_shows_the_plan_and_does_nothing() {
    let host = bare();
    let shown = host.mvm(&["dev", "web", "--dry-run"]);
    assert_eq!(shown.code, 0, "{shown}");
    let lines: Vec<_> = shown.stdout.lines().collect();
    assert!(lines[0].starts_with("as root: install "), "{shown}");
    assert_eq!(lines[1], "build the image ubuntu");
    assert_eq!(lines[2], "create the machine web: ubuntu, cpus 1, memory 1 GiB, disk 10 GiB");
    assert_eq!(host.log(), "");
    assert!(!host.path("home/mvm").exists());
}

#[test]
fn doctor_names_each_thing_and_its_remedy() {
    let host = bare();
    let shown = host.mvm(&["doctor"]);
    assert_eq!(shown.code, 1, "{shown}");
    assert!(shown.stdout.contains("✗ pasta"), "{shown}");
    assert!(
        shown.stdout.contains("remedy: sudo apt-get install -y --no-install-recommends passt"),
        "{shown}"
    );
    let json: serde_json::Value = serde_json::from_str(&host.mvm(&["doctor", "--json"]).stdout).unwrap();
    let checks = json.as_array().unwrap();
    let find = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!((&find("pasta")["ok"], &find("unshare")["ok"]), (&false.into(), &true.into()));
    assert!(checks.iter().all(|check| check["ok"] == true || check["remedy"] != ""), "{json}");
}
