//! Real machines under software emulation, as root and as an ordinary user. The suite sets up what it needs (host.rs).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::zombie_processes,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod bench;
mod confined;
mod container;
mod daily;
mod destroy;
mod faults;
mod fidelity;
mod firecracker;
mod fork;
mod host;
mod idle;
mod image;
mod kernel;
mod kill;
mod lifecycle;
mod lima;
mod matrix;
mod mount;
mod network;
mod oci;
mod policy;
mod ports;
mod project;
mod run;
mod session;
mod snapshot;
mod suspend;
mod terminal;
mod trust;
mod tutorial;
