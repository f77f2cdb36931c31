//! A kernel of the user's in the place of an image's.

use crate::host::any_host;

#[test]
fn a_machine_with_a_kernel_of_the_users() {
    let host = any_host();
    host.forget("own");
    let images: serde_json::Value =
        serde_json::from_str(&host.ok(&["image", "ls", "--json"]).stdout).unwrap();
    let debian = images.as_array().unwrap().iter().find(|image| image["name"] == "debian:bookworm").unwrap();
    // That of the image, changed where nothing reads it: another file, the same kernel.
    let mut kernel = fs_err::read(format!("{}/kernel", debian["folder"].as_str().unwrap())).unwrap();
    kernel.extend_from_slice(b"another");
    let file = host.home.join("vmlinux").to_string_lossy().into_owned();
    fs_err::write(&file, &kernel).unwrap();
    for _ in 0..2 {
        let seen = host.ok(&["dev", "own", "--image", "debian", "--kernel", &file, "--", "uname", "-s"]);
        assert_eq!(seen.stdout, "Linux\n", "{seen}");
    }
    let id = host.status("own")["image_id"].clone();
    assert_ne!(id, debian["id"]);
    // Other machines have the image's own.
    let seen = host.ok(&["--dry-run", "dev", "other", "--image", "debian"]);
    assert!(!seen.stdout.contains("build the image"), "{seen}");
    let seen = host.mvm(&["image", "rm", id.as_str().unwrap()]);
    assert!(seen.code == 1 && seen.stderr.contains("used by own"), "{seen}");
    host.ok(&["destroy", "own", "--yes"]);
    host.ok(&["image", "rm", id.as_str().unwrap()]);

    fs_err::write(&file, b"<html>").unwrap();
    let seen = host.mvm(&["dev", "own", "--kernel", &file]);
    assert!(seen.code == 2 && seen.stderr.contains("it is no kernel"), "{seen}");
    fs_err::remove_file(&file).unwrap();
}
