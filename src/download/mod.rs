//! Downloads: kept by digest on the side of the CLI, verified while they stream, resumed where they broke off.
//!
//! A file appears under its digest by one rename, once it is whole and right. Until then it is `.partial`, which is also
//! what two mvm that want the same file take turns by.

mod kept;
mod partial;

use std::fs::DirBuilder;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use kept::{Downloaded, kept, remove};
use partial::Partial;

use crate::config::{Network, Origin};
use crate::digest::Sha256;
use crate::error::{self, Error};
use crate::http::{Client, Headers, HttpError, Patience, Response, Status};
use crate::shell::Event;

/// What is to be fetched.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// For people.
    pub what: &'a str,
    pub url: &'a str,
    pub headers: Headers<'a>,
    /// Where it is known beforehand.
    pub sha256: Option<Sha256>,
    pub size: Size,
}

/// How long it may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Exactly(u64),
    AtMost(u64),
}

/// A file of the cache: read it, and leave it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub path: PathBuf,
    pub sha256: Sha256,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url} breaks off after {got} bytes{}: {reason}", of(*.total))]
    BreaksOff { url: String, got: u64, total: Option<u64>, reason: String },
    #[error("{url} has more than the {limit} bytes it may have")]
    TooLong { url: String, limit: u64 },
    #[error("{url} has {got} bytes instead of {wanted}")]
    WrongSize { url: String, got: u64, wanted: u64 },
    #[error("{url} is not what it should be: its SHA-256 is {got} instead of {wanted}")]
    WrongDigest { url: String, got: Sha256, wanted: Sha256 },
    #[error(transparent)]
    File(#[from] io::Error),
}

fn of(total: Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}

impl DownloadError {
    /// Whether it is not to be had here and now; false when something was there and is wrong.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Http(_) | Self::BreaksOff { .. })
    }

    /// With what to do next, which depends on where it comes from.
    pub fn from_origin(self, origin: &Origin) -> Error {
        let mirror = format!("name another place in {}", origin.setting());
        let hint = match &self {
            Self::Http(HttpError::Offline { .. }) => {
                "run it once without `--offline` (MVM_OFFLINE): what was downloaded is kept".to_owned()
            }
            Self::Http(HttpError::Unreachable { reason, .. }) if reason.contains("certificate") => {
                format!("name your certificates in MVM_CA_FILE where a proxy has its own, or {mirror}")
            }
            Self::Http(HttpError::Unreachable { .. }) => {
                format!("check the network and its proxy (HTTPS_PROXY, NO_PROXY), or {mirror}")
            }
            Self::Http(HttpError::Status { .. }) => mirror,
            Self::BreaksOff { .. } => format!("run it again, which goes on from there, or {mirror}"),
            Self::TooLong { .. } | Self::WrongSize { .. } | Self::WrongDigest { .. } => {
                format!("it was not used: something on the way may have changed it; try again, or {mirror}")
            }
            Self::File(_) => {
                "downloads are kept in that folder: make room there, or name another in XDG_CACHE_HOME"
                    .to_owned()
            }
        };
        Error::failure(self).hint(hint)
    }
}

