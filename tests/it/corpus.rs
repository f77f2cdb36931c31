//! The fuzzers' corpus as an ordinary test: each of its files, and each with every byte changed in a few ways.

use std::path::Path;

use mvm::hostile;

fn each(kind: &str, read: fn(&[u8]), step: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(kind);
    let files: Vec<_> = fs_err::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let whole = fs_err::read(file).unwrap();
        read(&whole);
        for at in (0..whole.len()).step_by(step) {
            read(&whole[..at]);
            let mut bytes = whole.clone();
            for value in [0, 0xff, b'"', b'9', whole[at] ^ 1] {
                bytes[at] = value;
                read(&bytes);
            }
        }
    }
}

#[test]
fn layers() {
    each("merge", hostile::merge, 7);
}

#[test]
fn names() {
    each("reference", hostile::reference, 1);
}

#[test]
fn manifests() {
    each("manifest", hostile::manifest, 1);
}

#[test]
fn image_files() {
    each("image_json", hostile::image_json, 1);
}

#[test]
fn kernels() {
    each("kernel", hostile::kernel, 1);
}

#[test]
fn project_files() {
    each("project", hostile::project, 1);
}

#[test]
fn answers_of_scripts() {
    each("answer", hostile::answer, 1);
}

#[test]
fn traffic_of_machines() {
    each("traffic", hostile::traffic, 1);
}

#[test]
fn requests_about_shared_folders() {
    each("sftp", hostile::sftp, 1);
}

#[test]
fn what_scripts_answer() {
    each("answers", hostile::answers, 3);
}
