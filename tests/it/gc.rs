//! `mvm gc`: what nothing refers to goes; what anybody refers to, or works on, stays.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::environment::TestHost;

/// A host with the machines `web` and `shop`, and with all that commands that were killed may leave.
fn littered() -> TestHost {
    let host = TestHost::bare();
    host.machine("web");
    host.machine("shop");
    let big = "x".repeat(1 << 16);
    for path in LEFT {
        host.write(&format!("home/mvm/{path}"), &big);
    }
    for path in STAYS {
        host.write(&format!("home/mvm/{path}"), "y");
    }
    host.write("home/mvm/images/abc/image.json", "{}");
    let meta = "FORMAT=1\nIMAGE=gone\n";
    host.write("home/mvm/golden/0123/frozen/meta", meta);
    host.write("home/mvm/golden/0123/frozen/memory", &big);
    host.write("home/.cache/mvm/downloads/aa", &big);
    host.write("home/.cache/mvm/downloads/bb.pin", "y");
    host
}

const LEFT: &[&str] = &[
    "machines/.web.new/disk.img",
    "machines/.lost.gone/disk.img",
    "machines/.web.fork/disk.img",
    "machines/web/restore.new/disk.img",
    "machines/web/frozen.new/memory",
    "machines/web/run/out/memory",
    "machines/web/run/thawed/memory",
    "machines/web/snapshots/.new/disk.img",
    "machines/web/vm.json.new",
    "images/.import.partial/base",
    "golden/.new/disk.img",
    "bin/.partial/release.tgz",
    "bin/firecracker-v1.12.0",
    "downloads/debian-bookworm/partial/a.deb",
    "locks/lost",
];

const STAYS: &[&str] = &[
    "machines/web/frozen/memory",
    "machines/web/restore/disk.img",
    "machines/web/run/exit",
    "machines/web/run/origin/known_hosts",
    "machines/web/snapshots/1/disk.img",
    "machines/web/events.log",
    "bin/firecracker-v1.16.1",
    "bin/firecracker-v1.15.1",
    "images/abc/base",
    "locks/web",
    "locks/.images",
    "cache/firecracker",
];

fn left(seen: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(seen).unwrap();
    json["left"].as_array().unwrap().clone()
}

#[test]
fn what_nothing_refers_to_goes_and_all_else_stays() {
    let host = littered();
    std::os::unix::fs::symlink("firecracker-v1.15.1", host.path("home/mvm/bin/firecracker")).unwrap();
    let listed = host.mvm_as_is(&["gc", "--dry-run", "--json"]);
    assert_eq!(listed.code, 0, "{listed}");
    let items = left(&listed.stdout);
    let paths: Vec<&str> = items.iter().map(|item| item["path"].as_str().unwrap()).collect();
    for path in LEFT {
        let listed = paths.iter().any(|listed| format!("[HOST]/home/mvm/{path}").starts_with(listed));
        assert!(listed, "{path}: {paths:#?}");
    }
    for path in STAYS {
        let listed = paths.iter().any(|listed| format!("[HOST]/home/mvm/{path}").starts_with(listed));
        assert!(!listed, "{path}: {paths:#?}");
    }
    // Sizes are blocks of the disk.
    let file = "home/mvm/bin/firecracker-v1.12.0";
    let firecracker = items.iter().find(|item| item["kind"] == "firecracker").unwrap();
    assert_eq!(firecracker["bytes"], fs_err::metadata(host.path(file)).unwrap().blocks() * 512);

    // Neither asked nor told to, it removes nothing.
    let refused = host.mvm_as_is(&["gc"]);
    assert!(refused.code == 2 && refused.stderr.contains("--yes"), "{refused}");
    assert!(host.path(file).exists());

    // A cache that could not be had again is kept.
    let offline = host.mvm_as_is(&["gc", "--offline", "--dry-run"]);
    assert!(offline.stdout.contains("golden/0123") && !offline.stdout.contains(".cache"), "{offline}");

    let done = host.mvm_as_is(&["gc", "--yes"]);
    assert!(done.code == 0 && done.stderr.contains("are free again"), "{done}");
    for path in LEFT {
        assert!(!host.path("home/mvm").join(path).exists(), "{path}: {done}");
    }
    for path in STAYS {
        assert!(host.path("home/mvm").join(path).exists(), "{path}: {done}");
    }
    assert!(
        !host.path("home/mvm/golden/0123").exists() && !host.path("home/.cache/mvm/downloads/aa").exists()
    );
    assert!(host.path("home/.cache/mvm/downloads/bb.pin").exists());
    let again = host.mvm_as_is(&["gc", "--yes"]);
    assert!(again.code == 0 && again.stderr.contains("Nothing is left over"), "{again}");
    assert!(host.path("home/mvm/machines/web/disk.img").exists());
}

