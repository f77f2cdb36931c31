//! What a machine may reach: `open`, `none`, `learn`, or `allow=` and a list.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Protocol;
use super::rules::is_never_reached;

/// The network policy of a machine, which its cell enforces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Policy {
    /// All that lies outside, but not what belongs to the host alone.
    #[default]
    Open,
    Nothing,
    /// As open, and what is reached is noted by its name.
    Learn,
    /// This, and nothing else.
    Allow(Vec<Allowed>),
}

/// An entry of a list: `NAME|ADDRESS|NETWORK[:PORT[-PORT]][/tcp|udp]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allowed {
    pub target: Target,
    /// Nothing for all that travels.
    pub ports: Option<Ports>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A name, with all below it.
    Name(String),
    Net(IpNet),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
}

/// As many entries as a list may have, and letters: each is a rule, and the rules travel in one variable (128 KiB).
const MOST: (usize, usize) = (100, 8000);

const FORM: &str = "give a name (which covers all names below it), an address or a network, and after a colon a port or a range \
                    of ports, of TCP unless `/udp` follows: `example.org`, `example.org:443`, `10.1.0.0/16:8000-8100`, \
                    `10.1.0.1:53/udp`, `[2001:db8::/32]:443`";

impl Policy {
    /// Whether the cell needs a resolver of its own: to tell which addresses a name has.
    pub fn resolves(&self) -> bool {
        match self {
            Self::Open | Self::Nothing => false,
            Self::Learn => true,
            Self::Allow(list) => list.iter().any(|entry| matches!(entry.target, Target::Name(_))),
        }
    }

    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }

    /// For a table.
    pub fn brief(&self) -> String {
        match self {
            Self::Allow(list) if list.len() > 1 => format!("allow ({})", list.len()),
            other => other.to_string(),
        }
    }

    /// The names in its list, each once.
    pub(super) fn names(&self) -> Vec<&str> {
        let Self::Allow(list) = self else { return Vec::new() };
        let mut names: Vec<_> = list
            .iter()
            .filter_map(|entry| match &entry.target {
                Target::Name(name) => Some(name.as_str()),
                Target::Net(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Allowed {
    /// Whether `other` is a name below this one, for the same ports.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Target::Name(above), Target::Name(name)) => {
                self.ports == other.ports && name.ends_with(&format!(".{above}"))
            }
            _ => false,
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "open" => return Ok(Self::Open),
            "none" => return Ok(Self::Nothing),
            "learn" => return Ok(Self::Learn),
            _ => {}
        }
        let Some(list) = text.strip_prefix("allow=") else {
            return Err("give `open`, `none`, `learn`, or `allow=` and a list such as `allow=example.org,10.1.0.0/16:443`"
                .to_owned());
        };
        let mut entries: Vec<Allowed> =
            list.split(',').map(|entry| entry.trim().parse()).collect::<Result<_, _>>()?;
        entries.sort();
        entries.dedup();
        if entries.len() > MOST.0 || list.len() > MOST.1 {
            let (entries, letters) = (entries.len(), list.len());
            return Err(format!(
                "the list has {entries} entries and {letters} letters, and takes {} and {}; a name covers all below it",
                MOST.0, MOST.1
            ));
        }
        Ok(Self::Allow(entries))
    }
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, protocol) = match text.rsplit_once('/') {
            Some((place, word)) if word.eq_ignore_ascii_case("tcp") => (place, Some(Protocol::Tcp)),
            Some((place, word)) if word.eq_ignore_ascii_case("udp") => (place, Some(Protocol::Udp)),
            _ => (text, None),
        };
        let wrong = |why: &str| format!("`{text}` {why}; {FORM}");
        let (host, ports) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("has no `]`"))?;
                match (rest, rest.strip_prefix(':')) {
                    ("", _) => (host, None),
                    (_, Some(ports)) => (host, Some(ports)),
                    _ => return Err(wrong("has something else than a port after `]`")),
                }
            }
            // Of an IPv6 address without brackets all is the address.
            None if place.matches(':').count() > 1 => (place, None),
            None => place.split_once(':').map_or((place, None), |(host, ports)| (host, Some(ports))),
        };
        let target = target(host).map_err(|why| wrong(&why))?;
        let ports = match (ports, protocol) {
            (Some(range), protocol) => {
                let range = port_range(range).ok_or_else(|| wrong("has no valid port, from 1 to 65535"))?;
                let (first, last) = range.into_inner();
                Some(Ports { protocol: protocol.unwrap_or(Protocol::Tcp), first, last })
            }
            (None, None) => None,
            (None, Some(_)) => return Err(wrong("names a protocol and no port")),
        };
        Ok(Self { target, ports })
    }
}

