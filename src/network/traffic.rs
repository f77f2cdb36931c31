//! What a machine reached, and what it was refused: read from the sets of its cell's rules, and from what its resolver answered. All of
//! it is the guest's doing, names above all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::policy::Ports;
use super::{Allowed, DNS, Policy, Protocol, Target};

/// What went to one port of one address, both ways together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flow {
    pub allowed: bool,
    /// By which the guest asked for the address.
    pub names: Vec<String>,
    /// Nothing where a name was refused.
    pub address: Option<IpAddr>,
    /// `tcp`, `udp`, `icmp` or another protocol's name or number.
    pub protocol: String,
    pub port: Option<u16>,
    pub packets: u64,
    pub bytes: u64,
    /// Since the last packet.
    pub seconds_ago: Option<u64>,
}

/// What `nft -j list table` prints, as far as it is of interest.
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    set: Option<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    #[serde(default)]
    timeout: u64,
    /// Those with counters are [`Counted`], below a key of their own; other sets have addresses alone.
    #[serde(default)]
    elem: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Counted {
    val: Value,
    expires: Option<u64>,
    counter: Counter,
}

#[derive(Deserialize)]
struct Value {
    concat: Vec<Word>,
}

/// Protocols and ports are words where nft knows one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Counter {
    packets: u64,
    bytes: u64,
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The flows of `listing`, with the names that the resolver noted: lines `ADDRESS NAME`, and `refused NAME`.
pub fn read<'a>(listing: &str, noted: impl Iterator<Item = &'a str>) -> Result<Vec<Flow>, String> {
    let listing: Listing = serde_json::from_str(listing).map_err(|error| format!("nft's answer: {error}"))?;
    let mut names: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    let mut flows = Vec::new();
    for (place, name) in noted.filter_map(|line| line.split_once(' ')) {
        // Shown to people, and pasted: what is no name is left out.
        let name = name.parse::<Allowed>().ok().and_then(|allowed| match allowed {
            Allowed { target: Target::Name(name), ports: None } => Some(name),
            _ => None,
        });
        match (place.parse::<IpAddr>(), name) {
            (Ok(address), Some(name)) => names.entry(address).or_default().push(name),
            (Err(_), Some(name)) if place == "refused" => flows.push(Flow {
                allowed: false,
                names: vec![name],
                address: None,
                protocol: "dns".to_owned(),
                port: None,
                packets: 0,
                bytes: 0,
                seconds_ago: None,
            }),
            _ => {}
        }
    }
    for set in listing.nftables.into_iter().filter_map(|object| object.set) {
        let allowed = match set.name.as_str() {
            "passed" | "passed-other" => true,
            "refused" | "refused-other" => false,
            _ => continue,
        };
        for element in set.elem {
            let counted = element.get("elem").and_then(|element| Counted::deserialize(element).ok());
            let Some(Counted { val: Value { concat }, expires, counter }) = counted else { continue };
            let [address, protocol, port @ ..] = &concat[..] else { continue };
            let Ok(address) = address.text().parse::<IpAddr>() else { continue };
            let protocol = protocol.text();
            if !protocol.chars().all(|letter| letter.is_ascii_graphic()) {
                continue;
            }
            flows.push(Flow {
                allowed,
                names: names.get(&address).cloned().unwrap_or_default(),
                address: Some(address),
                protocol,
                port: port.first().and_then(|port| port.text().parse().ok()),
                packets: counter.packets,
                bytes: counter.bytes,
                seconds_ago: expires.map(|left| set.timeout.saturating_sub(left)),
            });
        }
    }
    flows.sort_by(|one, two| key(one).cmp(&key(two)));
    Ok(flows)
}

/// What tells one from another.
pub fn key(flow: &Flow) -> (bool, Option<IpAddr>, Option<&str>, &str, Option<u16>) {
    let name = flow.address.is_none().then(|| flow.names.first().map(String::as_str)).flatten();
    (!flow.allowed, flow.address, name, flow.protocol.as_str(), flow.port)
}

