//! mvm: a real Linux machine of your own, in a microVM, with one command.
//!
//! The map, from the user inwards; each module uses those below it only (ARCHITECTURE.md):
//!
//! - [`cli`], [`commands`]: what the user types, one file a command.
//! - [`ui`], [`error`], [`config`]: what is printed, what goes wrong, what is set.
//! - [`microvm`]: machines: look, plan, do. [`bench`]: how long that takes.
//! - [`listener`]: ports of this host, and who has them. [`datagrams`]: UDP by a stream.
//! - [`project`]: mvm.toml, the machines of a project.
//! - [`shares`], [`sftp`]: folders of this host in machines.
//! - [`access`]: what lets other tools into machines.
//! - [`doctor`], [`bootstrap`]: what the Linux side needs, and its installation.
//! - [`image`]: kernel, base and initrd; the seed of a machine.
//! - [`vmm`]: Firecracker and QEMU. [`network`]: the layout inside a cell, and what a machine may reach.
//! - [`lima`]: the Lima VM in which machines run where this host is no Linux.
//! - [`download`], [`http`], [`digest`]: what comes from the network, verified.
//! - [`transfer`]: files and trees as archives. [`disk`]: what files take. [`lock`]: several mvm on one host.
//! - [`version`]: of the files that mvm writes and reads again.
//! - [`suggest`]: what was meant by a name that is not there.
//! - [`hostile`]: what others give, for the fuzzers. [`checkpoint`]: where faults are tried.
//! - [`linux`]: where Linux is. [`shell`]: processes and scripts.

pub mod access;
pub mod bench;
pub mod bootstrap;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub mod datagrams;
pub mod digest;
pub mod disk;
pub mod doctor;
pub mod download;
pub mod error;
pub mod hostile;
pub mod http;
pub mod image;
pub mod lima;
pub mod linux;
pub mod listener;
pub mod lock;
pub mod microvm;
pub mod network;
pub mod project;
pub mod sftp;
pub mod shares;
pub mod shell;
pub mod suggest;
pub mod transfer;
pub mod ui;
pub mod version;
pub mod vmm;
