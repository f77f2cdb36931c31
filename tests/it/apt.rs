//! Packages of another suite that are already there.

use crate::environment::TestHost;

fn host_with_conflict(suites: &str) -> TestHost {
    let host = TestHost::bare().fake_administration();
    host.write("home/conflict", "");
    host.write("home/suites", suites);
    host
}

#[test]
fn a_conflict_is_resolved_by_taking_all_from_one_suite() {
    let host = host_with_conflict("bookworm-backports\n");
    let shown = host.mvm(&["setup"]);
    assert_eq!(shown.code, 3, "{shown}");
    assert!(
        shown.stderr.contains("apt-get install -y --no-install-recommends -t bookworm-backports "),
        "{shown}"
    );
}

#[test]
fn a_conflict_without_a_way_out_is_explained() {
    let shown = host_with_conflict("").mvm(&["setup"]);
    assert_eq!(shown.code, 1, "{shown}");
    assert!(shown.stderr.contains("qemu-system-common (= 1:7.2+dfsg-7)"), "{shown}");
    assert!(shown.stderr.contains("all from one suite"), "{shown}");
}

#[test]
fn without_lists_the_installation_brings_them() {
    let host = TestHost::bare().fake_administration();
    host.write("home/no-lists", "");
    let shown = host.mvm(&["setup"]);
    assert!(shown.code == 3 && shown.stderr.contains("sudo apt-get update"), "{shown}");
    assert!(!host.log().contains("--simulate"), "{}", host.log());
}