/// The policy that lets through what was let through: by names where addresses were asked for by one.
pub fn learned(flows: &[Flow]) -> Policy {
    let mut list = BTreeSet::new();
    for flow in flows.iter().filter(|flow| flow.allowed) {
        let Some(address) = flow.address.filter(|address| *address != IpAddr::from(DNS)) else { continue };
        let protocol = match flow.protocol.as_str() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            _ => None,
        };
        let ports =
            protocol.zip(flow.port).map(|(protocol, port)| Ports { protocol, first: port, last: port });
        if flow.names.is_empty() {
            list.insert(Allowed { target: Target::Net(address.into()), ports });
        } else {
            let targets = flow.names.iter().cloned().map(Target::Name);
            list.extend(targets.map(|target| Allowed { target, ports: ports.clone() }));
        }
    }
    // What is asked for later is read again.
    list.retain(|entry| entry.to_string().parse::<Allowed>().is_ok());
    // A name covers those below it.
    let all = list.clone();
    list.retain(|entry| !all.iter().any(|above| above.covers(entry)));
    if list.is_empty() { Policy::Nothing } else { Policy::Allow(list.into_iter().collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By nft 1.0.6, shortened.
    const LISTING: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}}, {"table": {"family": "inet", "name": "mvm", "handle": 1}},
        {"set": {"family": "inet", "name": "passed", "table": "mvm", "type": ["ipv4_addr", "inet_proto", "inet_service"], "handle": 10, "size": 4096, "flags": ["timeout"], "timeout": 604800, "elem": [{"elem": {"val": {"concat": ["203.0.113.2", "tcp", 80]}, "expires": 604793, "counter": {"packets": 9, "bytes": 407}}}, {"elem": {"val": {"concat": ["203.0.113.1", "udp", 53]}, "expires": 604800, "counter": {"packets": 2, "bytes": 99}}}, {"elem": {"val": {"concat": ["169.254.1.1", "udp", 53]}, "expires": 604800, "counter": {"packets": 2, "bytes": 99}}}], "stmt": [{"counter": null}]}},
        {"set": {"family": "inet", "name": "refused", "table": "mvm", "type": ["ipv4_addr", "inet_proto", "inet_service"], "handle": 11, "size": 4096, "flags": ["timeout"], "timeout": 604800, "stmt": [{"counter": null}], "elem": [{"elem": {"val": {"concat": ["203.0.113.3", "tcp", 25]}, "expires": 604700, "counter": {"packets": 1, "bytes": 60}}}]}},
        {"set": {"family": "inet", "name": "passed-other", "table": "mvm", "type": ["ipv4_addr", "inet_proto"], "handle": 12, "timeout": 604800, "elem": [{"elem": {"val": {"concat": ["203.0.113.9", "icmp"]}, "expires": 604799, "counter": {"packets": 4, "bytes": 336}}}]}},
        {"set": {"family": "inet", "name": "a-example.org", "table": "mvm", "type": "ipv4_addr", "handle": 14, "timeout": 3600, "elem": [{"elem": {"val": "203.0.113.2", "expires": 3500}}]}},
        {"chain": {"family": "inet", "table": "mvm", "name": "input", "handle": 1}}]}"#;
    const NAMES: [&str; 6] = [
        "203.0.113.2 example.org",
        "203.0.113.2 www.example.org",
        "refused evil.example",
        "203.0.113.3 \u{1b}[2Jshown.example",
        "what this is",
        "203.0.113.1 a.b:80",
    ];

    #[test]
    fn flows_are_read_with_their_names() {
        let flows = read(LISTING, NAMES.into_iter()).unwrap();
        let shown: Vec<_> = flows
            .iter()
            .map(|flow| {
                format!(
                    "{} {} {:?} {} {:?} {} {:?}",
                    flow.allowed,
                    flow.names.join("+"),
                    flow.address.map(|address| address.to_string()),
                    flow.protocol,
                    flow.port,
                    flow.bytes,
                    flow.seconds_ago
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"true  Some("169.254.1.1") udp Some(53) 99 Some(0)"#,
                r#"true  Some("203.0.113.1") udp Some(53) 99 Some(0)"#,
                r#"true example.org+www.example.org Some("203.0.113.2") tcp Some(80) 407 Some(7)"#,
                r#"true  Some("203.0.113.9") icmp None 336 Some(1)"#,
                "false evil.example None dns None 0 None",
                r#"false  Some("203.0.113.3") tcp Some(25) 60 Some(100)"#,
            ]
        );
        assert_eq!(learned(&flows).to_string(), "allow=example.org:80,203.0.113.1:53/udp,203.0.113.9");
        assert_eq!(learned(&[]), Policy::Nothing);
        assert!(read("{", [].into_iter()).is_err());
    }
}
