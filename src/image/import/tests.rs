use super::*;

fn tar_of(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    for (name, to) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, to).unwrap();
    }
    builder.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::of(bytes).to_string()
}

fn opened(bytes: &[u8]) -> Result<Found, String> {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("file"), bytes).unwrap();
    open(&dir.path().join("file"), "x86_64", &dir.path().join("scratch"))
}

fn config(diff_ids: &[&str]) -> Vec<u8> {
    serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"WorkingDir": "/app"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

/// What `docker save` writes, its second layer a link to the first.
fn saved() -> Vec<u8> {
    let layer = tar_of(&[("hello", b"world")], &[]);
    let diff_id = format!("sha256:{}", digest(&layer));
    let manifest = br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;
    let files: &[(&str, &[u8])] =
        &[("c.json", &config(&[&diff_id, &diff_id])), ("a/layer.tar", &layer), ("manifest.json", manifest)];
    tar_of(files, &[("b/layer.tar", "../a/layer.tar")])
}

#[test]
fn what_docker_saves() {
    let Found { content: Content::Layers(layers), config, digest } = opened(&saved()).unwrap() else {
        panic!()
    };
    assert_eq!((layers.len(), config.directory()), (2, Some("/app")));
    assert_eq!(layers[0].blob, layers[1].blob);
    assert!(digest.starts_with("sha256:"));
}

#[test]
fn what_is_packed_as_a_whole() {
    use std::io::Write as _;
    for image in [saved(), tar_of(&[("etc/passwd", b"root")], &[])] {
        let count = |bytes: &[u8]| match opened(bytes).unwrap().content {
            Content::Layers(layers) => layers.len(),
            other => panic!("{other:?}"),
        };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&image).unwrap();
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        xz.write_all(&image).unwrap();
        for packed in [gzip.finish().unwrap(), xz.finish().unwrap(), zstd::encode_all(&image[..], 1).unwrap()]
        {
            assert_eq!(count(&packed), count(&image));
        }
    }
}

#[test]
fn an_oci_archive_and_its_damage() {
    let layer = tar_of(&[("hello", b"world")], &[]);
    let config = config(&[&format!("sha256:{}", digest(&layer))]);
    let part = |bytes: &[u8], kind: &str| serde_json::json!({"mediaType": kind, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": part(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": [part(&layer, "application/vnd.oci.image.layer.v1.tar")],
    })
    .to_string();
    let index = serde_json::json!({
        "schemaVersion": 2, "manifests": [part(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json")],
    })
    .to_string();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes));
    let files = |config: &[u8]| {
        tar_of(
            &[
                ("oci-layout", b"{}"),
                ("index.json", index.as_bytes()),
                (&blob(manifest.as_bytes()), manifest.as_bytes()),
                (&blob(&self::config(&[&format!("sha256:{}", digest(&layer))])), config),
                (&blob(&layer), &layer),
            ],
            &[],
        )
    };
    assert!(matches!(opened(&files(&config)).unwrap().content, Content::Layers(layers) if layers.len() == 1));
    let why = opened(&files(b"{}")).unwrap_err();
    assert!(why.contains("damaged"), "{why}");
}

#[test]
fn trees_and_file_systems() {
    let tree = tar_of(&[("etc/passwd", b"root")], &[]);
    assert!(matches!(opened(&tree).unwrap().content, Content::Layers(layers) if layers.len() == 1));
    let mut ext4 = vec![0; 4096];
    ext4[0x438..0x43a].copy_from_slice(b"\x53\xef");
    assert!(matches!(opened(&ext4).unwrap().content, Content::FileSystem(Kind::Ext4)));
}

#[test]
fn what_is_no_image() {
    let several =
        br#"[{"Config":"c","RepoTags":["x:1"],"Layers":[]},{"Config":"c","RepoTags":["y:1"],"Layers":[]}]"#;
    let outside = br#"[{"Config":"../../etc/passwd","Layers":[]}]"#;
    for (bytes, part) in [
        (b"<html>".to_vec(), "neither"),
        (Vec::new(), "neither"),
        (b"\xfd7zXZ\0".to_vec(), "cannot be unpacked"),
        (b"hsqs".to_vec(), "squashfs"),
        (tar_of(&[("manifest.json", several)], &[]), "x:1, y:1"),
        (tar_of(&[("manifest.json", outside)], &[]), "lacks"),
        (tar_of(&[("manifest.json", b"{")], &[]), "cannot be read"),
        (tar_of(&[("oci-layout", b"{}")], &[]), "index.json"),
    ] {
        let why = opened(&bytes).unwrap_err();
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[test]
fn a_layout_in_a_folder_keeps_to_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("oci-layout"), "{}").unwrap();
    fs_err::os::unix::fs::symlink("/etc/hostname", dir.path().join("index.json")).unwrap();
    let why = open(dir.path(), "x86_64", &dir.path().join("scratch")).unwrap_err();
    assert!(why.contains("somewhere else"), "{why}");
}
