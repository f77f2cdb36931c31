//! Ports of a machine that are published on the host: `[HOSTADDR:]HOSTPORT:GUESTPORT[/tcp|udp]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::network::Protocol;

/// Where a published port is on the host: what tells one from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listen {
    pub protocol: Protocol,
    pub address: SocketAddr,
}

/// A port of the host that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Port {
    pub listen: Listen,
    pub guest: u16,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FORM: &str = "give [HOSTADDR:]HOSTPORT:GUESTPORT[/tcp|udp], such as `8080:80`, `127.0.0.1:5353:53/udp`, \
                    `[::1]:8080:80`, or `80` for the same on both sides";

impl Listen {
    /// Whether both cannot be had at once.
    pub fn overlaps(self, other: Self) -> bool {
        let (one, two) = (self.address, other.address);
        let same_address = one.ip() == two.ip()
            || (one.is_ipv4() == two.is_ipv4() && (one.ip().is_unspecified() || two.ip().is_unspecified()));
        self.protocol == other.protocol && one.port() == two.port() && same_address
    }

    /// Its name among the files of a machine: short, since sockets have it, and without colons, since ssh separates by them.
    pub fn id(self) -> String {
        let (address, port) = (self.address.ip(), self.address.port());
        let place = if address == LOOPBACK { String::new() } else { format!("@{address}").replace(':', "-") };
        format!("{port}{}{place}", self.protocol.word())
    }
}

impl Port {
    /// `asked` over `present`: where both say what a port of the host leads to, the new one holds.
    pub fn merge(present: &[Self], asked: &[Self]) -> Vec<Self> {
        let kept = present.iter().filter(|old| asked.iter().all(|new| new.listen != old.listen));
        let mut all: Vec<Self> = kept.chain(asked).copied().collect();
        all.sort();
        all.dedup();
        all
    }

    /// What is wrong with these together.
    pub fn conflict(ports: &[Self]) -> Option<String> {
        let mut pairs =
            ports.iter().enumerate().flat_map(|(at, one)| ports[at + 1..].iter().map(move |two| (one, two)));
        let (one, two) = pairs.find(|(one, two)| one != two && one.listen.overlaps(two.listen))?;
        Some(format!("the ports {one} and {two} would be the same port of the host"))
    }
}

/// `8080`, `127.0.0.1:53/udp`: the host's side alone, as one names a port that is there.
impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (places, protocol) = protocol(text)?;
        let (address, port) = match places.rsplit_once(':') {
            None => (LOOPBACK, places),
            Some((address, port)) => (self::address(address)?, port),
        };
        Ok(Self { protocol, address: SocketAddr::new(address, number(port)?) })
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (places, protocol) = protocol(text)?;
        let (host, guest) = places.rsplit_once(':').unwrap_or((places, places));
        let (address, host) = match host.rsplit_once(':') {
            None => (LOOPBACK, host),
            Some((address, port)) => (self::address(address)?, port),
        };
        let listen = Listen { protocol, address: SocketAddr::new(address, number(host)?) };
        Ok(Self { listen, guest: number(guest)? })
    }
}

fn protocol(text: &str) -> Result<(&str, Protocol), String> {
    match text.rsplit_once('/') {
        None => Ok((text, Protocol::Tcp)),
        Some((places, word)) if word.eq_ignore_ascii_case("tcp") => Ok((places, Protocol::Tcp)),
        Some((places, word)) if word.eq_ignore_ascii_case("udp") => Ok((places, Protocol::Udp)),
        Some((_, word)) => Err(format!("`{word}` is neither tcp nor udp; {FORM}")),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bare {
        _ if text == "localhost" => Ok(LOOPBACK),
        Some(six) => six.parse().map(IpAddr::V6).map_err(|_| format!("`{text}` is no IPv6 address; {FORM}")),
        None if text.contains(':') => Err(format!("an IPv6 address stands in brackets: `[{text}]`; {FORM}")),
        None => text.parse().map(IpAddr::V4).map_err(|_| format!("`{text}` is no address; {FORM}")),
    }
}

fn number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => Err(format!("`{text}` is no port, which is a number from 1 to 65535; {FORM}")),
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol == Protocol::Udp { write!(f, "{}/udp", self.address) } else { self.address.fmt(f) }
    }
}

