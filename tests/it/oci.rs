//! Images of a registry on loopback: what is asked for, and what is wrong with what comes.

use mvm::config::{Network, Origin, Proxies};
use mvm::digest::Sha256;
use mvm::download::Downloads;
use mvm::image::merge::Layer;
use mvm::image::oci::credentials::Credentials;
use mvm::image::oci::{self, PullError, Reference, Registry};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::server::{Page, Server};

/// A registry with one image, and a cache.
struct Hub {
    server: Server,
    cache: TempDir,
    layers: Vec<Vec<u8>>,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

impl Hub {
    /// Without an image yet.
    fn empty() -> Self {
        let layers = vec![tar_of("one", &[1; 100_000]), tar_of("two", &[2; 50_000])];
        Self { server: Server::start(), cache: tempfile::tempdir().unwrap(), layers }
    }

    fn new() -> Self {
        let hub = Self::empty();
        hub.put_image("amd64", |page| page);
        hub
    }

    fn config(&self, architecture: &str) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| digest(layer)).collect();
        json!({"architecture": architecture, "os": "linux", "config": {"Env": ["A=b"]}, "rootfs": {"diff_ids": diff_ids}})
            .to_string()
            .into_bytes()
    }

    fn manifest(&self, architecture: &str) -> String {
        let part = |bytes: &[u8]| json!({"digest": digest(bytes), "size": bytes.len()});
        let layers: Vec<Value> = self.layers.iter().map(|layer| part(layer)).collect();
        json!({"schemaVersion": 2, "config": part(&self.config(architecture)), "layers": layers}).to_string()
    }

    /// An index, the manifest that it names, its configuration and its layers, each as `guard` gives it.
    fn put_image(&self, architecture: &str, guard: impl Fn(Page) -> Page) {
        let manifest = self.manifest(architecture);
        let index = json!({"manifests": [
            {"digest": digest(b"other"), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}},
            {"digest": digest(manifest.as_bytes()), "size": manifest.len(),
             "platform": {"os": "linux", "architecture": architecture}},
        ]});
        let put = |path: String, bytes: Vec<u8>| {
            self.server.put(&format!("/v2/app/web/{path}"), guard(Page::File(bytes)));
        };
        put("manifests/1".to_owned(), index.to_string().into_bytes());
        put(format!("manifests/{}", digest(manifest.as_bytes())), manifest.clone().into_bytes());
        for bytes in self.layers.iter().chain([&self.config(architecture)]) {
            put(format!("blobs/{}", digest(bytes)), bytes.clone());
        }
    }

    /// Puts something else in the place of the first layer.
    fn put_layer(&self, page: Page) -> &Self {
        self.server.put(&format!("/v2/app/web/blobs/{}", digest(&self.layers[0])), page);
        self
    }

    fn pull(&self) -> Result<Vec<Layer>, PullError> {
        self.pull_as("registry.example/app/web:1", 0)
    }

    fn pull_as(&self, reference: &str, retries: u32) -> Result<Vec<Layer>, PullError> {
        self.pull_with(reference, retries, None)
    }

    fn pull_with(
        &self,
        reference: &str,
        retries: u32,
        credentials: Option<Credentials>,
    ) -> Result<Vec<Layer>, PullError> {
        let cache = self.cache.path().to_owned();
        let network = Network { offline: false, ca_file: None, retries, proxies: Proxies::default(), cache };
        let origin = Origin { base: self.server.url(""), key: "oci.registry.example".into() };
        let downloads = Downloads::new(&network).unwrap();
        let reference: Reference = reference.parse().unwrap();
        let registry = Registry::new(&downloads, &origin, &reference, credentials);
        let described = registry.describe("x86_64", &mut |_| {})?;
        assert_eq!(described.config.config.env, Some(vec!["A=b".to_owned()]));
        oci::layers(&registry, &described, &mut |_| {})
    }

    fn refusal(&self) -> String {
        self.pull().unwrap_err().to_string()
    }

    fn blobs_asked_for(&self) -> usize {
        self.server.requests().iter().filter(|request| request.contains("/blobs/")).count()
    }
}

#[test]
fn the_layers_come_in_their_order_and_once() {
    let hub = Hub::new();
    let layers = hub.pull().unwrap();
    let bytes: Vec<_> = layers.iter().map(|layer| fs_err::read(&layer.blob.path).unwrap()).collect();
    assert_eq!(bytes, hub.layers);
    let asked = hub.blobs_asked_for();
    hub.pull().unwrap();
    assert_eq!(hub.blobs_asked_for(), asked);
}