fn target(host: &str) -> Result<Target, String> {
    let net = if host.contains('/') {
        Some(host.parse().map_err(|_| "is no network".to_owned())?)
    } else {
        host.parse::<IpAddr>().ok().map(IpNet::from)
    };
    if let Some(net) = net {
        if is_never_reached(&net) {
            return Err("is the host's own, and no machine reaches it".to_owned());
        }
        return Ok(Target::Net(net.trunc()));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name.starts_with("*.") {
        return Err("needs no `*.`: a name covers all below it".to_owned());
    }
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    // With what begins the name of its set, as long as the kernel takes.
    let full = name.contains('.') && name.len() <= 240;
    if !full || numeric || !name.split('.').all(label) {
        return Err("is neither a full name, nor an address".to_owned());
    }
    Ok(Target::Name(name))
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number > 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.pad("open"),
            Self::Nothing => f.pad("none"),
            Self::Learn => f.pad("learn"),
            Self::Allow(list) => {
                let list: Vec<_> = list.iter().map(ToString::to_string).collect();
                f.pad(&format!("allow={}", list.join(",")))
            }
        }
    }
}

/// The shortest form that reads as the same.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.target {
            Target::Name(name) => name.clone(),
            Target::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
            Target::Net(net) => net.to_string(),
        };
        let Some(Ports { protocol, first, last }) = &self.ports else { return f.write_str(&place) };
        if place.contains(':') {
            write!(f, "[{place}]:{first}")?;
        } else {
            write!(f, "{place}:{first}")?;
        }
        if last > first {
            write!(f, "-{last}")?;
        }
        if *protocol == Protocol::Udp { f.write_str("/udp") } else { Ok(()) }
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for Policy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written() {
        for (text, shown) in [
            ("open", "open"),
            ("none", "none"),
            ("learn", "learn"),
            ("allow=example.org", "allow=example.org"),
            ("allow=Example.ORG.:443/TCP, 10.1.2.3/16:443", "allow=example.org:443,10.1.0.0/16:443"),
            ("allow=10.0.0.1:53/udp,10.0.0.1:53", "allow=10.0.0.1:53,10.0.0.1:53/udp"),
            ("allow=a.b,a.b", "allow=a.b"),
            ("allow=8.8.8.8/32:8000-8010", "allow=8.8.8.8:8000-8010"),
            ("allow=2001:db8::/32", "allow=2001:db8::/32"),
            ("allow=[2001:db8::1]:443/udp", "allow=[2001:db8::1]:443/udp"),
            ("allow=0.0.0.0/0", "allow=0.0.0.0/0"),
            (
                "allow=_sip._udp.example.org,xn--bcher-kva.example",
                "allow=_sip._udp.example.org,xn--bcher-kva.example",
            ),
        ] {
            let policy: Policy = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(policy.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(policy));
        }
    }

    #[test]
    fn a_bad_entry_is_named_with_the_form_that_is_expected() {
        for (text, why) in [
            ("allow=", "neither a full name"),
            ("allow=example.org,", "`` is neither"),
            ("allow=example.org,all", "`all` is neither"),
            ("allow=*.example.org", "`*.example.org` needs no `*.`"),
            ("allow=exa mple.org", "`exa mple.org` is neither"),
            ("allow=bücher.example", "neither a full name"),
            ("allow=10.1.0", "`10.1.0` is neither"),
            ("allow=300.1.1.1", "neither a full name"),
            ("allow=10.1.0.0/33", "is no network"),
            ("allow=example.org/24", "is no network"),
            ("allow=example.org:0", "no valid port"),
            ("allow=example.org:443-80", "no valid port"),
            ("allow=example.org:+80", "no valid port"),
            ("allow=example.org:https", "no valid port"),
            ("allow=example.org/udp", "a protocol and no port"),
            ("allow=[2001:db8::1:443", "has no `]`"),
            ("allow=[2001:db8::1]443", "after `]`"),
            ("allow=a.b;accept", "neither a full name"),
            ("allow=127.0.0.1", "the host's own"),
            ("allow=169.254.169.254:80", "the host's own"),
            ("allow=172.16.0.1", "the host's own"),
            ("allow=-a.example", "neither a full name"),
        ] {
            let error = text.parse::<Policy>().unwrap_err();
            assert!(error.contains(why) && error.contains("10.1.0.1:53/udp"), "{text}: {error}");
        }
        for text in ["", "Open", "off", "allow", "allow example.org", "deny=a.b"] {
            assert!(
                text.parse::<Policy>().unwrap_err().contains("allow=example.org,10.1.0.0/16:443"),
                "{text}"
            );
        }
    }

    #[test]
    fn only_what_goes_by_names_needs_a_resolver() {
        for (text, resolves) in [
            ("open", false),
            ("none", false),
            ("learn", true),
            ("allow=10.0.0.0/8", false),
            ("allow=1.1.1.1,a.b", true),
        ] {
            assert_eq!(text.parse::<Policy>().unwrap().resolves(), resolves, "{text}");
        }
    }
}
