use std::io::{Read, Write};
use std::process::{ChildStdin, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGTERM;

use super::Context;
use super::exec::attach;
use super::running::existing;
use super::which::Which;
use crate::error::{Error, Result};
use crate::microvm::Scope;
use crate::microvm::session::{self, NOT_REACHED};
use crate::shell;
use crate::ui::terminal::Mode;

/// Ctrl-]
const DETACH: u8 = 0x1d;

const EXAMPLES: &str = "\
Examples:
  mvm console web                     Enter gives a shell, Ctrl-] leaves
  echo 'dmesg | tail' | mvm console web
  mvm logs web --console              what it has said so far";

/// Connect to a machine's serial console; Ctrl-] leaves it
///
/// It works while the machine boots, and when neither its network nor its SSH server does. Enter gives a root shell there once the
/// guest is up; it asks for no password, since whoever gets here has the machine's keys. For daily work `mvm ssh` is better: it
/// knows the terminal's size.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Console {
    #[command(flatten)]
    which: Which,
}

pub fn run(context: &mut Context<'_>, args: &Console) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let machine = existing(context, &observed, name)?;
    if machine.state.running().is_none() {
        return Err(Error::not_running(format!("the machine `{name}` is not running"))
            .hint(format!("`mvm logs {name}` shows what it said last; `mvm start {name}` starts it")));
    }
    context.round_trips += 1;
    let mode = Mode::raw()?;
    let interactive = mode.is_some();
    if interactive {
        context.ui.say(format!("The console of `{name}`: Enter gives a shell, Ctrl-] leaves.\r"));
    }
    context.ui.settle();
    let call = context.linux.wrap(session::console(name));
    let mut side = attach(&call, Stdio::piped(), Stdio::inherit())?;
    let left = Arc::new(AtomicBool::new(false));
    if let Some(keys) = side.child.stdin.take() {
        let left = Arc::clone(&left);
        // Not waited for: it reads until mvm ends.
        std::thread::spawn(move || {
            if pass_on(std::io::stdin().lock(), keys, interactive.then_some(DETACH)) {
                left.store(true, Ordering::SeqCst);
                shell::hand_on(SIGTERM);
            }
        });
    }
    let code = side.wait()?;
    drop(mode);
    if code == NOT_REACHED {
        return Err(Error::connection(format!("the console of `{name}` was not reached"))
            .hint(format!("it may just have ended, or an older mvm started it: `mvm why {name}`")));
    }
    if interactive {
        let what =
            if left.load(Ordering::SeqCst) { "The machine runs on." } else { "The machine has ended." };
        context.ui.say(format!("\n{what}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Passes on what comes until its end, or until the key `detach`; whether that was it.
fn pass_on(mut from: impl Read, mut to: ChildStdin, detach: Option<u8>) -> bool {
    let mut buffer = [0; 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return false,
            Ok(read) => read,
        };
        let keys = &buffer[..read];
        let end = keys.iter().position(|key| Some(*key) == detach);
        if to.write_all(&keys[..end.unwrap_or(read)]).and_then(|()| to.flush()).is_err() {
            return false;
        }
        if end.is_some() {
            return true;
        }
    }
}