#[test]
fn a_token_is_fetched_where_the_registry_wants_one() {
    let hub = Hub::empty();
    let realm = hub.server.url("/token");
    let challenge = format!(r#"Bearer realm="{realm}",service="hub""#);
    let guarded =
        |page| Page::Guarded { challenge: challenge.clone(), token: "t0k".to_owned(), page: Box::new(page) };
    hub.put_image("amd64", guarded);
    hub.server.put(
        "/token?service=hub&scope=repository%3Aapp%2Fweb%3Apull",
        Page::File(br#"{"token":"t0k"}"#.to_vec()),
    );
    assert_eq!(hub.pull().unwrap().len(), 2);
    // Who is denied one is told so.
    let denied = Hub::empty();
    denied.put_image("amd64", guarded);
    hub.server.put("/token?service=hub&scope=repository%3Aapp%2Fweb%3Apull", Page::Status(403));
    assert!(matches!(denied.pull(), Err(PullError::Denied { .. })));
}

/// What a login in a browser left is no password: it goes into a form, whose answer is the token.
#[test]
fn an_identity_is_changed_for_a_token() {
    let hub = Hub::empty();
    let challenge = format!(r#"Bearer realm="{}",service="hub""#, hub.server.url("/token"));
    hub.put_image("amd64", |page| Page::Guarded {
        challenge: challenge.clone(),
        token: "t0k".to_owned(),
        page: Box::new(page),
    });
    hub.server.put("/token", Page::File(br#"{"access_token":"t0k"}"#.to_vec()));
    let pull = || {
        let identity = Some(Credentials::Identity("a+b".to_owned()));
        hub.pull_with("registry.example/app/web:1", 0, identity)
    };
    assert_eq!(pull().unwrap().len(), 2);
    let asked = "POST /token grant_type=refresh_token&client_id=mvm&service=hub&scope=repository%3Aapp%2Fweb%3Apull&refresh_token=a%2Bb";
    assert!(hub.server.requests().iter().any(|request| request == asked), "{:?}", hub.server.requests());
    hub.server.put("/token", Page::Status(401));
    let why = pull().unwrap_err().to_string();
    assert!(why.contains("does not let the login that is kept for it pull app/web"), "{why}");
}

#[test]
fn what_is_wrong_is_named_and_nothing_of_it_kept() {
    let hub = Hub::new();
    let layer = hub.layers[0].clone();
    let mut changed = layer.clone();
    changed[600] ^= 1;
    let longer = [layer.as_slice(), b"more"].concat();
    for (page, part) in [
        (Page::File(changed), "SHA-256"),
        (Page::File(longer), "bytes"),
        (Page::Endless, "bytes"),
        (Page::Cut(layer, 5000), "breaks off"),
        (Page::Status(404), "404"),
        (Page::Status(401), "without a login"),
        (Page::Status(429), "429"),
        (Page::Status(503), "503"),
    ] {
        let why = hub.put_layer(page).refusal();
        assert!(why.contains(part), "{part}: {why}");
        let whole = Sha256::of(&hub.layers[0]).to_string();
        assert!(!hub.cache.path().join(whole).exists(), "{part}");
    }
}

#[test]
fn a_layer_that_breaks_off_goes_on_where_it_did() {
    let hub = Hub::new();
    hub.put_layer(Page::Cut(hub.layers[0].clone(), 60_000));
    assert_eq!(hub.pull_as("registry.example/app/web:1", 2).unwrap().len(), 2);
    assert!(hub.server.requests().iter().any(|request| request.ends_with("bytes=60000-")));
    // A registry that is busy is asked again.
    let hub = Hub::new();
    hub.put_layer(Page::Then(vec![Page::Status(429), Page::File(hub.layers[0].clone())]));
    assert_eq!(hub.pull_as("registry.example/app/web:1", 1).unwrap().len(), 2);
}

#[test]
fn two_at_once_bring_each_layer_once() {
    let hub = Hub::new();
    std::thread::scope(|scope| {
        for pull in [scope.spawn(|| hub.pull()), scope.spawn(|| hub.pull())] {
            assert_eq!(pull.join().unwrap().unwrap().len(), 2);
        }
    });
    assert_eq!(hub.blobs_asked_for(), 3);
}

#[test]
fn manifests_that_do_not_fit_are_refused() {
    let hub = Hub::empty();
    assert!(matches!(hub.pull(), Err(PullError::NotFound { .. })));
    hub.put_image("arm64", |page| page);
    let why = hub.refusal();
    assert!(why.contains("not made for linux/amd64") && why.contains("linux/arm64"), "{why}");
    let hub = Hub::new();
    hub.server.put("/v2/app/web/manifests/1", Page::File(b"<html>".to_vec()));
    assert!(hub.refusal().contains("cannot be read"));
    hub.server.put("/v2/app/web/manifests/1", Page::Endless);
    assert!(hub.refusal().contains("manifest"));
    // By its digest, a manifest is that one or none.
    let wanted = "0".repeat(64);
    hub.server.put(
        &format!("/v2/app/web/manifests/sha256:{wanted}"),
        Page::File(hub.manifest("amd64").into_bytes()),
    );
    let why = hub.pull_as(&format!("registry.example/app/web@sha256:{wanted}"), 0).unwrap_err().to_string();
    assert!(why.contains("instead of"), "{why}");
}
