//! A web server on loopback that serves files, and fails in every way that servers and networks do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a path gives.
#[derive(Clone)]
pub(crate) enum Page {
    File(Vec<u8>),
    Status(u16),
    /// The next pages in turn, of which the last one stays.
    Then(Vec<Self>),
    /// The file, cut off after so many bytes of each answer.
    Cut(Vec<u8>, usize),
    /// Zeroes without an end, and without a length beforehand.
    Endless,
    /// For those who bring the token; the others hear where one is to be had.
    Guarded {
        challenge: String,
        token: String,
        page: Box<Self>,
    },
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Page>,
    requests: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Self { address, state: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // A client that goes away in the middle is part of the tests.
                std::thread::spawn(move || serving.answer(stream).unwrap_or_default());
            }
        });
        server
    }

    pub(crate) fn put(&self, path: &str, page: Page) -> &Self {
        self.state.lock().unwrap().pages.insert(path.to_owned(), page);
        self
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `GET PATH`, with the range that was asked for; `POST PATH FORM`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    fn page(&self, path: &str) -> Page {
        let mut state = self.state.lock().unwrap();
        match state.pages.get_mut(path) {
            Some(Page::Then(pages)) if pages.len() > 1 => pages.remove(0),
            Some(Page::Then(pages)) => pages[0].clone(),
            Some(page) => page.clone(),
            None => Page::Status(404),
        }
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut lines = reader.by_ref().lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let headers: BTreeMap<String, String> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                line.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned()))
            })
            .collect();
        let target = first.split(' ').nth(1).unwrap_or_default();
        // As a proxy it is told the host, and is that host as well.
        if first.starts_with("CONNECT") {
            self.note(&first);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            return self.answer(stream);
        }
        let range = headers.get("range").map_or("", |range| range.as_str());
        if first.starts_with("POST") {
            let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut form = vec![0; length];
            reader.read_exact(&mut form)?;
            self.note(&format!("POST {target} {}", String::from_utf8_lossy(&form)));
        } else {
            self.note(format!("GET {target} {range}").trim_end());
        }
        let from = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
        let page = match self.page(target) {
            Page::Guarded { token, page, .. }
                if headers.get("authorization") == Some(&format!("Bearer {token}")) =>
            {
                *page
            }
            page => page,
        };
        let (bytes, cut) = match page {
            Page::Guarded { challenge, .. } => {
                return write!(
                    stream,
                    "HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
            Page::File(bytes) => (bytes, usize::MAX),
            Page::Cut(bytes, cut) => (bytes, cut),
            Page::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&[0; 4096])?;
                }
            }
            Page::Then(_) => unreachable!("turns are taken in page()"),
            Page::Status(status) => {
                return write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        };
        let tag = format!("\"{}\"", mvm::digest::Sha256::of(&bytes));
        let same = headers.get("if-range").is_none_or(|wanted| *wanted == tag);
        let (status, from) = match from {
            0 => ("200 OK", 0),
            from if !same || from >= bytes.len() => ("200 OK", 0),
            from => ("206 Partial Content", from),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {}\r\nConnection: close\r\n",
            bytes.len() - from
        )?;
        if from > 0 {
            write!(stream, "Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len())?;
        }
        stream.write_all(b"\r\n")?;
        let rest = &bytes[from..];
        stream.write_all(&rest[..cut.min(rest.len())])
    }

    fn note(&self, request: &str) {
        self.state.lock().unwrap().requests.push(request.to_owned());
    }
}
