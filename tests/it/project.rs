//! `mvm.toml` found, read, and followed, without a machine.

use crate::environment::TestHost;

const TWO: &str = "[machines.web]\ndepends_on = [\"db\"]\n[machines.db]\nmemory = \"512M\"\n";

/// A machine that is stopped, as an earlier run left it.
fn machine(host: &TestHost, name: &str) {
    let spec = format!(
        r#"{{"version":1,"name":"{name}","image":"debian:bookworm","image_id":"abc","cpus":2,"memory_mib":1024,"disk_bytes":10737418240,"vmm":"auto","created":1}}"#
    );
    host.write(&format!("home/mvm/machines/{name}/vm.json"), &spec);
}

#[test]
fn the_projects_machine_is_the_one_that_is_meant() {
    let host = TestHost::bare();
    host.write("src/app/mvm.toml", "");
    host.write("src/app/deep/er/file", "");
    for (folder, args, name) in [
        ("src/app", &["stop"][..], "app"),
        ("src/app/deep/er", &["why"], "app"),
        ("src/app", &["exec", "--", "true"], "app"),
        ("src/app", &["ssh", "other"], "other"),
        ("src", &["logs"], "default"),
    ] {
        let shown = host.mvm_in(folder, args);
        assert!(shown.stderr.contains(&format!("there is no machine `{name}`")), "{folder}: {shown}");
    }
    // Commands that name theirs, or need none, don't mind a file that is not valid.
    host.write("src/app/mvm.toml", "memroy = \"1G\"\n");
    assert!(host.mvm_in("src/app", &["stop", "web"]).stderr.contains("no machine `web`"));
    assert_eq!(host.mvm_in("src/app", &["ls"]).code, 0);
    let shown = host.mvm_in("src/app/deep", &["stop"]);
    assert_eq!(shown.code, 2, "{shown}");
    assert!(
        shown.stderr.contains("[HOST]/src/app/mvm.toml is not valid")
            && shown.stderr.contains("did you mean `memory`?"),
        "{shown}"
    );
}

#[test]
fn several_machines_are_named() {
    let host = TestHost::bare();
    host.write("src/mvm.toml", TWO);
    let shown = host.mvm_in("src", &["stop"]);
    assert!(shown.code == 2 && shown.stderr.contains("name one of `db`, `web`"), "{shown}");
    host.write("src/mvm.toml", &format!("default = \"web\"\n{TWO}"));
    assert!(host.mvm_in("src", &["stop"]).stderr.contains("no machine `web`"));
    let shown = host.mvm_in("src", &["up", "wbe"]);
    assert!(shown.code == 2 && shown.stderr.contains("did you mean `web`?"), "{shown}");
    let shown = host.mvm_in(".", &["up"]);
    assert!(shown.code == 2 && shown.stderr.contains("there is no mvm.toml in this folder"), "{shown}");
}

#[test]
fn the_file_against_the_machines() {
    let host = TestHost::bare();
    host.write("src/mvm.toml", TWO);
    let shown = host.mvm_as_is_in("src", &["diff"]);
    assert_eq!(shown.code, 5, "{shown}");
    assert_eq!(shown.stdout, "db: not there yet; `mvm up` makes it\nweb: not there yet; `mvm up` makes it\n");
    machine(&host, "web");
    machine(&host, "db");
    let shown = host.mvm_as_is_in("src", &["diff"]);
    assert_eq!(shown.code, 5, "{shown}");
    assert_eq!(shown.stdout, "db (stopped):\n  memory: 1 GiB → 512 MiB\nweb: as the file says (stopped)\n");
    let shown = host.mvm_as_is_in("src", &["diff", "web"]);
    assert_eq!(shown.code, 0, "{shown}");
    let shown = host.mvm_as_is_in("src", &["diff", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(json[0]["differences"][0], "memory: 1 GiB → 512 MiB");
    assert_eq!((&json[1]["differs"], &json[1]["state"]), (&false.into(), &"stopped".into()));
}

#[test]
fn what_up_and_down_would_do_is_in_the_order_of_what_depends_on_what() {
    let host = TestHost::bare();
    host.write("src/mvm.toml", TWO);
    let shown = host.mvm_as_is_in("src", &["up", "--dry-run"]);
    assert_eq!(shown.code, 0, "{shown}");
    let order: Vec<_> = shown.stdout.lines().filter(|line| line.starts_with("create")).collect();
    assert!(
        order[0].starts_with("create the machine db: ") && order[1].starts_with("create the machine web: "),
        "{shown}"
    );
    assert!(order[0].contains("memory 512 MiB"), "{shown}");
    // Nothing runs here.
    let shown = host.mvm_as_is_in("src", &["down"]);
    assert!(shown.code == 0 && shown.stderr.contains("None of the machines runs"), "{shown}");
}

#[test]
fn flags_come_before_the_file_and_the_file_before_the_settings() {
    let host = TestHost::bare();
    host.write("config/mvm/config.toml", "[machine]\nmemory = \"3G\"\ncpus = 3\ndisk = \"30G\"\n");
    host.write("src/mvm.toml", "name = \"web\"\nmemory = \"2G\"\ncpus = 2\n");
    let shown = host.mvm_as_is_in("src", &["dev", "--dry-run", "--cpus", "1"]);
    let created = shown.stdout.lines().find(|line| line.starts_with("create")).unwrap_or_default();
    assert!(created.ends_with("cpus 1, memory 2 GiB, disk 30 GiB"), "{shown}");
    // Another machine is none of the file's.
    let shown = host.mvm_as_is_in("src", &["dev", "other", "--dry-run"]);
    assert!(shown.stdout.contains("cpus 3, memory 3 GiB, disk 30 GiB"), "{shown}");
}

#[test]
fn a_script_that_is_missing_is_told_before_anything_is_done() {
    let host = TestHost::bare();
    host.write("src/mvm.toml", "provision = [{ file = \"setup.sh\" }]\n");
    let shown = host.mvm_in("src", &["dev", "--dry-run"]);
    assert!(shown.code == 2 && shown.stderr.contains("[HOST]/src/setup.sh"), "{shown}");
}

#[test]
fn a_strangers_file_is_not_followed() {
    if !crate::common::is_root() {
        return;
    }
    let host = TestHost::bare();
    host.write("src/mvm.toml", "");
    std::os::unix::fs::chown(host.path("src/mvm.toml"), Some(4242), None).unwrap();
    let shown = host.mvm_in("src", &["stop"]);
    assert!(shown.code == 2 && shown.stderr.contains("belongs to another user (uid 4242)"), "{shown}");
}

#[test]
fn the_schema_is_json() {
    let shown = TestHost::bare().mvm(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(schema["title"], "mvm.toml", "{shown}");
}
