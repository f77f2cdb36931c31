//! Evidence of how machines are kept apart (resources/scripts/verify), and what is to be seen in it. What is seen is data, and the
//! judgement pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use super::{MachineName, Protocol, Spec, ssh};
use crate::image::Image;
use crate::network::{Allowed, Policy, Target};
use crate::script;
use crate::shell::{Answer, AnswerError, Script};

/// Where clouds tell a host's own secrets to whoever asks.
const METADATA: &str = "169.254.169.254 80";
/// For documentation (RFC 5737): nobody has it.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// What the VMM may do beside its memory (resources/scripts/cell/inside.sh).
const LIMITS: [(&str, u64); 3] =
    [("Max processes", 1024), ("Max open files", 2048), ("Max core file size", 0)];
/// Address space beside the machine's memory, in bytes.
const BESIDE_MEMORY: u64 = 8 << 30;

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The machine, or the host where there is none.
    pub machine: Option<MachineName>,
    pub probe: &'static str,
    /// Nothing where it could not be told.
    pub ok: Option<bool>,
    /// What was seen.
    pub evidence: String,
}

/// Facts of one machine, as the script answers them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    runs: bool,
    /// `KIND own|host ID`
    namespaces: Vec<String>,
    status: Vec<String>,
    limits: Vec<String>,
    /// `FILE LIMIT` of its cgroup, where it has one of its own.
    scope: Vec<String>,
    /// `rw|ro TARGET`
    mounts: Vec<String>,
    open: Vec<String>,
    /// `PROTOCOL ADDRESS:PORT OWNER`, as /proc/net has them.
    listen: Vec<String>,
    /// `NAME SHA256`
    files: Vec<String>,
    vmm: String,
    recorded: Option<String>,
    package: Option<String>,
    loopback: Option<String>,
    /// `ADDRESS PORT exit 1`, or what was heard.
    tried: Vec<String>,
    /// The guest could not be asked.
    unreachable: bool,
    /// The cell's chain `judge` and its set `refused`, as nft lists them.
    rules: Vec<String>,
    refused: Vec<String>,
    secrets: Vec<String>,
    leaks: Vec<String>,
}

/// Gathers the evidence of a machine.
pub fn gather(name: &MachineName, policy: &Policy) -> Script<Seen> {
    // Where it would pass, nothing is sent to where nobody is.
    let nobody = if refuses_nobody(policy) { format!("\n{NOBODY} 80") } else { String::new() };
    script!("verify/machine" with ["cell/lib", "microvm/lib", "image/lib"], read)
        .input("NAME", name.as_str())
        .input("MASTER", ssh::master(name).join("\n"))
        .input("LISTENER", include_str!("../../resources/scripts/verify/listener.pl"))
        .input("FAR", format!("{METADATA}{nobody}"))
}

fn read(answer: &Answer) -> Result<Seen, AnswerError> {
    let all = |key: &str| answer.all(key).map(str::to_owned).collect();
    let text = |key: &str| answer.text(key).map(str::to_owned);
    Ok(Seen {
        runs: answer.get::<String>("RUNS")? == "yes",
        namespaces: all("NS"),
        status: all("STATUS"),
        limits: all("LIMIT"),
        scope: all("SCOPE"),
        mounts: all("MOUNT"),
        open: all("OPEN"),
        listen: all("LISTEN"),
        files: all("FILE"),
        vmm: text("VMM").unwrap_or_default(),
        recorded: text("RECORDED"),
        package: text("PACKAGE"),
        loopback: text("LOOPBACK"),
        tried: all("TRIED"),
        unreachable: answer.text("UNREACHABLE") == Some("yes"),
        rules: all("RULE"),
        refused: all("REFUSED"),
        secrets: all("SECRET"),
        leaks: all("LEAK"),
    })
}

