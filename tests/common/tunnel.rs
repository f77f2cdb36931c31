//! A proxy that passes bytes on, to one place whatever it is asked for.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) struct Tunnel {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    pub(crate) fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tunnel = Self { address, asked: Arc::default() };
        let (asked, to) = (tunnel.asked.clone(), to.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, to) = (asked.clone(), to.clone());
                std::thread::spawn(move || pass(stream, &to, &asked).unwrap_or_default());
            }
        });
        tunnel
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `CONNECT HOST:PORT HTTP/1.1`
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn pass(mut client: TcpStream, to: &str, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    asked.lock().unwrap().push(line.trim_end().to_owned());
    while !line.trim_end().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let mut back = (server.try_clone()?, client);
    let answers = std::thread::spawn(move || {
        std::io::copy(&mut back.0, &mut back.1).unwrap_or_default();
        back.1.shutdown(Shutdown::Both).unwrap_or_default();
    });
    std::io::copy(&mut reader, &mut server)?;
    server.shutdown(Shutdown::Write)?;
    answers.join().unwrap_or_default();
    Ok(())
}