/// The shortest form that reads as the same.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listen { protocol, address } = self.listen;
        if address.ip() == LOOPBACK {
            write!(f, "{}:{}", address.port(), self.guest)?;
        } else {
            write!(f, "{address}:{}", self.guest)?;
        }
        if protocol == Protocol::Udp { f.write_str("/udp") } else { Ok(()) }
    }
}

impl From<Port> for String {
    fn from(port: Port) -> Self {
        port.to_string()
    }
}

impl TryFrom<String> for Port {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        for (text, shown, listen) in [
            ("8080:80", "8080:80", "127.0.0.1:8080"),
            ("80", "80:80", "127.0.0.1:80"),
            ("53/udp", "53:53/udp", "127.0.0.1:53/udp"),
            ("127.0.0.1:5353:53/UDP", "5353:53/udp", "127.0.0.1:5353/udp"),
            ("localhost:1:2/tcp", "1:2", "127.0.0.1:1"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80", "0.0.0.0:8080"),
            ("[::1]:8080:80", "[::1]:8080:80", "[::1]:8080"),
            ("[::]:65535:1/udp", "[::]:65535:1/udp", "[::]:65535/udp"),
        ] {
            let port: Port = text.parse().unwrap();
            assert_eq!((port.to_string().as_str(), port.listen.to_string().as_str()), (shown, listen));
            assert_eq!(shown.parse(), Ok(port));
            assert_eq!(listen.parse(), Ok(port.listen));
        }
    }

    #[test]
    fn what_is_no_port_is_explained() {
        for (text, why) in [
            ("", "is no port"),
            ("0", "from 1 to 65535"),
            ("65536:80", "from 1 to 65535"),
            ("+80:80", "is no port"),
            ("8080:", "is no port"),
            (":80", "is no port"),
            ("8080:80/sctp", "neither tcp nor udp"),
            ("8080:80:", "is no address"),
            ("::1:8080:80", "stands in brackets"),
            ("[1.2.3.4]:8080:80", "no IPv6 address"),
            ("[fe80::1%eth0]:8080:80", "no IPv6 address"),
            ("example.org:8080:80", "is no address"),
            ("8000-8010:80", "is no port"),
        ] {
            let error = text.parse::<Port>().unwrap_err();
            assert!(error.contains(why) && error.contains("8080:80"), "{text}: {error}");
        }
        assert!("web:80".parse::<Listen>().unwrap_err().contains("no address"));
    }

    #[test]
    fn ports_that_would_be_the_same_are_found() {
        let ports = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<Port>>();
        for (list, conflict) in [
            (&["8080:80", "8080:81"][..], true),
            (&["8080:80", "0.0.0.0:8080:80"], true),
            (&["[::]:8080:80", "[::1]:8080:80"], true),
            (&["8080:80", "8080:80"], false),
            (&["8080:80", "8080:80/udp"], false),
            (&["8080:80", "[::]:8080:80", "8081:80"], false),
            (&["127.0.0.1:8080:80", "127.0.0.2:8080:80"], false),
        ] {
            assert_eq!(Port::conflict(&ports(list)).is_some(), conflict, "{list:?}");
        }
        let merged = Port::merge(&ports(&["8080:80", "53:53/udp"]), &ports(&["8080:81", "1:1"]));
        assert_eq!(merged, ports(&["1:1", "8080:81", "53:53/udp"]));
    }

    #[test]
    fn each_has_a_name_of_its_own() {
        let id = |text: &str| text.parse::<Port>().unwrap().listen.id();
        assert_eq!(id("8080:80"), "8080tcp");
        assert_eq!(id("8080:80/udp"), "8080udp");
        assert_eq!(id("0.0.0.0:8080:80"), "8080tcp@0.0.0.0");
        assert_eq!(id("[::1]:8080:80"), "8080tcp@--1");
    }
}