#[test]
fn what_another_mvm_works_on_is_left_alone() {
    let host = littered();
    let lock = host.path("home/mvm/locks/web");
    let mut holder = Command::new("flock")
        .arg("--no-fork")
        .args([lock.to_str().unwrap(), "sh", "-c", "echo locked; exec sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 6];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    let busy = left(&host.mvm_as_is(&["gc", "--dry-run", "--json"]).stdout);
    let busy: Vec<_> = busy.iter().filter(|item| item["busy"] == true).collect();
    assert!(
        busy.len() >= 6 && busy.iter().all(|item| item["path"].as_str().unwrap().contains("web")),
        "{busy:#?}"
    );
    let done = host.mvm_as_is(&["gc", "--yes"]);
    assert!(done.code == 0 && done.stdout.contains("another mvm works on it"), "{done}");
    for path in LEFT {
        assert_eq!(host.path("home/mvm").join(path).exists(), path.contains("web"), "{path}: {done}");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn keys_of_machines_that_are_gone_go_and_those_of_another_home_stay() {
    let host = TestHost::bare();
    for name in ["web", "shop"] {
        host.machine(name);
        let seen = host.mvm_as_is(&["ssh-config", name]);
        assert_eq!(seen.code, 0, "{seen}");
    }
    let ssh = "home/.local/state/mvm/ssh";
    let other = host
        .read(&format!("{ssh}/web/config"))
        .replace("/home/mvm'", "/home/elsewhere'")
        .replace("mvm-web", "mvm-far");
    host.write(&format!("{ssh}/far/config"), &other.replace(" proxy web", " proxy far"));
    fs_err::remove_dir_all(host.path("home/mvm/machines/web")).unwrap();
    let done = host.mvm_as_is(&["gc", "--yes"]);
    assert!(done.code == 0 && done.stdout.contains("keys for a machine that is gone"), "{done}");
    let there = |name: &str| host.path(&format!("{ssh}/{name}")).exists();
    assert_eq!((there("web"), there("shop"), there("far")), (false, true, true), "{done}");
}

#[test]
fn a_host_without_anything_has_nothing_left_over() {
    let seen = TestHost::bare().mvm(&["gc", "--yes"]);
    assert!(seen.code == 0 && seen.stderr.contains("Nothing is left over"), "{seen}");
}

#[test]
fn images_go_with_their_golden_memories_and_are_listed_with_them() {
    let host = TestHost::bare();
    host.write("home/mvm/images/abc/image.json", r#"{"version":99}"#);
    for (key, image) in [("0123", "abc"), ("4567", "gone")] {
        host.write(&format!("home/mvm/golden/{key}/frozen/meta"), &format!("FORMAT=1\nIMAGE={image}\n"));
        host.write(&format!("home/mvm/golden/{key}/frozen/memory"), &"x".repeat(1 << 16));
    }
    let listed: Value = serde_json::from_str(&host.mvm_as_is(&["image", "ls", "--json"]).stdout).unwrap();
    assert!(listed[0]["golden_bytes"].as_u64().unwrap() >= 1 << 16, "{listed}");
    let shown = host.mvm_as_is(&["image", "prune", "--dry-run"]);
    assert!(
        shown.code == 0 && shown.stderr.contains("0123") && shown.stderr.contains("its image is gone"),
        "{shown}"
    );
    let done = host.mvm_as_is(&["image", "rm", "abc"]);
    assert!(done.code == 0 && !host.path("home/mvm/golden/0123").exists(), "{done}");
    assert!(!host.path("home/mvm/golden/4567").exists(), "{done}");
}
