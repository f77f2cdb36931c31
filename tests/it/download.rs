//! Downloads from a server that fails in every way: what arrives, what a user is told, what is left behind.

use std::path::{Path, PathBuf};

use mvm::config::{Network, Proxies};
use mvm::digest::Sha256;
use mvm::download::{DownloadError, Downloads, Fetched, Size, Wanted};
use tempfile::TempDir;

use crate::common::server::{Page, Server};

struct Cache {
    dir: TempDir,
}

impl Cache {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("downloads")
    }

    fn network(&self) -> Network {
        let cache = self.path();
        Network { offline: false, ca_file: None, retries: 2, proxies: Proxies::default(), cache }
    }

    fn fetch(&self, wanted: &Wanted<'_>) -> Result<Fetched, DownloadError> {
        fetch(&self.network(), wanted)
    }

    /// The names of what is there.
    fn files(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn fetch(network: &Network, wanted: &Wanted<'_>) -> Result<Fetched, DownloadError> {
    Downloads::new(network).unwrap().fetch(wanted, &mut |_| {})
}

fn wanted<'a>(url: &'a str, content: Option<&[u8]>) -> Wanted<'a> {
    let sha256 = content.map(Sha256::of);
    Wanted { what: "a file", url, headers: &[], sha256, size: Size::AtMost(1 << 20) }
}

/// Such that no two parts of it are alike.
fn content(bytes: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(bytes).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs_err::read(path).unwrap()
}

#[test]
fn a_file_is_fetched_once_and_known_by_its_digest() {
    let (server, cache, file) = (Server::start(), Cache::new(), content(300_000));
    server.put("/file", Page::File(file.clone()));
    let url = server.url("/file");
    for known in [Some(&file[..]), Some(&file[..])] {
        let fetched = cache.fetch(&wanted(&url, known)).unwrap();
        assert_eq!((read(&fetched.path), fetched.sha256), (file.clone(), Sha256::of(&file)));
    }
    assert_eq!(server.requests(), ["GET /file"]);
    assert_eq!(cache.files(), [Sha256::of(&file).to_string()]);
}

#[test]
fn a_damaged_file_of_the_cache_is_not_used() {
    let (server, cache, file) = (Server::start(), Cache::new(), content(1000));
    server.put("/file", Page::File(file.clone()));
    let url = server.url("/file");
    let fetched = cache.fetch(&wanted(&url, Some(&file))).unwrap();
    fs_err::write(&fetched.path, "something else").unwrap();
    assert_eq!(read(&cache.fetch(&wanted(&url, Some(&file))).unwrap().path), file);
}

#[test]
fn a_connection_cut_at_any_byte_is_taken_up_there() {
    let file = content(1000);
    for cut in [0, 1, 499, 998, 999] {
        for known in [Some(&file[..]), None] {
            let (server, cache) = (Server::start(), Cache::new());
            server.put("/file", Page::Then(vec![Page::Cut(file.clone(), cut), Page::File(file.clone())]));
            let fetched = cache.fetch(&wanted(&server.url("/file"), known)).unwrap();
            assert_eq!(read(&fetched.path), file, "cut at {cut}");
            let again = if cut == 0 { "GET /file".to_owned() } else { format!("GET /file bytes={cut}-") };
            assert_eq!(server.requests(), ["GET /file".to_owned(), again]);
        }
    }
}

#[test]
fn what_a_failed_run_brought_serves_the_next_one() {
    let (server, cache, file) = (Server::start(), Cache::new(), content(1000));
    server.put("/file", Page::Cut(file.clone(), 100));
    let url = server.url("/file");
    let error = cache.fetch(&wanted(&url, Some(&file))).unwrap_err();
    // Three tries of a hundred bytes each.
    assert!(matches!(error, DownloadError::BreaksOff { got: 300, total: Some(1000), .. }), "{error}");
    assert!(cache.files().iter().all(|name| name.contains('.')), "nothing looks whole: {:?}", cache.files());
    server.put("/file", Page::File(file.clone()));
    assert_eq!(read(&cache.fetch(&wanted(&url, Some(&file))).unwrap().path), file);
    assert_eq!(server.requests().last().unwrap(), "GET /file bytes=300-");
    assert_eq!(cache.files(), [Sha256::of(&file).to_string()]);
}

