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

#[test]
fn what_one_machine_cannot_be_read_of_is_in_no_other_ones_way() {
    let host = TestHost::bare();
    host.machine("web");
    // Of an mvm that gave no numbers yet.
    host.machine("old");
    let numbered = host.read("home/mvm/machines/old/vm.json");
    host.write("home/mvm/machines/old/vm.json", &numbered.replace(r#""version":1,"#, ""));
    // Of one that had network policies, and did not yet keep those from it that had none.
    host.machine("fenced");
    let text = host.read("home/mvm/machines/fenced/vm.json");
    host.write("home/mvm/machines/fenced/vm.json", &text.replace("\"created\"", r#""net":"none","created""#));
    let broken = [
        ("torn", "{\"version\":1,", "vm.json cannot be read"),
        ("newer", r#"{"version":99,"image_id":"abc"}"#, "made by a newer mvm; update mvm, or `mvm destroy`"),
        ("odd", r#"{"version":"one"}"#, "its version is \"one\""),
        ("noise", "\u{0}\u{7f}[1]\tDIED=x\n", "vm.json cannot be read"),
        ("other-form", r#"{"version":1,"cpus":"many"}"#, "vm.json cannot be read"),
    ];
    for (name, text, _) in broken {
        host.machine(name);
        host.write(&format!("home/mvm/machines/{name}/vm.json"), text);
        for file in ["frozen/meta", "snapshots/1/meta"] {
            host.write(&format!("home/mvm/machines/{name}/{file}"), "FORMAT=99\n\u{1}=\n");
        }
        host.write(&format!("home/mvm/machines/{name}/run/cell"), "1 nothing else");
    }
    fs_err::create_dir_all(host.path("home/mvm/machines/folder/vm.json")).unwrap();
    host.write("home/mvm/images/newer/image.json", r#"{"version":99}"#);
    host.write("home/mvm/images/abc/image.json", r#"{"version":99}"#);

    let ls = host.mvm_as_is(&["ls"]);
    assert_eq!(ls.code, 0, "{ls}");
    for (name, _, why) in broken {
        let line =
            ls.stdout.lines().find(|line| line.starts_with(&format!("`{name}`: "))).unwrap_or_default();
        assert!(line.contains(why), "{name}: {ls}");
    }
    for args in [
        &["ls", "--json"][..],
        &["status"],
        &["why", "web"],
        &["why", "newer"],
        &["snapshot", "ls"],
        &["image", "ls"],
        &["mount", "ls", "web"],
        &["port", "ls"],
        &["set", "web", "--cpus", "3"],
        &["set", "old", "--cpus", "3"],
        &["set", "fenced", "--cpus", "3"],
        &["snapshot", "create", "web"],
        &["rename", "web", "shop"],
        &["stop", "shop"],
        &["image", "prune", "--yes"],
        &["destroy", "shop", "--yes"],
        &["destroy", "torn", "--yes"],
    ] {
        let seen = host.mvm_as_is(args);
        assert_eq!(seen.code, 0, "{args:?}: {seen}");
    }
    let old: serde_json::Value = serde_json::from_str(&host.read("home/mvm/machines/old/vm.json")).unwrap();
    assert_eq!((&old["version"], &old["cpus"]), (&1.into(), &3.into()));
    let fenced: serde_json::Value =
        serde_json::from_str(&host.read("home/mvm/machines/fenced/vm.json")).unwrap();
    assert_eq!((&fenced["version"], &fenced["net"]), (&2.into(), &"none".into()));
    // It went; the one that a newer mvm's machine is made of stayed.
    assert!(!host.path("home/mvm/images/newer").exists() && host.path("home/mvm/images/abc").exists());

    for args in [&["start", "newer", "-d"][..], &["set", "newer", "--cpus", "3"]] {
        let seen = host.mvm_as_is(args);
        assert!(seen.code != 0 && seen.stderr.contains("newer mvm"), "{args:?}: {seen}");
    }
    assert_eq!(host.read("home/mvm/machines/newer/vm.json"), broken[1].1);
}

#[test]
fn settings_of_a_newer_mvm_are_refused_with_the_remedy() {
    let host = TestHost::bare();
    host.write("config/mvm/config.toml", "version = 2\nnothing_known = true\n");
    let seen = host.mvm(&["ls"]);
    assert!(seen.code == 2 && seen.stderr.contains("newer mvm; update mvm, or name another file"), "{seen}");
    host.write("config/mvm/config.toml", "version = 1\n[machine]\ncpus = 1\n");
    assert_eq!(host.mvm(&["ls"]).code, 0);
}
