//! Firecracker's release from a page on loopback: installed beside others, and what a wrong one leads to.

use std::io::Write;
use std::process::{Command, Stdio};

use mvm::digest::Sha256;

use crate::common::server::{Page, Server};
use crate::environment::TestHost;

/// The tarball of a release whose program says that it is `says`.
fn tarball(release: &str, says: &str) -> Vec<u8> {
    let arch = std::env::consts::ARCH;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(format!("release-{release}-{arch}"));
    fs_err::create_dir(&folder).unwrap();
    let program = format!("#!/bin/sh\nprintf 'Firecracker {says}\\n\\nexit_code=0\\n'\n");
    let file = folder.join(format!("firecracker-{release}-{arch}"));
    fs_err::write(&file, program).unwrap();
    fs_err::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = Command::new("tar")
        .args(["-cz", &format!("release-{release}-{arch}")])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Puts a release on the page, its list of digests for `digested`.
fn publish(page: &Server, release: &str, tarball: &[u8], digested: &[u8]) {
    let name = format!("firecracker-{release}-{}.tgz", std::env::consts::ARCH);
    page.put(&format!("/{release}/{name}"), Page::File(tarball.to_vec()));
    let list = format!("{}  {name}\n", Sha256::of(digested));
    page.put(&format!("/{release}/{name}.sha256.txt"), Page::File(list.into_bytes()));
}

/// A bare host that downloads from `page`. Setup ends with what needs root, after the download.
fn host(page: &Server) -> TestHost {
    let host = TestHost::bare().fake_administration();
    host.write("home/suites", "");
    let mirror = format!("[mirror]\nfirecracker = \"{}\"\n[network]\nretries = 0\n", page.url(""));
    host.write("config/mvm/config.toml", &mirror);
    host
}

fn version(host: &TestHost) -> String {
    let shown = host.mvm(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    status["vmm"]["firecracker"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn releases_stand_side_by_side_and_the_last_one_named_is_used() {
    let page = Server::start();
    let host = host(&page);
    for release in ["v1.15.1", "v1.16.1", "v1.15.1"] {
        let file = tarball(release, release);
        publish(&page, release, &file, &file);
        let shown = host.mvm(&["setup", "--firecracker", release]);
        assert!(
            shown.code == 3 && shown.stderr.contains(&format!("Installing Firecracker {release}")),
            "{shown}"
        );
        assert_eq!(format!("v{}", version(&host)), release);
    }
    let mut there: Vec<_> = fs_err::read_dir(host.path("home/mvm/bin"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    there.sort();
    // With the digest that each was installed with.
    let digests: Vec<_> = there.drain(..2).collect();
    assert_eq!(digests, [".firecracker-v1.15.1.sha256", ".firecracker-v1.16.1.sha256"]);
    assert_eq!(there, ["firecracker", "firecracker-v1.15.1", "firecracker-v1.16.1"]);
    // Now it is there and nothing is downloaded.
    let before = page.requests().len();
    let shown = host.mvm(&["setup", "--firecracker", "v1.15.1"]);
    assert!(!shown.stderr.contains("Firecracker"), "{shown}");
    assert_eq!(page.requests().len(), before);
}

#[test]
fn what_is_wrong_is_not_installed() {
    let page = Server::start();
    let host = host(&page);
    let good = tarball("v1.16.1", "v1.16.1");
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    let other = tarball("v1.16.1", "v1.14.0");
    let empty = tarball("v1.11.0", "v1.11.0");
    for (served, digested, words) in [
        (&damaged, &good, "is not what it should be: its SHA-256 is"),
        (&other, &other, "another version: Firecracker v1.14.0"),
        (&empty, &empty, "there is no release-v1.16.1-"),
        (&good[..good.len() - 1].to_vec(), &good, "is not what it should be"),
    ] {
        publish(&page, "v1.16.1", served, digested);
        let shown = host.mvm(&["setup", "--firecracker", "v1.16.1"]);
        assert!(shown.code == 1 && shown.stderr.contains(words), "{words}: {shown}");
        assert!(shown.stderr.contains("MVM_MIRROR_FIRECRACKER"), "{shown}");
        assert!(
            !host.path("home/mvm/bin/firecracker-v1.16.1").exists()
                && !host.path("home/mvm/bin/.partial").exists()
        );
    }
    page.put(
        &format!("/v1.16.1/firecracker-v1.16.1-{}.tgz.sha256.txt", std::env::consts::ARCH),
        Page::File(b"<html>".to_vec()),
    );
    let shown = host.mvm(&["setup", "--firecracker", "v1.16.1"]);
    assert!(shown.code == 1 && shown.stderr.contains("has no SHA-256 of firecracker-v1.16.1-"), "{shown}");
}

#[test]
fn what_is_not_to_be_had_is_said_with_the_mirror() {
    let page = Server::start();
    let host = host(&page);
    let shown = host.mvm(&["setup", "--firecracker", "v1.16.1"]);
    assert!(shown.code == 1 && shown.stderr.contains("404 (Not Found)"), "{shown}");
    assert!(
        shown.stderr.contains("`[mirror] firecracker` in config.toml, or MVM_MIRROR_FIRECRACKER"),
        "{shown}"
    );
    let before = page.requests().len();
    let shown = host.mvm(&["--offline", "setup", "--firecracker", "v1.16.1"]);
    assert!(shown.code == 1 && shown.stderr.contains("mvm is offline"), "{shown}");
    assert_eq!(page.requests().len(), before);
    let shown = host.mvm(&["setup", "--firecracker", "v1.4.0"]);
    assert!(shown.code == 2 && shown.stderr.contains(">=1.11, <2"), "{shown}");
}

/// The script alone, as it would be sent into a VM: what arrives there is checked there.
#[test]
fn what_arrives_cut_off_is_noticed_on_the_linux_side() {
    let file = tarball("v1.16.1", "v1.16.1");
    let script = mvm::vmm::Release::pinned().install("/nowhere".into(), Sha256::of(&file), false);
    let home = tempfile::tempdir().unwrap();
    let mut child = {
        let call = script.call(true);
        let mut command = Command::new(&call.argv[0]);
        command.args(&call.argv[1..]).env("MVM_HOME", home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    child.stdin.take().unwrap().write_all(&file[..file.len() / 2]).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("DIED=cut the release did not arrive whole"), "{said}");
    assert!(!home.path().join("bin/firecracker-v1.16.1").exists());
}
