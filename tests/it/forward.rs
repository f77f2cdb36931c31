//! What carries a published port (resources/scripts/cell/forward.pl), without a cell: what enters it is `env`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::process::wait_until;

pub(crate) struct Forwarder(Child);

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) fn start(protocol: &str, listen: &str, guest: SocketAddr) -> (Forwarder, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("resources/scripts/cell/forward.pl");
    let mut command = Command::new("perl");
    command.arg("-w").arg(script).args([protocol, listen, &guest.to_string(), "env"]);
    command.env("SUPERVISOR", std::process::id().to_string());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 64];
    let length = child.stdout.as_mut().unwrap().read(&mut said).unwrap();
    (Forwarder(child), String::from_utf8_lossy(&said[..length]).into_owned())
}

/// A forwarder that listens at a port which was free just now.
fn forward(protocol: &str, guest: SocketAddr) -> (Forwarder, SocketAddr) {
    let free = free(protocol);
    let (forwarder, said) = start(protocol, &free.to_string(), guest);
    assert_eq!(said, "listening\n");
    (forwarder, free)
}

fn free(protocol: &str) -> SocketAddr {
    match protocol {
        "tcp" => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        _ => UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
    }
}

/// A guest's service: `serve` for each connection.
fn service(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads to the end, and then answers how much that was, and the sum of all bytes.
fn counter(mut stream: TcpStream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let sum: u64 = all.iter().map(|byte| u64::from(*byte)).sum();
    write!(stream, "{} {sum}", all.len()).unwrap();
}

/// A guest's service that answers each datagram with its bytes the other way round.
pub(crate) fn reversing() -> SocketAddr {
    let guest = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = guest.local_addr().unwrap();
    thread::spawn(move || {
        let mut data = vec![0; 65536];
        while let Ok((length, from)) = guest.recv_from(&mut data) {
            data[..length].reverse();
            guest.send_to(&data[..length], from).unwrap();
        }
    });
    address
}

/// The service above answers each of so many clients through `port`, small datagrams and large ones.
pub(crate) fn finds_each_client(port: SocketAddr, clients: u32) {
    let clients: Vec<_> = (0..clients).map(|n| (n, UdpSocket::bind("127.0.0.1:0").unwrap())).collect();
    let mut data = vec![0; 65536];
    for (n, client) in clients.iter().chain(&clients) {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.send_to(&n.to_be_bytes(), port).unwrap();
        assert_eq!(client.recv(&mut data).unwrap(), 4);
        assert_eq!(data[..4], n.to_le_bytes());
    }
    let (_, client) = &clients[0];
    for length in [0, 60_000] {
        client.send_to(&vec![9; length], port).unwrap();
        assert_eq!(client.recv(&mut data).unwrap(), length);
    }
}

fn ask(mut stream: impl Read + Write, data: &[u8], end: impl FnOnce()) -> String {
    stream.write_all(data).unwrap();
    end();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn ask_tcp(to: SocketAddr, data: &[u8]) -> String {
    let stream = TcpStream::connect(to).unwrap();
    ask(&stream, data, || stream.shutdown(Shutdown::Write).unwrap())
}

#[test]
fn what_was_sent_arrives_and_the_answer_comes_after_the_senders_end() {
    let (_forwarder, port) = forward("tcp", service(counter));
    let data: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sum: u64 = data.iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!(ask_tcp(port, &data), format!("{} {sum}", data.len()));
    assert_eq!(ask_tcp(port, b""), "0 0");
}

#[test]
fn many_connections_at_once_do_not_disturb_each_other() {
    let (_forwarder, port) = forward("tcp", service(counter));
    // One that says nothing holds up nobody.
    let silent = TcpStream::connect(port).unwrap();
    let streams: Vec<_> = (0..200).map(|_| TcpStream::connect(port).unwrap()).collect();
    for (n, stream) in streams.iter().enumerate() {
        let data = vec![1; n * 100];
        assert_eq!(
            ask(stream, &data, || stream.shutdown(Shutdown::Write).unwrap()),
            format!("{0} {0}", n * 100)
        );
    }
    assert_eq!(ask(&silent, b"\x05", || silent.shutdown(Shutdown::Write).unwrap()), "1 5");
}

#[test]
fn an_answer_that_nobody_takes_waits() {
    // Far more than all buffers on the way hold.
    let (_forwarder, port) =
        forward("tcp", service(|mut stream| stream.write_all(&vec![7; 64 << 20]).unwrap()));
    let mut slow = TcpStream::connect(port).unwrap();
    let mut quick = Vec::new();
    TcpStream::connect(port).unwrap().read_to_end(&mut quick).unwrap();
    assert_eq!(quick.len(), 64 << 20);
    let mut all = Vec::new();
    slow.read_to_end(&mut all).unwrap();
    assert!(all.len() == 64 << 20 && all.iter().all(|byte| *byte == 7));
}

#[test]
fn a_refused_connection_does_not_look_like_one_that_ended_well() {
    let (_forwarder, port) = forward("tcp", free("tcp"));
    let mut stream = TcpStream::connect(port).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // A client that breaks off is no end of the others.
    let (mut forwarder, port) =
        forward("tcp", service(|mut s| s.write_all(&vec![7; 16 << 20]).unwrap_or_default()));
    for _ in 0..3 {
        drop(TcpStream::connect(port).unwrap());
    }
    let mut all = Vec::new();
    TcpStream::connect(port).unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 16 << 20);
    assert!(forwarder.0.try_wait().unwrap().is_none());
}

#[test]
fn a_port_that_is_taken_is_said_and_one_that_ended_is_free() {
    let guest = service(counter);
    let (forwarder, port) = forward("tcp", guest);
    assert_eq!(start("tcp", &port.to_string(), guest).1, "Address already in use\n");
    let open = TcpStream::connect(port).unwrap();
    drop(forwarder);
    assert_eq!(TcpStream::connect(port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let (_again, said) = start("tcp", &port.to_string(), guest);
    assert_eq!(said, "listening\n");
    drop(open);
    assert_eq!(ask_tcp(port, b"\x01"), "1 1");
}

#[test]
fn sockets_and_ipv6_lead_to_the_guests_address_as_well() {
    let guest = service(counter);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("8080tcp.sock");
    // What a killed one has left.
    fs_err::write(&path, "").unwrap();
    let (_forwarder, said) = start("tcp", path.to_str().unwrap(), guest);
    assert_eq!(said, "listening\n");
    let stream = UnixStream::connect(&path).unwrap();
    assert_eq!(ask(&stream, b"\x02", || stream.shutdown(Shutdown::Write).unwrap()), "1 2");
    let Ok(six) = TcpListener::bind("[::1]:0").and_then(|listener| listener.local_addr()) else {
        return crate::common::skipped("IPv6: this host has none");
    };
    let (_forwarder, said) = start("tcp", &six.to_string(), guest);
    assert_eq!(said, "listening\n");
    assert_eq!(ask_tcp(six, b"\x03"), "1 3");
}

#[test]
fn datagrams_find_their_way_back_to_each_client() {
    let (_forwarder, port) = forward("udp", reversing());
    // More than are remembered at once: the oldest are forgotten.
    finds_each_client(port, 520);
}

#[test]
fn one_whose_supervisor_is_gone_ends() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("resources/scripts/cell/forward.pl");
    let mut command = Command::new("perl");
    command.arg(script).args(["tcp", &free("tcp").to_string(), "127.0.0.1:1", "env"]).env("SUPERVISOR", "1");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    wait_until("its end", || child.try_wait().unwrap().is_some());
}
