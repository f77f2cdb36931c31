//! A policy as rules for the cell (`resources/rules.nft.tera`), and as the configuration of the cell's resolver.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tera::{Context, Tera};

use super::policy::Ports;
use super::{Allowed, DNS, GUEST, OUTSIDE, Policy, TAP, Target, UPSTREAM};

const TEMPLATE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/rules.nft.tera"));

/// The port that the cell's resolver asks from. One below 1024 wants a capability, which nobody else in the cell has.
const QUERY_PORT: u16 = 54;
/// How long a name's address may be kept in the guest, in seconds: less than it stays in the cell's set.
const LONGEST_TTL: u32 = 600;

/// What no machine reaches, whatever its policy: this host, its link (with the metadata service of most clouds), and the addresses at
/// which Alibaba, Azure and Oracle have theirs.
const NEVER: [&str; 7] = [
    "0.0.0.0/8",
    "100.100.100.200/32",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/30",
    "192.0.0.192/32",
];
/// Of IPv6; the last ones are IPv4 addresses in its form, and AWS's metadata service.
const NEVER_SIX: [&str; 4] = ["::/127", "fe80::/10", "::ffff:0:0/96", "fd00:ec2::254/128"];

/// Whether all of it belongs to what no machine reaches.
pub(super) fn is_never_reached(net: &IpNet) -> bool {
    let within = |never: &&str| match net {
        IpNet::V4(net) => never.parse::<Ipv4Net>().is_ok_and(|never| never.contains(net)),
        IpNet::V6(net) => never.parse::<Ipv6Net>().is_ok_and(|never| never.contains(net)),
    };
    NEVER.iter().chain(&NEVER_SIX).any(within)
}

/// What `nft -f` takes, where `$generation` is defined.
pub fn rules(policy: &Policy) -> tera::TeraResult<String> {
    let mut context = Context::new();
    context.insert("policy", &policy.to_string());
    context.insert("tap", TAP);
    context.insert("outside", OUTSIDE);
    context.insert("guest", &GUEST.to_string());
    context.insert("dns", &DNS.to_string());
    context.insert("upstream", &UPSTREAM.to_string());
    context.insert("query_port", &QUERY_PORT);
    context.insert("never", &NEVER);
    context.insert("never6", &NEVER_SIX);
    context.insert("names", &policy.names());
    context.insert("allowed", &allowed(policy));
    context.insert("resolves", &policy.resolves());
    context.insert("forwards", &policy.is_open());
    context.insert("passes", &matches!(policy, Policy::Open | Policy::Learn));
    Tera::default().render_str(TEMPLATE, &context, false)
}

/// The matches, each of one rule.
fn allowed(policy: &Policy) -> Vec<String> {
    let Policy::Allow(list) = policy else { return Vec::new() };
    let rules = list.iter().flat_map(|Allowed { target, ports }| {
        let ports = ports.as_ref().map(ports_match).unwrap_or_default();
        match target {
            // An address stays as long as it is used.
            Target::Name(name) => [("ip", "a"), ("ip6", "aaaa")]
                .map(|(family, set)| {
                    let daddr = format!("ct original {family} daddr");
                    format!("{daddr} @{set}-{name}{ports} update @{set}-{name} {{ {daddr} }}")
                })
                .to_vec(),
            Target::Net(IpNet::V4(net)) => vec![format!("ct original ip daddr {net}{ports}")],
            Target::Net(IpNet::V6(net)) => vec![format!("ct original ip6 daddr {net}{ports}")],
        }
    });
    rules.collect()
}

fn ports_match(Ports { protocol, first, last }: &Ports) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    format!(" meta l4proto {} ct original proto-dst {range}", protocol.word())
}

