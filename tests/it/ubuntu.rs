//! The image `ubuntu` from a bucket on loopback: its known keys, its listings, and what is wrong with either.

use mvm::config::{Network, Origin, Proxies};
use mvm::download::Downloads;
use mvm::image::ubuntu::{Files, Trouble, fetch};
use tempfile::TempDir;

use crate::common::server::{Page, Server};
use crate::environment::TestHost;

const KNOWN_KERNEL: &str = "/firecracker-ci/v1.15/x86_64/vmlinux-6.1.155";
const KNOWN_BASE: &str = "/firecracker-ci/v1.15/x86_64/ubuntu-24.04.squashfs";

fn kernel() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02".to_vec();
    bytes.resize(4096, 0);
    bytes[18] = 0x3e;
    bytes
}

fn base() -> Vec<u8> {
    let mut bytes = b"hsqs".to_vec();
    bytes.resize(4096, 0);
    bytes[40..48].copy_from_slice(&4000u64.to_le_bytes());
    bytes
}

struct Bucket {
    server: Server,
    cache: TempDir,
}

impl Bucket {
    fn new() -> Self {
        Self { server: Server::start(), cache: tempfile::tempdir().unwrap() }
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> &Self {
        self.server.put(path, Page::File(bytes));
        self
    }

    /// A page of a listing.
    fn list(&self, query: &str, tag: &str, names: &[&str], more: &str) -> &Self {
        let entries: String = names
            .iter()
            .map(|name| match tag {
                "Key" => format!("<Contents><Key>{name}</Key></Contents>"),
                _ => format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
            })
            .collect();
        let xml = format!("<ListBucketResult>{entries}{more}</ListBucketResult>");
        self.put(&format!("/?list-type=2&prefix={query}"), xml.into_bytes())
    }

    fn fetch(&self) -> Result<Files, Trouble> {
        let cache = self.cache.path().to_owned();
        let network =
            Network { offline: false, ca_file: None, retries: 0, proxies: Proxies::default(), cache };
        let origin = Origin { base: self.server.url(""), key: "firecracker_ci".into() };
        fetch(&Downloads::new(&network).unwrap(), &origin, "x86_64", &mut |_| {})
    }

    fn refusal(&self) -> (bool, String) {
        let (absent, error) = match self.fetch() {
            Err(Trouble::Absent(error)) => (true, error),
            Err(Trouble::Wrong(error)) => (false, error),
            Ok(files) => panic!("{files:?}"),
        };
        assert!(error.hints.iter().any(|hint| hint.contains("MVM_MIRROR_FIRECRACKER_CI")), "{error:?}");
        (absent, error.source.to_string())
    }
}

#[test]
fn the_known_keys_need_no_listing_and_are_fetched_once() {
    let bucket = Bucket::new();
    bucket.put(KNOWN_KERNEL, kernel()).put(KNOWN_BASE, base());
    for _ in 0..2 {
        assert_eq!(bucket.fetch().unwrap().describe(), "Ubuntu 24.04 with Linux 6.1.155");
    }
    assert_eq!(bucket.server.requests(), [format!("GET {KNOWN_KERNEL}"), format!("GET {KNOWN_BASE}")]);
}

#[test]
fn the_digest_seen_first_holds() {
    let bucket = Bucket::new();
    bucket.put(KNOWN_KERNEL, kernel()).put(KNOWN_BASE, base());
    bucket.fetch().unwrap();
    for entry in fs_err::read_dir(bucket.cache.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none() {
            fs_err::remove_file(path).unwrap();
        }
    }
    let mut other = kernel();
    other[4000] = 1;
    bucket.put(KNOWN_KERNEL, other);
    let (absent, text) = bucket.refusal();
    assert!(!absent && text.contains("is not what it should be"), "{text}");
}

#[test]
fn without_the_known_keys_the_newest_complete_folder_is_taken() {
    let bucket = Bucket::new();
    let more = "<NextContinuationToken>a/b=</NextContinuationToken>";
    bucket
        .list(
            "firecracker-ci/&delimiter=/",
            "Prefix",
            &["firecracker-ci/20260601-a/", "firecracker-ci/v1.16/"],
            more,
        )
        .list(
            "firecracker-ci/&delimiter=/&continuation-token=a%2Fb%3D",
            "Prefix",
            &["firecracker-ci/20260722-b/"],
            "",
        )
        // The newest has no kernel yet.
        .list("firecracker-ci/20260722-b/x86_64/vmlinux-", "Key", &[], "")
        .list(
            "firecracker-ci/20260601-a/x86_64/vmlinux-",
            "Key",
            &[
                "firecracker-ci/20260601-a/x86_64/vmlinux-6.1.99",
                "firecracker-ci/20260601-a/x86_64/vmlinux-6.18.3",
            ],
            "",
        )
        .list(
            "firecracker-ci/20260601-a/x86_64/ubuntu-",
            "Key",
            &["firecracker-ci/20260601-a/x86_64/ubuntu-24.04.squashfs"],
            "",
        )
        .put("/firecracker-ci/20260601-a/x86_64/vmlinux-6.18.3", kernel())
        .put("/firecracker-ci/20260601-a/x86_64/ubuntu-24.04.squashfs", base());
    assert_eq!(bucket.fetch().unwrap().describe(), "Ubuntu 24.04 with Linux 6.18.3");
}

#[test]
fn an_empty_listing_is_an_absence() {
    for listing in ["<ListBucketResult></ListBucketResult>", "<html>Log in to the hotel's network</html>"] {
        let bucket = Bucket::new();
        bucket.put("/?list-type=2&prefix=firecracker-ci/&delimiter=/", listing.as_bytes().to_vec());
        let (absent, text) = bucket.refusal();
        assert!(absent && text.contains("lists no kernel and Ubuntu for x86_64"), "{text}");
    }
    let (absent, text) = Bucket::new().refusal();
    assert!(absent && text.contains("404"), "{text}");
}

#[test]
fn wrong_files_are_refused() {
    let short = base()[..1000].to_vec();
    for (kernel, base, words) in [
        (b"<html>".to_vec(), base(), "it is no kernel"),
        (base(), base(), "it is no kernel"),
        (kernel(), kernel(), "it is no squashfs"),
        (kernel(), short, "its squashfs has 4000 bytes, and there are 1000"),
        (kernel(), Vec::new(), "it is no squashfs"),
    ] {
        let bucket = Bucket::new();
        bucket.put(KNOWN_KERNEL, kernel).put(KNOWN_BASE, base);
        let (absent, text) = bucket.refusal();
        assert!(!absent && text.contains(words), "{words}: {text}");
    }
}

#[test]
fn the_image_is_made_of_what_was_sent() {
    if std::env::consts::ARCH != "x86_64" {
        return;
    }
    let bucket = Bucket::new();
    bucket.put(KNOWN_KERNEL, kernel()).put(KNOWN_BASE, base());
    let files = bucket.fetch().unwrap();
    let host = TestHost::bare().fake_busybox_package();
    for script in files.send() {
        let output = host.send(&script);
        assert!(output.status.success(), "{output:?}");
    }
    let output = host.send(&files.make());
    assert!(output.status.success(), "{output:?}");
    let shown = host.mvm_as_is(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let image = &status["images"][0];
    assert_eq!((&image["name"], &image["usable"]), (&"ubuntu".into(), &true.into()), "{shown}");
    // The same again: sent, made, and still one image.
    for script in files.send() {
        assert!(host.send(&script).status.success());
    }
    assert!(host.send(&files.make()).status.success());
    assert_eq!(fs_err::read_dir(host.path("home/mvm/images")).unwrap().count(), 1);
    // Without what was sent there is nothing to make it of, but it is there.
    let output = host.send(&files.make());
    assert!(String::from_utf8_lossy(&output.stdout).contains("ID="), "{output:?}");
}