/// What is to be seen in it; `spec` is what the machine was started with, `image` what it is made of.
pub fn judge(name: &MachineName, seen: &Seen, spec: &Spec, image: Option<&Image>) -> Vec<Finding> {
    let finding = |probe, (ok, evidence)| Finding { machine: Some(name.clone()), probe, ok, evidence };
    if !seen.runs {
        return vec![finding("running", (None, "it does not run, so there is nothing to see".to_owned()))];
    }
    let mut findings = vec![
        finding("namespaces", namespaces(seen)),
        finding("rights", rights(seen)),
        finding("system calls", system_calls(seen)),
        finding("limits", limits(seen, spec)),
        finding("files it sees", mounts(seen, spec)),
        finding("modes", modes(&seen.open, "its keys, sockets, console and disk are its user's alone")),
        finding("ports", listening(seen, spec)),
        finding("image", files(seen, image)),
        finding("VMM's binary", binary(seen)),
        finding("host's loopback", loopback(seen)),
        finding("metadata", metadata(seen)),
        finding("network policy", policy(seen, &spec.net)),
        finding("secrets", secrets(seen)),
    ];
    if seen.unreachable {
        let why = "it lets nobody connect, so nothing was tried from within (`mvm why` has more)".to_owned();
        findings.push(finding("guest", (None, why)));
    }
    findings
}

type Judged = (Option<bool>, String);

fn namespaces(seen: &Seen) -> Judged {
    let (mut shared, mut names) = (Vec::new(), Vec::new());
    for line in &seen.namespaces {
        let mut words = line.splitn(3, ' ');
        let (kind, whose) = (words.next().unwrap_or_default(), words.next());
        names.push(words.next().unwrap_or("unreadable"));
        if whose != Some("own") {
            shared.push(kind);
        }
    }
    let all = names.join(" ");
    if !shared.is_empty() {
        (Some(false), format!("the VMM has the host's: {}", shared.join(" ")))
    } else if names.len() < 6 || names.contains(&"unreadable") {
        (None, format!("not all can be seen: {all}"))
    } else {
        (Some(true), format!("the VMM's own: {all}"))
    }
}

fn status<'a>(seen: &'a Seen, key: &str) -> Option<&'a str> {
    seen.status.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

fn rights(seen: &Seen) -> Judged {
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let mut wrong: Vec<String> = capabilities
        .iter()
        .filter_map(|key| match status(seen, key) {
            Some(mask) if mask.bytes().all(|digit| digit == b'0') => None,
            Some(mask) => Some(format!("{key} {mask}")),
            None => Some(format!("{key} is not told")),
        })
        .collect();
    if status(seen, "NoNewPrivs") != Some("1") {
        wrong.push(format!("NoNewPrivs {}", status(seen, "NoNewPrivs").unwrap_or("is not told")));
    }
    if wrong.is_empty() {
        (Some(true), "CapInh, CapPrm, CapEff, CapBnd and CapAmb are 0; NoNewPrivs 1".to_owned())
    } else {
        (Some(false), wrong.join(", "))
    }
}

fn system_calls(seen: &Seen) -> Judged {
    match status(seen, "Seccomp") {
        Some("2") => (Some(true), "filtered: Seccomp 2".to_owned()),
        // A QEMU without libseccomp has no filter of its own.
        Some(mode) if seen.vmm.contains("qemu") => (None, format!("Seccomp {mode}: this QEMU has no filter")),
        other => (Some(false), format!("Seccomp {}", other.unwrap_or("is not told"))),
    }
}

