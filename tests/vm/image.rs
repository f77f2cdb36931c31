//! Building an image: killed in the middle, and of the other release.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::host::any_host;

#[test]
fn a_killed_build_leaves_nothing_and_the_next_one_works() {
    let host = any_host();
    host.forget("trixie");
    let built = |host: &crate::host::Host| {
        let status: serde_json::Value = serde_json::from_str(&host.ok(&["status", "--json"]).stdout).unwrap();
        status["images"]
            .as_array()
            .unwrap()
            .iter()
            .any(|image| image["suite"] == "trixie" && image["usable"] == true)
    };
    if !built(&host) {
        let mut child =
            host.mvm_command(&["setup", "--image", "debian:trixie"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        lines.find(|line| line.starts_with("==> Installing")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(lines);
        assert!(!built(&host), "a killed build looks finished");
    }
    host.ok(&["setup", "--image", "debian:trixie"]);
    let left: Vec<_> =
        fs_err::read_dir(host.home.join("images")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    let seen = host.ok(&[
        "dev",
        "trixie",
        "--image",
        "debian:trixie",
        "--",
        "sh",
        "-c",
        ". /etc/os-release; echo $VERSION_CODENAME",
    ]);
    assert_eq!(seen.stdout, "trixie\n");
    host.ok(&["destroy", "trixie", "--yes"]);
}
