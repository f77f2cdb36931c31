//! Datagrams of a port of this host, carried by a stream: ssh, which leads to the machine, has no others.
//!
//! A frame is a datagram's length and its client's number, two bytes each (big-endian), then the datagram;
//! `resources/scripts/cell/forward.pl` is the other end.

use std::collections::HashMap;
use std::io::{BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::shell::skip_to_mark;

/// How many clients are known at once; the other end remembers as many.
const CLIENTS: u16 = 512;
/// Of a frame, in bytes.
const HEAD: usize = 4;

/// The clients, by number and by address.
#[derive(Default)]
struct Clients {
    numbers: HashMap<SocketAddr, u16>,
    addresses: HashMap<u16, SocketAddr>,
    last: u16,
}

impl Clients {
    /// The number of a client; of one that is new the next one, which makes the oldest a stranger.
    fn number(&mut self, address: SocketAddr) -> u16 {
        if let Some(number) = self.numbers.get(&address) {
            return *number;
        }
        // It is long until a number comes again: answers to the one who had it are over by then.
        self.last = self.last.checked_add(1).unwrap_or(1);
        if let Some(oldest) = self.addresses.remove(&self.last.wrapping_sub(CLIENTS)) {
            self.numbers.remove(&oldest);
        }
        self.numbers.insert(address, self.last);
        self.addresses.insert(self.last, address);
        self.last
    }
}

/// Carries what comes to `socket` to the other end, and the answers back, until the stream from there ends. `ready` is called when the
/// other end is there. The thread that reads the socket goes on until this process ends.
///
/// # Errors
///
/// When the stream ends before that, or in the middle of a frame.
pub fn carry(
    socket: &UdpSocket,
    to: impl Write + Send + 'static,
    from: impl Read,
    ready: impl FnOnce(),
) -> Result<()> {
    let mut from = BufReader::new(from);
    let mut data = vec![0; usize::from(u16::MAX)];
    skip_to_mark(&mut from)
        .map_err(|_| Error::new(ErrorKind::NotConnected, "there is no forwarder at the other end"))?;
    let clients = Arc::new(Mutex::new(Clients::default()));
    let (incoming, known) = (socket.try_clone()?, Arc::clone(&clients));
    thread::spawn(move || send_frames(&incoming, to, &known));
    ready();
    while let Some((number, length)) = read_frame(&mut from, &mut data)? {
        let address = lock(&clients).addresses.get(&number).copied();
        if let Some(address) = address {
            // Whoever asked may be gone.
            socket.send_to(&data[..length], address).unwrap_or_default();
        }
    }
    Ok(())
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what comes to the socket, until nobody takes it any more.
fn send_frames(socket: &UdpSocket, mut to: impl Write, clients: &Mutex<Clients>) {
    let mut frame = vec![0; HEAD + usize::from(u16::MAX)];
    loop {
        let Ok((length, address)) = socket.recv_from(&mut frame[HEAD..]) else {
            // An answer that could not be delivered is told here, and is nobody's failure.
            continue;
        };
        let Ok(size) = u16::try_from(length) else { continue };
        let number = lock(clients).number(address);
        frame[..2].copy_from_slice(&size.to_be_bytes());
        frame[2..HEAD].copy_from_slice(&number.to_be_bytes());
        if to.write_all(&frame[..HEAD + length]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// Reads a frame's datagram into `data`: its client's number, and its length. Nothing where the stream has ended.
fn read_frame(from: &mut impl Read, data: &mut [u8]) -> Result<Option<(u16, usize)>> {
    let mut head = [0; HEAD];
    match from.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut head[1..])?,
    }
    let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
    from.read_exact(&mut data[..length])?;
    Ok(Some((u16::from_be_bytes([head[2], head[3]]), length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_keep_their_numbers_until_there_are_too_many() {
        let mut clients = Clients::default();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!((clients.number(address(7)), clients.number(address(8))), (1, 2));
        assert_eq!(clients.number(address(7)), 1);
        for port in 1000..1000 + CLIENTS - 2 {
            clients.number(address(port));
        }
        assert_eq!((clients.numbers.len(), clients.number(address(7))), (usize::from(CLIENTS), 1));
        clients.number(address(9));
        assert_eq!(clients.numbers.len(), usize::from(CLIENTS));
        assert!(!clients.numbers.contains_key(&address(7)) && clients.numbers.contains_key(&address(8)));
        // No number is 0.
        clients.last = u16::MAX;
        assert_eq!(clients.number(address(10)), 1);
    }

    #[test]
    fn a_stream_that_says_nothing_or_breaks_off_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (said, ready) in
            [(&b""[..], false), (b"Welcome\n", false), (b"Welcome\n::mvm::\n\0\x09\0\x01a", true)]
        {
            let mut was_ready = false;
            let carried = carry(&socket, std::io::sink(), said, || was_ready = true);
            assert!(carried.is_err() && was_ready == ready, "{said:?}: {carried:?}");
        }
    }
}