fn limits(seen: &Seen, spec: &Spec) -> Judged {
    // `Max open files  SOFT  HARD  UNIT`
    let limit = |key: &str| {
        let line = seen.limits.iter().find_map(|line| line.strip_prefix(key))?;
        let mut words = line.split_whitespace();
        Some((words.next()?.parse::<u64>().ok(), words.next()?.parse::<u64>().ok()))
    };
    let space = spec.memory_mib.bytes() + BESIDE_MEMORY;
    let mut told = Vec::new();
    let mut ok = true;
    for (key, most) in LIMITS.into_iter().chain([("Max address space", space)]) {
        // Where the kernel counts otherwise there is none.
        let Some(limit) = limit(key).or_else(|| (key != "Max processes").then(Default::default)) else {
            continue;
        };
        let [soft, hard] =
            [limit.0, limit.1].map(|value| value.map_or("unlimited".to_owned(), |n| n.to_string()));
        let within = limit.1.is_some_and(|hard| hard <= most) && limit.0 <= limit.1;
        ok &= within;
        let key = key.trim_start_matches("Max ");
        told.push(if within {
            format!("{key} {hard}")
        } else {
            format!("{key} {soft} to {hard}, not {most}")
        });
    }
    told.extend(seen.scope.iter().map(|limit| format!("cgroup {limit}")));
    (Some(ok), told.join(", "))
}

fn mounts(seen: &Seen, spec: &Spec) -> Judged {
    let machine = format!("/machines/{}", spec.name);
    let writable = |target: &str| {
        target.starts_with("/dev/")
            || [".", "disk.img", "vmm.log", "run/out"]
                .iter()
                .any(|file| target == format!("{machine}/{file}"))
    };
    let foreign = |target: &str| {
        let known = [
            "/usr",
            "/bin",
            "/sbin",
            "/lib",
            "/lib32",
            "/lib64",
            "/libx32",
            "/nix/store",
            "/etc/ld.so.cache",
        ];
        let below = |folder: &str| target == folder || target.starts_with(&format!("{folder}/"));
        !(target == "/"
            || known.iter().any(|folder| below(folder))
            || below("/dev")
            || below("/sys/devices/system/cpu")
            || below(&format!("/images/{}", spec.image_id))
            || below(&machine)
            // The VMM's own program.
            || seen.vmm.split(' ').next() == Some(target))
    };
    let split =
        |line: &str| line.split_once(' ').map(|(options, target)| (options.to_owned(), target.to_owned()));
    let all: Vec<_> = seen.mounts.iter().filter_map(|line| split(line)).collect();
    if all.is_empty() {
        return (None, "its mounts cannot be seen".to_owned());
    }
    let wrong: Vec<_> = all
        .iter()
        .filter(|(options, target)| foreign(target) || (options == "rw" && !writable(target)))
        .map(|(options, target)| format!("{target} ({options})"))
        .collect();
    if !wrong.is_empty() {
        let shown: Vec<_> = wrong.iter().take(5).cloned().collect();
        return (
            Some(false),
            format!("the VMM sees {} more than its own: {} …", wrong.len(), shown.join(", ")),
        );
    }
    let own: Vec<_> =
        all.iter().filter(|(options, target)| options == "rw" && !target.starts_with("/dev")).collect();
    let own: Vec<_> =
        own.iter().map(|(_, target)| target.trim_start_matches(&machine).trim_start_matches('/')).collect();
    (Some(true), format!("{} mounts, of which it writes to {} and devices alone", all.len(), own.join(", ")))
}

fn modes(open: &[String], promise: &str) -> Judged {
    if open.is_empty() {
        (Some(true), format!("{promise} (no right for group or others)"))
    } else {
        let shown: Vec<_> = open.iter().take(5).cloned().collect();
        (Some(false), format!("open to others: {}", shown.join(", ")))
    }
}

