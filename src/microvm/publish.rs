//! Publishing a machine's ports: forwarders that hang on its cell (resources/scripts/cell/forward.pl).

use std::collections::BTreeMap;

use super::port::{Listen, Port};
use super::{MachineName, Spec};
use crate::linux::Door;
use crate::network;
use crate::script;
use crate::shell::{Answer, Script};

/// What opens a port on the host, and carries what comes to the guest.
pub(super) const FORWARD: &str = include_str!("../../resources/scripts/cell/forward.pl");

/// Whether a published port leads to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortState {
    Open,
    /// Why it does not.
    Closed(String),
}

/// The ports that a machine's cell has been asked for, by [`Listen::id`].
pub type PortStates = BTreeMap<String, PortState>;

/// The socket of a port, and the file that is locked as long as it is open; in the machine's folder.
pub fn socket(home: &str, name: &MachineName, listen: Listen) -> (String, String) {
    let lock = format!("{home}/machines/{name}/run/ports/{}", listen.id());
    (format!("{lock}.sock"), lock)
}

/// The program that a machine's ports are opened by; in its folder.
pub fn forwarder(home: &str, name: &MachineName) -> String {
    format!("{home}/machines/{name}/run/forward.pl")
}

/// What the cell's supervisor is asked for, a line for each port.
pub(super) fn lines(ports: &[Port], door: Door) -> String {
    let line = |port: &Port| {
        let Listen { protocol, address } = port.listen;
        let id = port.listen.id();
        let place = match door {
            Door::Address => address.to_string(),
            Door::Socket => format!("run/ports/{id}.sock"),
        };
        format!("{id} {} {place} {}:{}", protocol.word(), network::GUEST, port.guest)
    };
    ports.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What became of a change of a machine's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// Nothing: the machine was changed by another meanwhile.
    Stale,
    /// It does not run, and has them at its next start.
    Later,
    Now(PortStates),
}

/// Writes down `spec` with its ports, and opens and closes those of a machine that runs; only where it still is as `before` says.
/// `change` is for its events.
pub fn publish(
    before: Option<&Spec>,
    spec: &Spec,
    change: &str,
    door: Door,
) -> serde_json::Result<Script<Publication>> {
    let read = |answer: &Answer| {
        Ok(match answer.text("RUNS") {
            None => Publication::Stale,
            Some("yes") => Publication::Now(read(answer, "PORT")),
            Some(_) => Publication::Later,
        })
    };
    Ok(script!("microvm/ports" with ["cell/lib", "microvm/lib"], read)
        .input("NAME", spec.name.as_str())
        .input("CHANGE", change)
        .input("PORTS", lines(&spec.ports, door))
        .payload(spec.lines(before)?))
}

/// `KEY=ID open`, or the id and why it is not.
pub(super) fn read(answer: &Answer, key: &str) -> PortStates {
    let states = answer.all(key).filter_map(|line| {
        let (id, said) = line.split_once(' ')?;
        let state = if said == "open" { PortState::Open } else { PortState::Closed(said.to_owned()) };
        Some((id.to_owned(), state))
    });
    states.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisor_is_told_where_each_port_leads() {
        let ports = ["8080:80", "[::1]:53:53/udp"].map(|text| text.parse().unwrap());
        assert_eq!(
            lines(&ports, Door::Address),
            "8080tcp tcp 127.0.0.1:8080 172.16.0.2:80\n53udp@--1 udp [::1]:53 172.16.0.2:53"
        );
        assert_eq!(lines(&ports[..1], Door::Socket), "8080tcp tcp run/ports/8080tcp.sock 172.16.0.2:80");
        assert_eq!(lines(&[], Door::Address), "");
    }

    #[test]
    fn what_became_of_each_is_read() {
        let answer =
            Answer::parse("::mvm::\nPORT.web=8080tcp open\nPORT.web=80tcp Permission denied\n").unwrap();
        let states = read(&answer, "PORT.web");
        assert_eq!(states["8080tcp"], PortState::Open);
        assert_eq!(states["80tcp"], PortState::Closed("Permission denied".into()));
    }
}