#[test]
fn a_file_that_changed_meanwhile_is_begun_anew() {
    let (server, cache, old, new) = (Server::start(), Cache::new(), content(1000), vec![7; 1000]);
    let url = server.url("/file");
    server.put("/file", Page::Cut(old.clone(), 100));
    cache.fetch(&wanted(&url, None)).unwrap_err();
    server.put("/file", Page::File(new.clone()));
    assert_eq!(read(&cache.fetch(&wanted(&url, None)).unwrap().path), new);
}

#[test]
fn a_damaged_beginning_is_found_and_begun_anew() {
    let (server, cache, file) = (Server::start(), Cache::new(), content(1000));
    server.put("/file", Page::File(file.clone()));
    fs_err::create_dir_all(cache.path()).unwrap();
    fs_err::write(cache.path().join(format!("{}.partial", Sha256::of(&file))), "not its beginning").unwrap();
    assert_eq!(read(&cache.fetch(&wanted(&server.url("/file"), Some(&file))).unwrap().path), file);
    assert_eq!(server.requests(), ["GET /file bytes=17-", "GET /file"]);
}

#[test]
fn a_wrong_file_is_refused_and_nothing_of_it_stays() {
    let (server, cache, file) = (Server::start(), Cache::new(), content(1000));
    server.put("/file", Page::File(vec![1; 1000]));
    let error = cache.fetch(&wanted(&server.url("/file"), Some(&file))).unwrap_err();
    assert!(matches!(&error, DownloadError::WrongDigest { .. }) && !error.is_absence(), "{error}");
    assert_eq!(cache.files(), [""; 0]);
}

#[test]
fn what_is_too_long_ends() {
    let (server, cache) = (Server::start(), Cache::new());
    server
        .put("/endless", Page::Endless)
        .put("/long", Page::File(content(2 << 20)))
        .put("/short", Page::File(vec![1]));
    for path in ["/endless", "/long"] {
        let error = cache.fetch(&wanted(&server.url(path), None)).unwrap_err();
        assert!(matches!(error, DownloadError::TooLong { limit: 0x10_0000, .. }), "{path}: {error}");
    }
    let url = server.url("/short");
    let exactly = Wanted { size: Size::Exactly(2), ..wanted(&url, None) };
    let error = cache.fetch(&exactly).unwrap_err();
    assert!(matches!(error, DownloadError::WrongSize { got: 1, wanted: 2, .. }), "{error}");
    assert!(
        Downloads::new(&cache.network()).unwrap().text(&server.url("/endless"), false, &mut |_| {}).is_err()
    );
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_said() {
    for status in [429, 500, 503] {
        let (server, cache, file) = (Server::start(), Cache::new(), content(10));
        server.put("/file", Page::Then(vec![Page::Status(status), Page::File(file.clone())]));
        cache.fetch(&wanted(&server.url("/file"), Some(&file))).unwrap();
        assert_eq!(server.requests().len(), 2, "{status}");
    }
    for (status, requests, words) in
        [(404, 1, "404 (Not Found)"), (403, 1, "403 (Forbidden)"), (503, 3, "503 (Service Unavailable)")]
    {
        let (server, cache) = (Server::start(), Cache::new());
        server.put("/file", Page::Status(status));
        let error = cache.fetch(&wanted(&server.url("/file"), None)).unwrap_err();
        assert!(error.is_absence() && error.to_string().contains(words), "{error}");
        assert_eq!(server.requests().len(), requests, "{status}");
    }
}

#[test]
fn offline_no_connection_is_opened_and_the_cache_serves() {
    let (server, cache, file) = (Server::start(), Cache::new(), content(10));
    server.put("/file", Page::File(file.clone())).put("/text", Page::File(b"words".to_vec()));
    let (url, text) = (server.url("/file"), server.url("/text"));
    let offline = Network { offline: true, ..cache.network() };
    let error = fetch(&offline, &wanted(&url, Some(&file))).unwrap_err();
    let shown = error.from_origin(&mvm::config::Mirror::default().firecracker());
    assert!(shown.source.to_string().contains(&url) && shown.hints[0].contains("--offline"), "{shown:?}");
    assert_eq!(server.requests(), [""; 0]);
    cache.fetch(&wanted(&url, Some(&file))).unwrap();
    Downloads::new(&cache.network()).unwrap().text(&text, true, &mut |_| {}).unwrap();
    fetch(&offline, &wanted(&url, Some(&file))).unwrap();
    assert_eq!(Downloads::new(&offline).unwrap().text(&text, true, &mut |_| {}).unwrap(), "words");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn two_at_once_bring_it_once() {
    let (server, cache, file) = (Server::start(), Cache::new(), content(900_000));
    server.put("/file", Page::File(file.clone()));
    let url = server.url("/file");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(read(&cache.fetch(&wanted(&url, Some(&file))).unwrap().path), file));
        }
    });
    assert_eq!(server.requests(), ["GET /file"]);
    assert_eq!(cache.files(), [Sha256::of(&file).to_string()]);
}