/// An address and port as /proc/net/tcp has them: words of the host's byte order in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_le_bytes))
        .collect();
    let words = words?;
    let address = match words[..] {
        [word] => IpAddr::from(Ipv4Addr::from(word)),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [a, b, c, d].concat().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

fn listening(seen: &Seen, spec: &Spec) -> Judged {
    let asked: BTreeSet<(bool, SocketAddr)> =
        spec.ports.iter().map(|port| (port.listen.protocol == Protocol::Udp, port.listen.address)).collect();
    let mut open = Vec::new();
    let mut wrong = Vec::new();
    for line in &seen.listen {
        let mut words = line.splitn(3, ' ');
        let (protocol, at, owner) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let Some(at) = address(at) else {
            wrong.push(line.clone());
            continue;
        };
        let shown = format!("{at}/{} by {owner}", protocol.trim_end_matches('6'));
        if asked.contains(&(protocol.starts_with("udp"), at)) { open.push(shown) } else { wrong.push(shown) }
    }
    match (wrong.is_empty(), open.is_empty()) {
        (false, _) => (Some(false), format!("nobody asked for: {}", wrong.join(", "))),
        (true, true) => (Some(true), "its processes listen on no port of the host".to_owned()),
        (true, false) => (Some(true), format!("what was asked for alone: {}", open.join(", "))),
    }
}

fn files(seen: &Seen, image: Option<&Image>) -> Judged {
    let Some(image) = image else { return (Some(false), "its image is gone, or broken".to_owned()) };
    let there = |name: &str| seen.files.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let mut told = Vec::new();
    let (mut ok, mut unknown) = (true, false);
    for (name, file) in image.files() {
        match (there(name), file.sha256.map(|digest| digest.to_string())) {
            (Some(found), Some(digest)) if found == digest => told.push(format!("{name} {}…", &digest[..12])),
            (Some(_), None) => {
                unknown = true;
                told.push(format!("{name}: image.json has no digest"));
            }
            (found, digest) => {
                ok = false;
                told.push(format!(
                    "{name} is {} instead of {}",
                    found.unwrap_or("gone"),
                    digest.unwrap_or_default()
                ));
            }
        }
    }
    let judged = if ok && unknown { None } else { Some(ok) };
    (judged, format!("{} as image.json has it: {}", image.label(), told.join(", ")))
}

fn binary(seen: &Seen) -> Judged {
    let (path, digest) = seen.vmm.rsplit_once(' ').unwrap_or((&seen.vmm, ""));
    let short = digest.get(..12).unwrap_or(digest);
    if let Some(recorded) = &seen.recorded {
        return if recorded == digest {
            (Some(true), format!("{path} is what was installed: SHA-256 {short}…"))
        } else {
            (Some(false), format!("{path} has the SHA-256 {digest}, and was installed with {recorded}"))
        };
    }
    let package: Vec<_> = seen.package.as_deref().unwrap_or_default().split(' ').collect();
    match package[..] {
        [name, version, "unchanged"] => {
            (Some(true), format!("{path} is as the package {name} {version} has it: SHA-256 {short}…"))
        }
        [name, version, _] => (Some(false), format!("{path} is not what the package {name} {version} has")),
        _ => (None, format!("nobody says what {path} is to be: SHA-256 {short}…")),
    }
}

/// What the guest tried at `address`: whether it came through to it.
fn reached(line: &str) -> bool {
    !line.ends_with(" exit 1")
}

fn loopback(seen: &Seen) -> Judged {
    let Some((port, "mvm-loopback")) = seen.loopback.as_deref().and_then(|text| text.split_once(' ')) else {
        return (None, "this host's loopback does not answer itself".to_owned());
    };
    let tried: Vec<_> =
        seen.tried.iter().filter(|line| line.split(' ').nth(1) == Some(port)).map(String::as_str).collect();
    let through: Vec<_> = tried.iter().filter(|line| reached(line)).copied().collect();
    let addresses: Vec<_> = tried.iter().filter_map(|line| line.split(' ').next()).collect();
    match (tried.is_empty(), through.is_empty()) {
        (true, _) => (None, "the guest tried nothing".to_owned()),
        (_, true) => {
            let evidence = format!(
                "a service on 127.0.0.1:{port} answers the host, and not the guest, which tried {}",
                addresses.join(", ")
            );
            (Some(true), evidence)
        }
        _ => (Some(false), format!("the guest reaches 127.0.0.1:{port} of the host: {}", through.join("; "))),
    }
}

fn metadata(seen: &Seen) -> Judged {
    match seen.tried.iter().find_map(|line| line.strip_prefix(METADATA).map(|_| line)) {
        None => (None, "the guest tried nothing".to_owned()),
        Some(line) if reached(line) => {
            (Some(false), format!("the guest reaches the metadata address: {line}"))
        }
        Some(_) => (Some(true), "169.254.169.254 does not answer the guest".to_owned()),
    }
}

/// Whether a policy lets nobody at that address be reached.
fn refuses_nobody(policy: &Policy) -> bool {
    let listed =
        |entry: &Allowed| matches!(entry.target, Target::Net(net) if net.contains(&IpAddr::V4(NOBODY)));
    match policy {
        Policy::Open | Policy::Learn => false,
        Policy::Allow(list) => !list.iter().any(listed),
        Policy::Nothing => true,
    }
}

fn policy(seen: &Seen, policy: &Policy) -> Judged {
    let Some(last) = seen.rules.iter().rfind(|rule| rule.contains("goto ")) else {
        return (None, "the cell's rules cannot be seen".to_owned());
    };
    let passes = matches!(policy, Policy::Open | Policy::Learn);
    if last.contains("goto pass") != passes {
        return (Some(false), format!("{policy}: and the cell's rules end with `{}`", last.trim()));
    }
    if passes {
        let text = format!("{policy}: the cell's rules refuse what is the host's own, and pass the rest");
        return (Some(true), text);
    }
    if !refuses_nobody(policy) {
        return (None, format!("{policy}: it allows the address that would be tried, {NOBODY}"));
    }
    // The guest might say anything; what the cell refused it counts itself.
    let Some(line) = seen.tried.iter().find(|line| line.starts_with(&format!("{NOBODY} 80 "))) else {
        return (None, "the guest tried nothing".to_owned());
    };
    if reached(line) {
        return (Some(false), format!("{policy}: and the guest reaches {line}"));
    }
    if seen.refused.iter().any(|element| *element == format!("{NOBODY} . tcp . 80")) {
        (Some(true), format!("{policy}: the guest tried {NOBODY}:80, and the cell refused it"))
    } else {
        (Some(false), format!("{policy}: the guest tried {NOBODY}:80, and the cell did not refuse it"))
    }
}

fn secrets(seen: &Seen) -> Judged {
    if seen.unreachable {
        return (None, "the guest cannot be asked for them".to_owned());
    }
    if !seen.leaks.is_empty() {
        return (Some(false), format!("a secret's value stands in {}", seen.leaks.join(", ")));
    }
    let names = seen.secrets.join(", ");
    match seen.secrets.len() {
        0 => (Some(true), "it has none".to_owned()),
        _ => (Some(true), format!("{names}: in no file of the machine, and no command line of this host")),
    }
}

/// Facts of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostSeen {
    mode: Option<String>,
    open: Vec<String>,
    strays: Vec<String>,
}

