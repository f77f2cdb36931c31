//! Ports of this host: whether one can be opened, and which process has it.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::microvm::{Listen, Protocol};
use crate::shell::{self, Call};

/// Tries whether this user can open the port now.
pub fn try_to_open(listen: Listen) -> io::Result<()> {
    match listen.protocol {
        Protocol::Tcp => TcpListener::bind(listen.address).map(drop),
        Protocol::Udp => UdpSocket::bind(listen.address).map(drop),
    }
}

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub name: String,
}

impl Holder {
    /// Its command line; empty when it is gone.
    pub fn command_line(&self) -> String {
        said(&["ps", "-ww", "-o", "args=", "-p", &self.pid.to_string()]).unwrap_or_default()
    }
}

/// Which process has the port; nothing where this user may not see it.
pub fn holder(listen: Listen) -> Option<Holder> {
    let port = listen.address.port();
    let tcp = listen.protocol == Protocol::Tcp;
    // iproute2 is on every Linux, lsof on every Mac.
    let list = if tcp { "-Hlntp" } else { "-Hlnup" };
    if let Some(text) = said(&["ss", list, &format!("sport = :{port}")]) {
        return of_ss(&text, listen);
    }
    let what = format!("-i{}:{port}", listen.protocol.word());
    let mut words = vec!["lsof", "-nP", "-FpcPn", &what];
    if tcp {
        words.push("-sTCP:LISTEN");
    }
    of_lsof(&said(&words)?, listen)
}

/// The command that tells root which process has the port.
pub fn tell(listen: Listen) -> String {
    let (port, tcp) = (listen.address.port(), listen.protocol == Protocol::Tcp);
    match (cfg!(target_os = "linux"), tcp) {
        (true, true) => format!("ss -lntp 'sport = :{port}'"),
        (true, false) => format!("ss -lnup 'sport = :{port}'"),
        (false, true) => format!("lsof -nP -iTCP:{port} -sTCP:LISTEN"),
        (false, false) => format!("lsof -nP -iUDP:{port}"),
    }
}

/// What a program prints; nothing where it is not there.
fn said(words: &[&str]) -> Option<String> {
    let output = shell::run(&Call::new(words.iter().copied()), &mut |_| {}).ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Whether a socket at `address`, as a tool prints it, keeps `listen` from being opened.
fn is_in_the_way(address: &str, listen: Listen) -> bool {
    let Some((place, _)) =
        address.rsplit_once(':').filter(|(_, port)| port.parse() == Ok(listen.address.port()))
    else {
        return false;
    };
    let place = place.split('%').next().unwrap_or(place).trim_matches(['[', ']']);
    let Ok(ip) = place.parse() else { return place == "*" };
    let other = Listen { address: SocketAddr::new(ip, listen.address.port()), ..listen };
    other.overlaps(listen)
}

/// `LISTEN 0 5 127.0.0.1:8080 0.0.0.0:* users:(("python3",pid=17,fd=3))`
fn of_ss(text: &str, listen: Listen) -> Option<Holder> {
    text.lines().find_map(|line| {
        let address = line.split_whitespace().nth(3)?;
        let (_, user) = line.split_once("users:((\"").filter(|_| is_in_the_way(address, listen))?;
        let (name, rest) = user.split_once("\",pid=")?;
        let pid = rest.split(',').next()?.parse().ok()?;
        Some(Holder { pid, name: name.to_owned() })
    })
}

/// Lines of one letter and a value: `p` begins a process, `c` is its name, `n` an address of it.
fn of_lsof(text: &str, listen: Listen) -> Option<Holder> {
    let (mut pid, mut name) = (None, "");
    for line in text.lines() {
        match line.split_at_checked(1) {
            Some(("p", value)) => (pid, name) = (value.parse().ok(), ""),
            Some(("c", value)) => name = value,
            Some(("n", address)) if is_in_the_way(address, listen) => {
                return Some(Holder { pid: pid?, name: name.to_owned() });
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        text.parse().unwrap()
    }

    #[test]
    fn the_holder_is_read_from_ss() {
        // iproute2 6.1
        let text = r#"LISTEN 0      5           127.0.0.2:8080      0.0.0.0:*    users:(("nginx",pid=5,fd=3))
LISTEN 0      5           127.0.0.1:8080      0.0.0.0:*    users:(("python 3",pid=17,fd=3),("python 3",pid=18,fd=3))
LISTEN 0      5               [::1]:8080         [::]:*
UNCONN 0      0       127.0.0.53%lo:53        0.0.0.0:*    users:(("systemd-resolve",pid=9,fd=12))
LISTEN 0      5                   *:9090            *:*    users:(("java",pid=44,fd=7))"#;
        let found = |address: &str| of_ss(text, listen(address));
        assert_eq!(found("127.0.0.1:8080"), Some(Holder { pid: 17, name: "python 3".into() }));
        assert_eq!(found("0.0.0.0:8080").unwrap().name, "nginx");
        // Another user's.
        assert_eq!(found("[::1]:8080"), None);
        assert_eq!(found("127.0.0.53:53/udp").unwrap().name, "systemd-resolve");
        assert_eq!(found("127.0.0.1:9090").unwrap().pid, 44);
    }

    #[test]
    fn the_holder_is_read_from_lsof() {
        // lsof 4.95, as macOS 15's prints it as well
        let text = "p311\ncnode\nf21\nPTCP\nn127.0.0.1:8080\np400\ncControlCe\nf9\nPTCP\nn*:5000\nf10\nPTCP\nn[::1]:5001\n";
        let found = |address: &str| of_lsof(text, listen(address));
        assert_eq!(found("127.0.0.1:8080"), Some(Holder { pid: 311, name: "node".into() }));
        assert_eq!(found("0.0.0.0:8080").unwrap().pid, 311);
        assert_eq!(found("[::1]:5001").unwrap().name, "ControlCe");
        assert_eq!(of_lsof("", listen("8080")), None);
    }

    #[test]
    fn one_that_is_open_is_taken_by_this_process() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = Listen { protocol: Protocol::Tcp, address: socket.local_addr().unwrap() };
        assert_eq!(try_to_open(taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        if crate::shell::run(&Call::new(["ss", "-V"]), &mut |_| {}).is_ok() {
            let holder = holder(taken).unwrap();
            assert_eq!(holder.pid, std::process::id());
            assert!(holder.command_line().contains("mvm"), "{holder:?}");
        }
        drop(socket);
        assert!(try_to_open(taken).is_ok());
    }
}
