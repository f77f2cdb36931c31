//! A command that has the user's own streams. Signals that reach mvm meanwhile are the command's.

use std::io::Result;
use std::process::{Child, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{Call, exit_code};

/// What runs attached now, and the signal that came for it.
static CURRENT: Mutex<Current> = Mutex::new(Current { running: Vec::new(), signal: None });

struct Current {
    running: Vec<Pid>,
    signal: Option<i32>,
}

fn current() -> std::sync::MutexGuard<'static, Current> {
    CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Hands a signal to what runs attached; false when nothing does.
pub fn hand_on(signal: i32) -> bool {
    let mut current = current();
    if current.running.is_empty() {
        return false;
    }
    current.signal = Some(signal);
    for pid in &current.running {
        if let Some(signal) = Signal::from_named_raw(signal) {
            // It may have ended by itself at this moment.
            kill_process(*pid, signal).unwrap_or_default();
        }
    }
    true
}

/// A command under way. It ends with mvm.
pub struct Attached {
    pub child: Child,
    pid: Pid,
}

impl Attached {
    /// Starts `call`, whose streams are those given; its standard error is mvm's own.
    pub fn start(call: &Call, stdin: Stdio, stdout: Stdio) -> Result<Self> {
        tracing::debug!(argv = ?super::Shortened(&call.argv), "run attached");
        let mut current = current();
        let child = call.command().stdin(stdin).stdout(stdout).spawn()?;
        let pid = Pid::from_child(&child);
        current.running.push(pid);
        current.signal = None;
        Ok(Self { child, pid })
    }

    /// Waits for its end; the exit code a shell would show, also for a signal that mvm was sent meanwhile.
    pub fn wait(mut self) -> Result<i32> {
        self.waited()
    }

    fn waited(&mut self) -> Result<i32> {
        // Its PID stays its own until it is taken off the list.
        while let Err(error) = waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            if error != rustix::io::Errno::INTR {
                break;
            }
        }
        let mut current = current();
        current.running.retain(|pid| *pid != self.pid);
        let code = exit_code(self.child.wait()?);
        Ok(current.signal.map_or(code, |signal| 128 + signal))
    }
}

/// A command that is not waited for is of no use any more.
impl Drop for Attached {
    fn drop(&mut self) {
        if current().running.contains(&self.pid) {
            self.child.kill().unwrap_or_default();
            self.waited().unwrap_or_default();
        }
    }
}
