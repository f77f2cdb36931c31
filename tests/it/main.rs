//! Hermetic tests: no root, no network, no virtual machine; seconds.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::format_push_string, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod apt;
mod broken_state;
mod change;
mod cli;
mod completions;
mod corpus;
mod doctor;
mod download;
mod environment;
mod firecracker_release;
mod forward;
mod gc;
mod image;
mod install;
mod lima;
mod matrix;
mod oci;
mod packaging;
mod policy;
mod ports;
mod project;
mod scripts;
mod secrets;
mod security;
mod setup;
mod snapshot;
mod suspend;
mod ubuntu;
mod workflows;