type Result<T> = std::result::Result<T, DownloadError>;
pub type OnEvent<'a> = &'a mut dyn FnMut(Event<'_>);

/// Small files have no need of a cache; that large they are no listings and no lists of digests.
const TEXT_LIMIT: u64 = 4 << 20;
/// A transfer that got so much further has its tries renewed.
const FURTHER: u64 = 1 << 20;

pub struct Downloads {
    client: Client,
    dir: PathBuf,
    /// As long as this is there, nothing of the cache is cleared away.
    _in_use: Option<fs_err::File>,
}

impl Downloads {
    pub fn new(network: &Network) -> error::Result<Self> {
        let dir = network.cache.clone();
        // A cache that cannot be written to is told of by whoever has to.
        let lock = make_folder(&dir).and_then(|()| fs_err::File::open(&dir)).ok();
        if let Some(lock) = &lock {
            lock.file().lock_shared()?;
        }
        Ok(Self { client: Client::new(network)?, dir, _in_use: lock })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The text at `url`. One that never changes (`keep`) is asked for once, and is there when offline.
    pub fn text(&self, url: &str, keep: bool, on_event: OnEvent<'_>) -> Result<String> {
        let kept = self.dir.join(format!("{}.text", Sha256::of(url.as_bytes())));
        if keep && self.client.is_offline() && kept.exists() {
            return Ok(fs_err::read_to_string(kept)?);
        }
        let mut patience = self.client.patience();
        let text = loop {
            let mut response = self.client.get_ok(url, &[], on_event)?;
            let mut bytes = Vec::new();
            let read = response.body_mut().as_reader().take(TEXT_LIMIT + 1).read_to_end(&mut bytes);
            if bytes.len() as u64 > TEXT_LIMIT {
                return Err(DownloadError::TooLong { url: url.to_owned(), limit: TEXT_LIMIT });
            }
            match read {
                Ok(_) => break String::from_utf8_lossy(&bytes).into_owned(),
                Err(_) if patience.wait(None, on_event) => {}
                Err(reason) => return Err(breaks_off(url, bytes.len() as u64, None, &reason)),
            }
        };
        if keep {
            make_folder(&self.dir)?;
            let new = kept.with_extension("text.new");
            fs_err::write(&new, &text)?;
            fs_err::rename(new, kept)?;
        }
        Ok(text)
    }

    /// The file, from the cache or from the network.
    pub fn fetch(&self, wanted: &Wanted<'_>, on_event: OnEvent<'_>) -> Result<Fetched> {
        if let Some(fetched) = self.cached(wanted)? {
            return Ok(fetched);
        }
        if self.client.is_offline() {
            return Err(HttpError::Offline { url: wanted.url.to_owned() }.into());
        }
        make_folder(&self.dir)?;
        let name = wanted.sha256.unwrap_or_else(|| Sha256::of(wanted.url.as_bytes()));
        let mut partial = Partial::claim(self.dir.join(format!("{name}.partial")), wanted.what, on_event)?;
        // Another mvm may have brought it while this one waited.
        if let Some(fetched) = self.cached(wanted)? {
            partial.remove()?;
            return Ok(fetched);
        }
        let mut begun_anew = false;
        loop {
            let resumed = self.transfer(wanted, &mut partial, on_event)?;
            let sha256 = partial.digest();
            match wanted.sha256 {
                Some(wanted_digest) if wanted_digest != sha256 => {
                    // What an earlier run left may be what is wrong.
                    if resumed && !begun_anew {
                        partial.begin(None)?;
                        begun_anew = true;
                        continue;
                    }
                    partial.remove()?;
                    let url = wanted.url.to_owned();
                    return Err(DownloadError::WrongDigest { url, got: sha256, wanted: wanted_digest });
                }
                _ => return Ok(partial.keep(&self.dir, sha256)?),
            }
        }
    }

    /// As [`Downloads::fetch`], for what nobody publishes a digest of: the one seen first holds ever after.
    pub fn fetch_pinned(&self, wanted: &Wanted<'_>, on_event: OnEvent<'_>) -> Result<Fetched> {
        let pin = self.dir.join(format!("{}.pin", Sha256::of(wanted.url.as_bytes())));
        let pinned = fs_err::read_to_string(&pin).ok().and_then(|text| text.trim().parse().ok());
        let fetched = self.fetch(&Wanted { sha256: wanted.sha256.or(pinned), ..*wanted }, on_event)?;
        if pinned.is_none() {
            let new = pin.with_extension("pin.new");
            fs_err::write(&new, fetched.sha256.to_string())?;
            fs_err::rename(new, pin)?;
        }
        Ok(fetched)
    }

    /// What was fetched before, if it is still what it was.
    fn cached(&self, wanted: &Wanted<'_>) -> Result<Option<Fetched>> {
        let Some(sha256) = wanted.sha256 else { return Ok(None) };
        let path = self.dir.join(sha256.to_string());
        if !path.exists() {
            return Ok(None);
        }
        if Sha256::of_file(&path)? != sha256 {
            tracing::debug!(path = %path.display(), "damaged");
            fs_err::remove_file(&path)?;
            return Ok(None);
        }
        let bytes = fs_err::metadata(&path)?.len();
        Ok(Some(Fetched { path, sha256, bytes }))
    }

    /// Brings the partial file to its end; whether it began with what was there.
    fn transfer(&self, wanted: &Wanted<'_>, partial: &mut Partial, on_event: OnEvent<'_>) -> Result<bool> {
        let resumed = partial.bytes > 0;
        if resumed && wanted.sha256 == Some(partial.digest()) {
            return Ok(false);
        }
        if wanted.sha256.is_none() && partial.validator.is_none() {
            partial.begin(None)?;
        }
        let mut patience = self.client.patience();
        let mut reached = partial.bytes;
        loop {
            match self.go_on(wanted, partial, on_event) {
                Err(DownloadError::BreaksOff { .. })
                    if try_again(&mut patience, &mut reached, partial, on_event) => {}
                result => return result.map(|()| resumed),
            }
        }
    }

    /// One request, from where the partial file ends.
    fn go_on(&self, wanted: &Wanted<'_>, partial: &mut Partial, on_event: OnEvent<'_>) -> Result<()> {
        let Wanted { url, .. } = *wanted;
        let mut headers = wanted.headers.to_vec();
        if partial.bytes > 0 {
            headers.push(("range", format!("bytes={}-", partial.bytes)));
            if let Some(validator) = &partial.validator {
                headers.push(("if-range", validator.clone()));
            }
        }
        let mut response = self.client.get(url, &headers, on_event)?;
        match response.status().as_u16() {
            206 if resumes_at(&response) == Some(partial.bytes) => {}
            // It ends before that, or the server does not do what it was asked for.
            206 | 416 if partial.bytes > 0 => {
                partial.begin(None)?;
                return self.go_on(wanted, partial, on_event);
            }
            200 => partial.begin(validator(&response))?,
            status => return Err(HttpError::Status { url: url.to_owned(), status: Status(status) }.into()),
        }
        let total = response.body().content_length().map(|rest| partial.bytes + rest);
        let limit = match wanted.size {
            Size::Exactly(bytes) | Size::AtMost(bytes) => bytes,
        };
        let too_long = || DownloadError::TooLong { url: url.to_owned(), limit };
        if total.is_some_and(|total| total > limit) {
            return Err(too_long());
        }
        let mut body = response.body_mut().as_reader();
        let mut progress = Progress { what: wanted.what, total, said: None };
        let mut buffer = vec![0; 64 << 10];
        loop {
            progress.say(partial.bytes, on_event);
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(reason) => return Err(breaks_off(url, partial.bytes, total, &reason)),
            };
            if partial.bytes + read as u64 > limit {
                partial.begin(None)?;
                return Err(too_long());
            }
            partial.append(&buffer[..read])?;
        }
        if let Some(total) = total.filter(|total| *total != partial.bytes) {
            let reason = io::Error::other("the connection was closed");
            return Err(breaks_off(url, partial.bytes, Some(total), &reason));
        }
        match wanted.size {
            Size::Exactly(size) if size != partial.bytes => {
                let got = partial.bytes;
                partial.begin(None)?;
                Err(DownloadError::WrongSize { url: url.to_owned(), got, wanted: size })
            }
            _ => Ok(()),
        }
    }
}

/// The cache's folder, for its owner alone: an image may be nobody else's to read.
pub fn make_folder(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        io::Error::new(error.kind(), format!("failed to create the folder `{}`: {error}", dir.display()))
    })
}

