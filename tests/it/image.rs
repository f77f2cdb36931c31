//! Images that are exported and imported: on a host without a network, natively and through Lima, where they travel through ssh.

use mvm::digest::Sha256;
use mvm::image::pack::{self, Kind};
use serde_json::{Value, json};

use crate::common::which;
use crate::environment::{Seen, TestHost};

/// A bare host, offline, with the few more tools that taking an image needs.
fn host() -> TestHost {
    let host = TestHost::bare().fake(&["limactl", "ssh"]);
    std::os::unix::fs::symlink(which("find").unwrap(), host.path("bin/find")).unwrap();
    host.write("config/mvm/config.toml", "[network]\noffline = true\n");
    host.write("home/lima/mvm/status", "Running");
    host.write("home/lima/mvm/disk", "");
    host.write("home/lima/mvm/lima.yaml", "");
    host.write("home/lima/mvm/ssh.config", "");
    host.write("home/vm/.keep", "");
    for dir in ["home/vm", "home/lima", "home/lima/mvm"] {
        host.open(dir);
    }
    host
}

/// What `mvm image export` writes, as `image.json` has it; `tools` make it an image of others.
fn exported(name: &str, suite: &str, arch: &str) -> Vec<u8> {
    let files = [("kernel", vec![1; 5000]), ("initrd", vec![2; 700]), ("base", vec![3; 300_000])];
    let mut image = json!({"version": 1, "id": "0123456789ab", "name": name, "suite": suite, "arch": arch,
        "created": 1, "config": {"WorkingDir": "/app"}});
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in &files {
        image[name] = json!({"bytes": bytes.len(), "sha256": Sha256::of(bytes).to_string()});
    }
    let text = image.to_string().into_bytes();
    for (name, bytes) in [("image.json", text)].into_iter().chain(files) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o400);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn images(host: &TestHost, side: &str) -> Vec<Value> {
    let shown = host.mvm(&["--host", side, "image", "ls", "--json"]);
    serde_json::from_str(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

fn import(host: &TestHost, side: &str, file: &str, words: &[&str]) -> Seen {
    let path = host.path(file);
    host.mvm(&[&["--host", side, "image", "import", path.to_str().unwrap()], words].concat())
}

#[test]
fn an_export_is_all_that_a_host_without_a_network_needs() {
    let arch = std::env::consts::ARCH;
    for side in ["native", "lima"] {
        let host = host();
        fs_err::write(host.path("debian.mvm"), exported("debian", "bookworm", arch)).unwrap();
        // It keeps its name; or has another one beside it.
        let shown = import(&host, side, "debian.mvm", &[]);
        assert!(shown.code == 0 && shown.stderr.contains("The image `debian:bookworm` is there"), "{shown}");
        let shown = import(&host, side, "debian.mvm", &["--as", "other"]);
        assert_eq!(shown.code, 0, "{shown}");
        let mut names: Vec<_> = images(&host, side).iter().map(|image| image["name"].clone()).collect();
        names.sort_by_key(ToString::to_string);
        assert_eq!(names, ["debian:bookworm", "other"]);
        // What is exported again has the same files, and the host's side has them whole.
        let again = host.path("home/again.mvm");
        let shown =
            host.mvm(&["--host", side, "image", "export", "other", "--output", again.to_str().unwrap()]);
        assert_eq!(shown.code, 0, "{shown}");
        let mut tar = tar::Archive::new(fs_err::File::open(&again).unwrap());
        let sizes: Vec<_> = tar.entries().unwrap().map(|entry| entry.unwrap().size()).skip(1).collect();
        assert_eq!(sizes, [5000, 700, 300_000]);
        for name in ["other", "debian"] {
            let shown = host.mvm(&["--host", side, "image", "rm", name]);
            assert_eq!(shown.code, 0, "{shown}");
        }
        let shown = import(&host, side, "home/again.mvm", &["--as", "again"]);
        assert_eq!(shown.code, 0, "{shown}");
        let shown = host.mvm(&["--host", side, "image", "inspect", "again"]);
        assert!(shown.stdout.contains(r#""WorkingDir": "/app""#), "{shown}");
    }
}

#[test]
fn an_export_that_is_not_whole_or_not_for_this_host_is_refused() {
    let arch = std::env::consts::ARCH;
    let good = exported("app", "", arch);
    let mut changed = good.clone();
    let last = changed.len() - 2000;
    changed[last] ^= 1;
    for side in ["native", "lima"] {
        let host = host();
        for (file, words, code, part) in [
            (good[..good.len() - 100_000].to_vec(), &[][..], 1, "it is cut off: its file base"),
            (changed.clone(), &[], 1, "file base is damaged"),
            (exported("app", "", "s390x"), &[], 1, "it is made for s390x"),
            (exported("debian", "bookwormkernel-1", arch), &[], 1, "`--as`"),
            (exported("../app", "", arch), &[], 1, "`--as`"),
            (exported("ubuntu", "", arch), &["--as", "debian"], 2, "mvm makes itself"),
        ] {
            fs_err::write(host.path("file.mvm"), file).unwrap();
            let shown = import(&host, side, "file.mvm", words);
            assert!(shown.code == code && shown.stderr.contains(part), "{part}: {shown}");
        }
        assert_eq!(images(&host, side), [Value::Null; 0]);
    }
}

/// The reason is the tool's own, in its many lines; what was written takes no room any more.
#[test]
fn a_full_disk_is_said() {
    let host = TestHost::bare();
    let says = |words: &str| {
        let tool = host.path("bin/mksquashfs");
        fs_err::write(&tool, format!("#!/bin/bash\n: >\"$2\"\nprintf '{words}' >&2\nexit 1\n")).unwrap();
        fs_err::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let output = host.send(&pack::base(Kind::Tar));
        assert!(!host.path("home/mvm/images/.import.partial").exists());
        String::from_utf8(output.stdout).unwrap()
    };
    let said =
        says("some\\nWrite failed because No space left on device\\n\\nFATAL ERROR:Failed to write\\n");
    assert!(said.contains("DIED=no-space the disk is full: Write failed because No space left"), "{said}");
    let said = says("first\\nthe last\\n");
    assert!(said.contains("DIED=build the image cannot be made: the last"), "{said}");
}

/// Whatever other programs would download is refused as well.
#[test]
fn offline_nothing_is_installed_or_built() {
    let host = TestHost::bare().fake_administration();
    host.write("home/suites", "");
    for words in
        [&["setup", "--yes"][..], &["dev", "--yes"], &["image", "pull", "docker.io/library/x", "--yes"]]
    {
        let shown = host.mvm(&[&["--offline"], words].concat());
        assert!(
            shown.code == 1 && shown.stderr.contains("mvm is offline, and it remains to install"),
            "{shown}"
        );
    }
    assert_eq!(host.log(), "");
    let host = self::host();
    host.write("tree.tar", "");
    let shown = import(&host, "native", "tree.tar", &["--as", "x"]);
    assert!(shown.code == 1 && shown.stderr.contains("neither an image's archive"), "{shown}");
    // No Lima VM, and none to be made.
    fs_err::remove_dir_all(host.path("home/lima/mvm")).unwrap();
    let shown = host.mvm(&["--host", "lima", "dev"]);
    assert!(shown.code == 1 && shown.stderr.contains("mvm is offline, and the Lima VM"), "{shown}");
    assert!(!host.log().contains("limactl create"), "{}", host.log());
}
