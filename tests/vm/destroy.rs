//! Removing everything.

use crate::host::{any_host, lives};

#[test]
fn destroy_all_ends_and_removes_everything() {
    let host = any_host();
    // A home of its own, so that the image of the others stays.
    let home = host.home.with_file_name("mvm-to-remove");
    let copy = format!(
        "rm -rf '{0}' && mkdir -p '{0}' && cp -r '{1}/images' '{0}/'",
        home.display(),
        host.home.display()
    );
    assert!(host.command("sh").args(["-c", &copy]).status().unwrap().success());
    let mvm = |args: &[&str]| {
        let output = host.mvm_command(args).env("MVM_HOME", &home).output().unwrap();
        crate::host::Seen::new(args, output)
    };
    let seen = mvm(&["start", "one", "-d"]);
    assert_eq!(seen.code, 0, "{seen}");
    let status: serde_json::Value = serde_json::from_str(&mvm(&["status", "--json"]).stdout).unwrap();
    let pid = u32::try_from(status["machines"][0]["pid"].as_u64().unwrap()).unwrap();
    let seen = mvm(&["destroy", "--all", "--yes"]);
    assert!(seen.code == 0 && seen.stderr.contains("are free again"), "{seen}");
    assert!(!home.exists() && !lives(pid));
}