/// The configuration of dnsmasq, where the policy needs it. It asks for the names that are allowed only, and puts their addresses into
/// the sets of the rules before it answers. It keeps no answer, since one that is kept would be put nowhere; the host's resolver does.
pub fn resolver(policy: &Policy) -> Option<String> {
    if !policy.resolves() {
        return None;
    }
    let mut lines = vec![
        format!("listen-address={DNS}"),
        "bind-interfaces".to_owned(),
        "no-hosts".to_owned(),
        "no-resolv".to_owned(),
        "no-poll".to_owned(),
        "cache-size=0".to_owned(),
        format!("max-ttl={LONGEST_TTL}"),
        "edns-packet-max=4096".to_owned(),
        format!("query-port={QUERY_PORT}"),
        "log-queries=extra".to_owned(),
    ];
    let names = policy.names();
    if names.is_empty() {
        lines.push(format!("server={UPSTREAM}"));
    }
    for name in &names {
        lines.push(format!("server=/{name}/{UPSTREAM}"));
        // Of several that match a name dnsmasq goes by the longest alone.
        let above = names.iter().filter(|other| name == *other || name.ends_with(&format!(".{other}")));
        let sets: Vec<_> = above.map(|name| format!("4#inet#mvm#a-{name},6#inet#mvm#aaaa-{name}")).collect();
        lines.push(format!("nftset=/{name}/{}", sets.join(",")));
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        text.parse().unwrap()
    }

    /// What differs between policies; all of it once.
    #[test]
    fn the_rules_of_each_policy() {
        insta::assert_snapshot!("open", rules(&Policy::Open).unwrap());
        let list =
            "allow=example.org,api.example.org:80,10.1.0.0/16:443-444,10.2.0.1:53/udp,[2001:db8::/32]:443";
        insta::assert_snapshot!("allow", rules(&policy(list)).unwrap());
        let tail = |text: &str| {
            let rules = rules(&policy(text)).unwrap();
            rules[rules.find("  chain judge").unwrap()..rules.find("  chain pass ").unwrap()].to_owned()
        };
        assert!(tail("none").ends_with("    goto refuse\n  }\n"), "{}", tail("none"));
        assert!(tail("learn").ends_with("    goto pass\n  }\n"), "{}", tail("learn"));
        assert!(!tail("learn").contains("dnat"), "its names go to the cell's resolver");
    }

    #[test]
    fn the_resolver_asks_for_what_is_allowed_and_tells_the_rules() {
        assert_eq!(resolver(&Policy::Open), None);
        assert_eq!(resolver(&policy("allow=10.0.0.0/8")), None);
        let text =
            resolver(&policy("allow=example.org:443,api.example.org:80,other.org,10.0.0.0/8")).unwrap();
        let lines: Vec<_> =
            text.lines().filter(|line| line.starts_with("server=") || line.starts_with("nftset=")).collect();
        assert_eq!(
            lines,
            [
                "server=/api.example.org/169.254.1.2",
                "nftset=/api.example.org/4#inet#mvm#a-api.example.org,6#inet#mvm#aaaa-api.example.org,\
                 4#inet#mvm#a-example.org,6#inet#mvm#aaaa-example.org",
                "server=/example.org/169.254.1.2",
                "nftset=/example.org/4#inet#mvm#a-example.org,6#inet#mvm#aaaa-example.org",
                "server=/other.org/169.254.1.2",
                "nftset=/other.org/4#inet#mvm#a-other.org,6#inet#mvm#aaaa-other.org",
            ]
        );
        let text = resolver(&Policy::Learn).unwrap();
        assert!(text.ends_with("\nserver=169.254.1.2") && !text.contains("nftset"), "{text}");
    }

    #[test]
    fn the_hosts_own_is_known_in_both_families() {
        for (net, never) in [
            ("127.1.2.3/32", true),
            ("169.254.169.254/32", true),
            ("0.0.0.0/0", false),
            ("10.0.0.0/8", false),
            ("::1/128", true),
            ("fe80::1/128", true),
            ("::ffff:127.0.0.1/128", true),
            ("2001:db8::/32", false),
        ] {
            assert_eq!(is_never_reached(&net.parse().unwrap()), never, "{net}");
        }
    }
}