fn try_again(patience: &mut Patience, reached: &mut u64, partial: &Partial, on_event: OnEvent<'_>) -> bool {
    if partial.bytes >= *reached + FURTHER {
        patience.renew();
        *reached = partial.bytes;
    }
    patience.wait(None, on_event)
}

fn breaks_off(url: &str, got: u64, total: Option<u64>, reason: &io::Error) -> DownloadError {
    DownloadError::BreaksOff { url: url.to_owned(), got, total, reason: reason.to_string() }
}

/// What tells one version of a file from another for sure: no weak tag.
fn validator(response: &Response) -> Option<String> {
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    header("etag").filter(|tag| !tag.starts_with("W/")).or_else(|| header("last-modified"))
}

/// `Content-Range: bytes FROM-TO/TOTAL`
fn resumes_at(response: &Response) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Says how far it is, a few times a second.
struct Progress<'a> {
    what: &'a str,
    total: Option<u64>,
    said: Option<Instant>,
}

impl Progress<'_> {
    fn say(&mut self, done: u64, on_event: OnEvent<'_>) {
        if self.said.is_none_or(|said| said.elapsed() >= Duration::from_millis(100))
            || Some(done) == self.total
        {
            self.said = Some(Instant::now());
            on_event(Event::Progress { what: self.what, done, total: self.total });
        }
    }
}
