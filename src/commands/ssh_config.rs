use std::path::PathBuf;
use std::process::ExitCode;

use super::Context;
use super::running::existing;
use crate::access::{self, Caller, Folder};
use crate::config::{self, Host, Settings};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::microvm::{MachineName, Observed, Scope};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm ssh-config --install            # then: ssh mvm-web, scp, sftp, rsync, git, ansible, VS Code, JetBrains
  mvm ssh-config web >ssh.config      # for one tool alone: ssh -F ssh.config mvm-web
  mvm ssh-config --remove";

/// Let ssh, and all that is built on it, into machines: `ssh mvm-NAME`
///
/// Prints the lines for ssh's configuration, and keeps the keys they name in a folder of mvm's on this host. The machines'
/// host keys are pinned.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SshConfig {
    /// The machine's name [default: all machines]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
    /// Make `~/.ssh/config` include the lines of all machines, those to come as well: one line, at its top
    #[arg(long, conflicts_with_all = ["name", "remove"])]
    install: bool,
    /// Take that line away again, and the keys on this host
    #[arg(long, conflicts_with = "name")]
    remove: bool,
}

impl SshConfig {
    pub fn is_remove(&self) -> bool {
        self.remove
    }
}

pub fn run(context: &mut Context<'_>, args: &SshConfig) -> Result<ExitCode> {
    if args.install { install(context) } else { print(context, args.name.as_ref()) }
}

fn print(context: &mut Context<'_>, name: Option<&MachineName>) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: name, probe: false })?;
    let names = match name {
        Some(name) => vec![existing(context, &observed, name)?.name.clone()],
        None => all(&observed),
    };
    let written = write(context, &names)?;
    let texts: Vec<_> = written.into_iter().map(|(_, config)| config).collect();
    if texts.is_empty() {
        context.ui.say("There are no machines yet; `mvm dev` makes one.");
    } else {
        context.ui.data(texts.join("\n").trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn install(context: &mut Context<'_>) -> Result<ExitCode> {
    let (folder, config) = places();
    let include = folder.include();
    if context.settings.dry_run {
        context.ui.data(format!("put `{}` at the top of {}", include.line(), config.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let observed = context.look(Scope::default())?;
    let written = write(context, &all(&observed))?;
    let changed = {
        let _lock = lock(context.ui)?;
        include
            .add(&config)
            .map_err(|error| by_hand(&error, &format!("put `{}` at its top", include.line())))?
    };
    context.ui.say(if changed {
        format!("{} has a new first line: {}", config.display(), include.line())
    } else {
        format!("{} includes the machines already.", config.display())
    });
    for (name, _) in written {
        context.ui.say(format!("    ssh {}", crate::microvm::ssh::host_alias(&name)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Needs no Linux side.
pub fn remove(settings: &Settings, ui: &mut Ui) -> Result<ExitCode> {
    let (folder, config) = places();
    let include = folder.include();
    if settings.dry_run {
        ui.data(format!("take `{}` out of {}, and remove the keys", include.line(), config.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let changed = undo(ui)?;
    ui.say(if changed {
        format!("{} is as it was.", config.display())
    } else {
        format!("{} did not include the machines.", config.display())
    });
    Ok(ExitCode::SUCCESS)
}

/// Takes away the line and the keys; whether the line was there.
pub(super) fn undo(ui: &mut Ui) -> Result<bool> {
    let (folder, config) = places();
    let include = folder.include();
    if !include.is_in(&config)? && !folder.exists() {
        return Ok(false);
    }
    let _lock = lock(ui)?;
    let changed = include
        .remove(&config)
        .map_err(|error| by_hand(&error, &format!("take `{}` out of it", include.line())))?;
    folder.forget_all()?;
    Ok(changed)
}

/// After a machine was reached: where ssh knows machines, it gets to know this one, and the keys of one that is new.
pub(super) fn refresh(context: &mut Context<'_>, name: &MachineName, new: bool) {
    let (folder, config) = places();
    let wanted = if folder.has(name) { new } else { folder.include().is_in(&config).unwrap_or(false) };
    if wanted {
        introduce(context, name);
    }
}

fn introduce(context: &mut Context<'_>, name: &MachineName) {
    if let Err(error) = write(context, std::slice::from_ref(name)) {
        let why = error.source;
        context.ui.warn(format!("`ssh mvm-{name}` will not work until `mvm ssh-config --install`: {why:#}"));
    }
}

/// After a machine was renamed: where ssh knew it, it knows it by its new name.
pub(super) fn renamed(context: &mut Context<'_>, old: &MachineName, new: &MachineName) {
    let (folder, _) = places();
    if folder.has(old) {
        introduce(context, new);
    }
    forget(context.ui, std::slice::from_ref(old));
}

/// After machines were removed.
pub(super) fn forget(ui: &mut Ui, names: &[MachineName]) {
    let (folder, _) = places();
    for name in names {
        if let Err(error) = folder.forget(name) {
            ui.warn(format!("keys of `{name}` are left on this host: {error}"));
        }
    }
}

/// Brings the machines' keys to this host; for each its lines of configuration.
fn write(context: &mut Context<'_>, names: &[MachineName]) -> Result<Vec<(MachineName, String)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let caller = caller(&context.settings)?;
    let (folder, _) = places();
    let found = context.run(&access::keys(names))?;
    for name in names.iter().filter(|name| !found.iter().any(|(found, _)| found == *name)) {
        context.ui.warn(format!("`{name}` has lost its keys; `mvm status` shows more"));
    }
    let mut written = Vec::new();
    for (name, keys) in found {
        let config = folder.config(&name, &keys.user, &caller);
        folder.write(&name, &keys, &config)?;
        written.push((name, config));
    }
    Ok(written)
}

/// The machines whose keys on this host are damaged, or open to others.
pub(super) fn damaged(observed: &Observed) -> Vec<MachineName> {
    let (folder, _) = places();
    let damaged = observed.machines.iter().filter(|machine| folder.is_damaged(&machine.name));
    damaged.map(|machine| machine.name.clone()).collect()
}

/// Writes the keys of machines on this host anew.
pub(super) fn write_anew(context: &mut Context<'_>, names: &[MachineName]) -> Result<()> {
    write(context, names).map(drop)
}

/// How ssh is to run this mvm.
pub(super) fn caller(settings: &Settings) -> std::io::Result<Caller> {
    Ok(Caller {
        program: config::own_program()?,
        host: settings.host.word(),
        home: config::mvm_home().filter(|_| settings.host == Host::Native),
    })
}

fn all(observed: &Observed) -> Vec<MachineName> {
    let sound = observed.machines.iter().filter(|machine| machine.spec.is_ok());
    sound.map(|machine| machine.name.clone()).collect()
}

/// The folder of the machines' access, and ssh's configuration.
fn places() -> (Folder, PathBuf) {
    (Folder::new(&config::state_dir()), config::ssh_config_path())
}

fn lock(ui: &mut Ui) -> Result<Lock> {
    let waiting = || ui.step("Waiting for another mvm that changes ssh's configuration");
    Ok(Lock::take(&config::state_dir(), "ssh.lock", waiting)?)
}

fn by_hand(error: &std::io::Error, what: &str) -> Error {
    Error::failure(format!("ssh's configuration cannot be changed: {error}"))
        .hint(format!("if a tool of yours writes that file, {what} there"))
}