#[test]
fn a_proxy_is_used_but_not_for_the_hosts_excepted() {
    let (server, proxy, cache) = (Server::start(), Server::start(), Cache::new());
    server.put("/file", Page::File(vec![1]));
    proxy.put("/file", Page::File(vec![2]));
    let through = |url: &str, except: &[&str]| {
        let except = except.iter().map(|&host| host.to_owned()).collect();
        let proxies = Proxies { http: Some(proxy.url("")), https: None, except };
        let network = Network { proxies, retries: 0, ..cache.network() };
        fetch(&network, &wanted(url, None)).map(|fetched| read(&fetched.path))
    };
    let url = "http://web.mvm.invalid/file";
    assert_eq!(through(url, &["elsewhere.invalid"]).unwrap(), [2]);
    assert_eq!(proxy.requests()[0], "CONNECT web.mvm.invalid:80 HTTP/1.1");
    // Asked directly, that host is not there.
    for except in ["web.mvm.invalid", "mvm.invalid", ".mvm.invalid", "*"] {
        assert!(through(url, &[except]).is_err(), "{except}");
    }
    // No proxy reaches what is on this host.
    assert_eq!(through(&server.url("/file"), &[]).unwrap(), [1]);
    assert_eq!(proxy.requests().len(), 2);
}

#[test]
fn settings_that_cannot_be_used_are_said() {
    let cache = Cache::new();
    let file = cache.dir.path().join("empty.pem");
    fs_err::write(&file, "nothing").unwrap();
    let proxies = Proxies { https: Some("ftp://proxy".into()), ..Proxies::default() };
    for (network, word) in [
        (Network { ca_file: Some("/nowhere.pem".into()), ..cache.network() }, "/nowhere.pem"),
        (Network { ca_file: Some(file), ..cache.network() }, "no certificate"),
        (Network { proxies, ..cache.network() }, "ftp://proxy"),
    ] {
        let error = Downloads::new(&network).err().unwrap();
        assert_eq!(error.kind, mvm::error::Kind::Usage);
        assert!(error.source.to_string().contains(word) && !error.hints.is_empty(), "{error:?}");
    }
}

#[test]
fn a_host_that_is_not_there_is_said_with_what_to_do() {
    let cache = Cache::new();
    // The port of a listener that is gone.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}/file");
    let error = cache.fetch(&wanted(&url, None)).unwrap_err();
    assert!(error.is_absence() && error.to_string().contains(&url), "{error}");
    let shown = error.from_origin(&mvm::config::Mirror::default().lima());
    assert!(
        shown.hints[0].contains("HTTPS_PROXY") && shown.hints[0].contains("MVM_MIRROR_LIMA"),
        "{shown:?}"
    );
}
