//! A server of the SSH File Transfer Protocol, version 3, for one folder: the host's side of a shared folder, whose other
//! side is sshfs in a machine.
//!
//! Of its own, since OpenSSH's shows all of the host unless root confines it, and the servers among crates want names to be
//! text. Machines run what nobody trusts, so nothing outside of the folder is reached, whatever is asked for: see [`Folder`].
//! The protocol: draft-ietf-secsh-filexfer-02; OpenSSH's extensions: its file PROTOCOL, section 4.

mod folder;
mod request;
mod server;
mod wire;

use std::io::{ErrorKind, Read, Result, Write};

pub use folder::Folder;
use server::Server;

/// The longest request that is taken, and more than any answer, in bytes; OpenSSH's limit as well.
const LONGEST: usize = 256 << 10;

/// Serves `folder` until the input ends. Requests are answered in their order; answers are sent once no further request waits.
pub fn serve(folder: &Folder, mut input: impl Read, mut output: impl Write) -> Result<()> {
    let mut server = Server::new(folder);
    let (mut pending, mut answers) = (Vec::with_capacity(LONGEST), Vec::new());
    let mut chunk = vec![0; LONGEST];
    loop {
        let mut at = 0;
        while let Some(length) = pending[at..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize)
        {
            if length == 0 || length > LONGEST {
                return Err(std::io::Error::new(ErrorKind::InvalidData, "that is no SFTP"));
            }
            let Some(packet) = pending.get(at + 4..at + 4 + length) else { break };
            server.answer(packet, &mut answers)?;
            at += 4 + length;
            // What is asked for while nobody reads must not pile up.
            if answers.len() > LONGEST {
                output.write_all(&answers)?;
                answers.clear();
            }
        }
        pending.drain(..at);
        if !answers.is_empty() {
            output.write_all(&answers)?;
            answers.clear();
        }
        output.flush()?;
        match input.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => pending.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
