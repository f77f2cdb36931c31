//! The real Lima, with a guest that the suite makes, emulated in software: host → Lima VM → microVM (host.rs sets it up).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod host;
mod life;
mod set_up;
// Last in the alphabet, so that it comes last.
mod teardown;
