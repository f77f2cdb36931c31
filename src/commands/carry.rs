use std::net::UdpSocket;
use std::process::ExitCode;

use super::Context;
use crate::error::{Error, Result};
use crate::microvm::Listen;
use crate::{datagrams, shell};

/// What is said once the port leads to the machine.
pub(super) const LISTENING: &str = "listening";

/// Carry the datagrams of a port to a machine in the Lima VM; mvm starts this by itself
#[derive(Debug, clap::Args)]
pub(super) struct Carry {
    listen: Listen,
    /// In the VM: the machine's forwarder, and the socket that it listens on
    forward: String,
    socket: String,
}

pub(super) fn run(context: &mut Context<'_>, args: &Carry) -> Result<ExitCode> {
    // It is to outlive the terminal that it was started from.
    rustix::process::setsid().map(drop).unwrap_or_default();
    std::env::set_current_dir("/")?;
    let socket = UdpSocket::bind(args.listen.address)?;
    let call = context.linux.lead(&args.forward, &args.socket);
    let call = call.ok_or_else(|| Error::usage("the Linux side opens its ports itself"))?;
    let mut child = shell::start_between(&call)?;
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::failure("the connection has no streams"));
    };
    let carried = datagrams::carry(&socket, to, from, || context.ui.data(LISTENING));
    child.kill().unwrap_or_default();
    child.wait()?;
    Ok(carried.map(|()| ExitCode::SUCCESS)?)
}
