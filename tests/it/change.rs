//! Changing a machine that is there, without starting it: set, rename, reset.

use crate::common::{skipped, which};
use crate::environment::TestHost;

/// A host with the machine `web`, stopped.
fn host() -> TestHost {
    let host = TestHost::bare();
    host.machine("web");
    host
}

fn spec(host: &TestHost, name: &str) -> serde_json::Value {
    serde_json::from_str(&host.read(&format!("home/mvm/machines/{name}/vm.json"))).unwrap()
}

fn ok(host: &TestHost, args: &[&str]) -> String {
    let shown = host.mvm_as_is(args);
    assert_eq!(shown.code, 0, "{shown}");
    shown.stderr
}

#[test]
fn what_is_set_is_written_down_and_noted() {
    let host = host();
    let said = ok(&host, &["set", "web", "--cpus", "4", "--memory", "256M"]);
    assert!(said.contains("cpus: 2 → 4") && said.contains("mvm start web"), "{said}");
    assert_eq!((&spec(&host, "web")["cpus"], &spec(&host, "web")["memory_mib"]), (&4.into(), &256.into()));
    assert!(ok(&host, &["set", "web", "--cpus", "4"]).contains("has that already"));
    let events = host.read("home/mvm/machines/web/events.log");
    assert_eq!(events.lines().count(), 1, "{events}");
    assert!(events.contains("Z set: cpus: 2 → 4, memory: 512 MiB → 256 MiB"), "{events}");
    for (args, code) in [
        (&["set", "web"][..], 2),
        (&["set", "web", "--disk", "64M"], 2),
        (&["set", "wbe", "--cpus", "2"], 1),
        (&["set", "web", "--cpus", "8", "--dry-run"], 0),
    ] {
        let shown = host.mvm_as_is(args);
        assert_eq!(shown.code, code, "{shown}");
        assert_eq!(spec(&host, "web")["cpus"], 4);
    }
}

#[test]
fn a_renamed_machine_is_the_same_one_under_another_name() {
    let host = host();
    ok(&host, &["ssh-config", "web"]);
    assert!(host.path("home/.local/state/mvm/ssh/web/config").exists());
    ok(&host, &["rename", "web", "shop"]);
    assert_eq!(host.read("home/mvm/machines/shop/keys/known_hosts"), "mvm-shop ssh-ed25519 KEY\n");
    assert_eq!(spec(&host, "shop")["name"], "shop");
    assert!(host.read("home/mvm/machines/shop/events.log").contains("renamed: web → shop"));
    assert!(!host.path("home/mvm/machines/web").exists() && !host.path("home/mvm/locks/web").exists());
    // What ssh knows of it has gone along.
    assert!(host.read("home/.local/state/mvm/ssh/shop/config").contains("Host mvm-shop\n"));
    assert!(!host.path("home/.local/state/mvm/ssh/web").exists());

    let shown = host.mvm_as_is(&["rename", "web", "shop"]);
    assert!(shown.code == 1 && shown.stderr.contains("there is no machine `web`"), "{shown}");
    host.machine("web");
    let shown = host.mvm_as_is(&["rename", "web", "shop"]);
    assert!(shown.code == 1 && shown.stderr.contains("there is a machine `shop` already"), "{shown}");
}

#[test]
fn a_rename_that_was_cut_off_leaves_a_whole_machine() {
    // Before the folder was moved: both names are known, the old one holds.
    let host = host();
    host.write("home/mvm/machines/web/keys/known_hosts", "mvm-web,mvm-shop ssh-ed25519 KEY\n");
    host.write("home/mvm/machines/web/keys/known_hosts.new", "mvm-");
    ok(&host, &["rename", "web", "shop"]);
    assert_eq!(host.read("home/mvm/machines/shop/keys/known_hosts"), "mvm-shop ssh-ed25519 KEY\n");
    // After it was moved: the folder is the name.
    fs_err::rename(host.path("home/mvm/machines/shop"), host.path("home/mvm/machines/store")).unwrap();
    ok(&host, &["set", "store", "--cpus", "3"]);
    assert_eq!((&spec(&host, "store")["name"], &spec(&host, "store")["cpus"]), (&"store".into(), &3.into()));
}

#[test]
fn a_reset_leaves_all_but_the_disk() {
    if which("mke2fs").is_none() {
        return skipped("a reset: mke2fs is not installed");
    }
    let host = host();
    let before = host.read("home/mvm/machines/web/vm.json");
    let shown = host.mvm_as_is(&["reset", "web"]);
    assert!(shown.code == 2 && shown.stderr.contains("--yes"), "{shown}");
    assert_eq!(host.read("home/mvm/machines/web/disk.img"), "written");
    host.write("home/mvm/machines/web/disk.img.new", "cut off");
    for _ in 0..2 {
        ok(&host, &["reset", "web", "--yes"]);
        let disk = fs_err::read(host.path("home/mvm/machines/web/disk.img")).unwrap();
        assert_eq!((disk.len(), &disk[0x438..0x43a]), (128 << 20, &[0x53, 0xef][..]), "an empty ext4");
    }
    assert_eq!(host.read("home/mvm/machines/web/vm.json"), before);
    assert_eq!(host.read("home/mvm/machines/web/keys/known_hosts"), "mvm-web ssh-ed25519 KEY\n");
    assert!(!host.path("home/mvm/machines/web/disk.img.new").exists());
}