/// Gathers the evidence of the host.
pub fn gather_host() -> Script<HostSeen> {
    let read = |answer: &Answer| {
        Ok(HostSeen {
            mode: answer.text("HOME_MODE").map(str::to_owned),
            open: answer.all("OPEN").map(str::to_owned).collect(),
            strays: answer.all("STRAY").map(str::to_owned).collect(),
        })
    };
    script!("verify/host" with ["cell/lib", "gc/lib"], read)
}

/// What is to be seen in it. `home` is MVM_HOME.
pub fn judge_host(seen: &HostSeen, home: &str) -> Vec<Finding> {
    let finding = |probe, (ok, evidence)| Finding { machine: None, probe, ok, evidence };
    let closed = seen.mode.as_deref().is_none_or(|mode| mode.ends_with("00"));
    let open = if closed { &[][..] } else { &seen.open };
    let mode = seen.mode.as_deref().unwrap_or("not there");
    let strays = if seen.strays.is_empty() {
        (Some(true), "no process of a cell without its machine".to_owned())
    } else {
        (Some(false), format!("processes of machines that do not run: {}", seen.strays.join("; ")))
    };
    vec![
        finding("modes", modes(open, &format!("{home} ({mode}) is its user's alone"))),
        finding("processes", strays),
    ]
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
