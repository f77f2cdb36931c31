//! The cell's network: the same layout in every cell, so that a machine looks alike wherever it runs.

use std::net::Ipv4Addr;

/// The tap device, which is the cell's own.
pub const TAP: &str = "tap0";
/// The cell's end of the link, the guest's gateway.
pub const HOST_CIDR: &str = "172.16.0.1/30";
pub const HOST_MAC: &str = "06:00:ac:10:00:01";
/// The guest's end.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
pub const GUEST_MAC: &str = "06:00:ac:10:00:02";
/// The resolver that the guest asks; pasta passes on to the host's own.
pub const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Bytes; what Ethernet has everywhere.
pub const MTU: u16 = 1500;
