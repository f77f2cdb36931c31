//! Whatever is in MVM_HOME can be listed and removed.

use crate::environment::TestHost;

#[test]
fn an_empty_host_has_a_status() {
    let shown = TestHost::bare().mvm(&["status"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert!(shown.stdout.contains("none yet; `mvm dev` makes one"), "{shown}");
}

#[test]
fn broken_machines_are_listed_with_their_reason() {
    let host = TestHost::bare();
    host.write("home/mvm/machines/torn/vm.json", "{\"version\":1,");
    host.write("home/mvm/machines/newer/vm.json", "{\"version\":99}\n");
    host.write("home/mvm/machines/empty/console.log", "");
    host.write("home/mvm/machines/.half.new/vm.json", "{}");
    host.write("home/mvm/images/cut/image.json", "{\"version\":1}");
    let shown = host.mvm_as_is(&["status"]);
    assert_eq!(shown.code, 0, "{shown}");
    for text in [
        "`torn` is broken: vm.json cannot be read",
        "`newer` is broken",
        "newer mvm",
        "vm.json is missing",
        "cut: broken",
    ] {
        assert!(shown.stdout.contains(text), "{text}: {shown}");
    }
    assert!(!shown.stdout.contains("half"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&host.mvm_as_is(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["machines"].as_array().unwrap().len(), 3);
    assert_eq!(json["machines"][0]["state"], "stopped");
}

#[test]
fn commands_for_a_machine_that_is_not_there_say_so() {
    let host = TestHost::bare();
    for args in [&["ssh", "web"][..], &["stop", "web"], &["destroy", "web", "--yes"]] {
        let shown = host.mvm(args);
        assert_eq!(shown.code, 1, "{shown}");
        assert!(shown.stderr.contains("no machine `web`") && shown.stderr.contains("hint:"), "{shown}");
    }
}

#[test]
fn nothing_is_removed_without_an_answer() {
    let host = TestHost::bare();
    host.write("home/mvm/machines/web/vm.json", "{}");
    let shown = host.mvm_as_is(&["destroy", "web"]);
    assert_eq!(shown.code, 2, "{shown}");
    assert!(shown.stderr.contains("--yes") && host.path("home/mvm/machines/web").exists(), "{shown}");
}

#[test]
fn destroy_removes_broken_machines_and_all_removes_everything() {
    let host = TestHost::bare();
    host.write("home/mvm/machines/web/vm.json", "{}");
    host.write("home/mvm/machines/other/vm.json", "{}");
    host.write("home/mvm/images/.debian.partial/rest", "x");
    let shown = host.mvm_as_is(&["destroy", "web", "--yes"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert!(!host.path("home/mvm/machines/web").exists() && host.path("home/mvm/machines/other").exists());
    let shown = host.mvm_as_is(&["destroy", "--all", "--yes"]);
    assert!(shown.code == 0 && shown.stderr.contains("are free again"), "{shown}");
    assert!(!host.path("home/mvm").exists());
}
