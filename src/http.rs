//! HTTP, for everything that mvm itself downloads: proxies, certificates, retries, and no connection when offline.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy, Timeout};

use crate::config::Network;
use crate::error::{self, Error};
use crate::shell::Event;

pub type Response = ureq::http::Response<Body>;
/// Names and values.
pub type Headers<'a> = &'a [(&'a str, String)];

/// Until a connection is made.
const CONNECT: Duration = Duration::from_secs(15);
/// Of silence, in an answer or in the middle of one.
const SILENCE: Duration = Duration::from_secs(30);
/// The first pause before another try; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: u64 = 60;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("mvm is offline, and {url} is needed")]
    Offline { url: String },
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} answers {status}")]
    Status { url: String, status: Status },
}

/// A status with its usual words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = ureq::http::StatusCode::from_u16(self.0).ok().and_then(|code| code.canonical_reason());
        write!(f, "{} ({})", self.0, words.unwrap_or("an unknown status"))
    }
}

pub struct Client {
    agent: Agent,
    network: Network,
}

impl Client {
    /// The error is the user's: settings that cannot be used.
    pub fn new(network: &Network) -> error::Result<Self> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("mvm/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(trusted(network)?).build())
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .proxy(None)
            .build()
            .new_agent();
        let client = Self { agent, network: network.clone() };
        client.proxy("http://host")?;
        client.proxy("https://host")?;
        Ok(client)
    }

    /// The answer to a request, whatever its status; what is bound to pass (429, 5xx, a cut connection) is tried again.
    pub fn get(
        &self,
        url: &str,
        headers: Headers<'_>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Response, HttpError> {
        self.patiently(url, on_event, &|| {
            let mut request = self.agent.get(url).config().proxy(self.proxy(url).unwrap_or_default()).build();
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            request.call()
        })
    }

    /// The answer to a form, as [`Client::get`].
    pub fn post_form(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Response, HttpError> {
        self.patiently(url, on_event, &|| {
            let request = self.agent.post(url).config().proxy(self.proxy(url).unwrap_or_default()).build();
            request.send_form(fields.iter().copied())
        })
    }

    fn patiently(
        &self,
        url: &str,
        on_event: &mut dyn FnMut(Event<'_>),
        once: &dyn Fn() -> Result<Response, ureq::Error>,
    ) -> Result<Response, HttpError> {
        if self.network.offline {
            return Err(HttpError::Offline { url: url.to_owned() });
        }
        let mut patience = self.patience();
        loop {
            tracing::debug!(url, "asked");
            let answer = once();
            match &answer {
                Ok(response) => tracing::debug!(url, status = %response.status(), "answer"),
                Err(error) => tracing::debug!(url, %error, "no answer"),
            }
            let asked = match &answer {
                Ok(response) if is_passing(response.status().as_u16()) => retry_after(response),
                Err(error) if breaks_off(error) => None,
                _ => return answer.map_err(|error| unreachable(url, &error)),
            };
            if !patience.wait(asked, on_event) {
                return answer.map_err(|error| unreachable(url, &error));
            }
        }
    }

    /// As [`Client::get`], where any status but success is an error.
    pub fn get_ok(
        &self,
        url: &str,
        headers: Headers<'_>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Response, HttpError> {
        let response = self.get(url, headers, on_event)?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(HttpError::Status { url: url.to_owned(), status: Status(response.status().as_u16()) })
    }

    pub fn is_offline(&self) -> bool {
        self.network.offline
    }

    /// For one transfer.
    pub fn patience(&self) -> Patience {
        Patience { retries: self.network.retries, left: self.network.retries, pause: PAUSE }
    }

    fn proxy(&self, url: &str) -> error::Result<Option<Proxy>> {
        let proxies = &self.network.proxies;
        let named = if url.starts_with("https:") { &proxies.https } else { &proxies.http };
        let Some(named) = named.as_ref().filter(|_| !is_loopback(url)) else { return Ok(None) };
        let wrong = |_| {
            Error::usage(format!("`{named}` is no proxy that mvm can use"))
                .hint("give HTTPS_PROXY and HTTP_PROXY the form `http://[USER:PASSWORD@]HOST:PORT`")
        };
        let parsed = Proxy::new(named).map_err(wrong)?;
        let mut proxy = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
        if let Some(user) = parsed.username() {
            proxy = proxy.username(user);
        }
        if let Some(password) = parsed.password() {
            proxy = proxy.password(password);
        }
        for host in &proxies.except {
            // As elsewhere, a name stands for the hosts below it too.
            proxy = proxy.no_proxy(host);
            if !host.starts_with(['.', '*']) {
                proxy = proxy.no_proxy(&format!(".{host}"));
            }
        }
        proxy.build().map(Some).map_err(wrong)
    }
}

/// Whether this is the host that `url` is on: no proxy would find it.
fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Mozilla's certificates, or those of the file that the user names.
fn trusted(network: &Network) -> error::Result<RootCerts> {
    let Some(path) = &network.ca_file else { return Ok(RootCerts::WebPki) };
    let hint = "name a PEM file with certificates in MVM_CA_FILE (`[network] ca_file`, SSL_CERT_FILE)";
    let pem = fs_err::read(path).map_err(|error| Error::usage(error).hint(hint))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::usage(format!("there is no certificate in {}", path.display())).hint(hint));
    }
    Ok(RootCerts::from(certificates))
}

/// A bounded number of further tries, with growing pauses.
pub struct Patience {
    retries: u32,
    left: u32,
    pause: Duration,
}

impl Patience {
    /// Waits for the next try, or as long as the server asks; false when there is none left.
    pub fn wait(&mut self, asked: Option<u64>, on_event: &mut dyn FnMut(Event<'_>)) -> bool {
        if self.left == 0 || asked.is_some_and(|seconds| seconds > LONGEST_PAUSE) {
            return false;
        }
        self.left -= 1;
        let pause = asked.map_or(self.pause, Duration::from_secs).max(self.pause);
        if pause >= Duration::from_secs(2) {
            on_event(Event::Detail(&format!("trying again in {} s", pause.as_secs())));
        }
        std::thread::sleep(pause);
        self.pause *= 2;
        true
    }

    /// It got further, so it may break off as often again.
    pub fn renew(&mut self) {
        self.left = self.retries;
        self.pause = PAUSE;
    }
}

fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Only as seconds: a date would be measured by a clock that may be wrong.
fn retry_after(response: &Response) -> Option<u64> {
    response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()
}

/// Whether a connection that was there was lost. One that cannot be made is not waited for.
fn breaks_off(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(timeout) => !matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Protocol(_) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

fn unreachable(url: &str, error: &ureq::Error) -> HttpError {
    let reason = match error {
        ureq::Error::HostNotFound => "no such host is known".to_owned(),
        ureq::Error::Timeout(_) => format!("no answer in time ({error})"),
        ureq::Error::Rustls(error) => format!("its certificate is not accepted ({error})"),
        other => other.to_string().trim_start_matches("io: ").to_owned(),
    };
    HttpError::Unreachable { url: url.to_owned(), reason }
}
