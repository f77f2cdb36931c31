//! Hermetic tests: no root, no network, no virtual machine; seconds.

mod apt;
mod broken_state;
mod cli;
mod environment;
mod scripts;
mod setup;
