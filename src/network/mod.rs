//! The cell's network: the same layout in every cell, so that a machine looks alike wherever it runs; and what of the world outside
//! a machine may reach.

mod policy;
mod rules;
pub mod traffic;

use std::net::Ipv4Addr;

use serde::Serialize;

pub use policy::{Allowed, Policy, Target};
pub use rules::{resolver, rules};

/// The tap device, which is the cell's own.
pub const TAP: &str = "tap0";
/// The device that pasta makes in the cell, which leads outside.
pub const OUTSIDE: &str = "eth0";
/// The cell's end of the link, the guest's gateway.
pub const HOST_CIDR: &str = "172.16.0.1/30";
pub const HOST_MAC: &str = "06:00:ac:10:00:01";
/// The guest's end.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
pub const GUEST_MAC: &str = "06:00:ac:10:00:02";
/// The resolver that the guest asks: the cell's own, or else pasta's.
pub const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// What pasta passes on to the host's resolver. The guest has it by [`DNS`] alone.
pub const UPSTREAM: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 2);
/// Where a guest that goes on from another one's memory waits to hear who it is (resources/guest/first.pl). Root's alone in a guest, and of
/// those that are kept for experiments (RFC 4727).
pub const FIRST_PORT: u16 = 1022;
/// Bytes; what Ethernet has everywhere.
pub const MTU: u16 = 1500;

/// What travels on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}
