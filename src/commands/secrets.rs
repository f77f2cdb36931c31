//! Secrets for machines: read before anything is started, and handed over by standard input alone.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use super::Context;
use super::running::{running, wake};
use crate::error::{Error, Result};
use crate::microvm::session::{self, NOT_REACHED, SUSPENDED};
use crate::microvm::{MachineName, Secret, SecretSource};
use crate::shell;

/// Which secrets a machine is given.
#[derive(Debug, Default, clap::Args)]
pub(super) struct SecretArgs {
    /// A secret for the machine's memory: the file /run/secrets/NAME, which its user alone may read. Can be repeated
    ///
    /// NAME alone is the variable of that name on this host, FILE a file, `-` standard input. It travels by SSH and is kept nowhere
    /// else: it is gone when the machine stops, and no environment has it, which every process would inherit.
    #[arg(long = "secret", value_name = "NAME[=FILE]")]
    secrets: Vec<SecretSource>,
}

/// Whose standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Free,
    /// The command's.
    Taken,
}

impl SecretArgs {
    pub(super) fn names(&self) -> Vec<&str> {
        self.secrets.iter().map(|secret| secret.name.as_str()).collect()
    }

    pub(super) fn read(&self, input: Input) -> Result<Vec<Secret>> {
        read(&self.secrets, &[], input)
    }

    /// With those that the project's file names, where no flag does.
    pub(super) fn read_with(&self, declared: &[SecretSource], input: Input) -> Result<Vec<Secret>> {
        read(&self.secrets, declared, input)
    }
}

fn read(flags: &[SecretSource], declared: &[SecretSource], input: Input) -> Result<Vec<Secret>> {
    let mut names = BTreeSet::new();
    if let Some(twice) = flags.iter().find(|secret| !names.insert(secret.name.as_str())) {
        return Err(Error::usage(format!("the secret {} is given twice", twice.name)));
    }
    let all = flags.iter().chain(declared.iter().filter(|secret| !names.contains(secret.name.as_str())));
    let all: Vec<_> = all.collect();
    let from_input: Vec<_> = all.iter().filter(|secret| secret.is_standard_input()).collect();
    let refused = match from_input[..] {
        [_, _, ..] => Some("standard input holds one secret, not two"),
        [_] if input == Input::Taken => Some("standard input is the command's"),
        [_] if std::io::stdin().is_terminal() => Some("standard input is a terminal, which would show it"),
        _ => None,
    };
    if let Some(why) = refused {
        let name = &from_input[0].name;
        return Err(Error::usage(format!("the secret {name} cannot be read: {why}"))
            .hint(format!("name a file, such as `--secret {name}=<(pass show {name})`, or export it")));
    }
    // Nothing that is started from here on inherits what is meant for one machine.
    let variables = all.iter().filter(|secret| secret.is_variable());
    shell::withhold(variables.map(|secret| secret.name.clone()));
    all.into_iter().map(SecretSource::read).collect()
}

/// Hands secrets to a machine, which has to run, for its user or another one. They are there when this is over.
pub(super) fn hand_over(
    context: &mut Context<'_>,
    name: &MachineName,
    user: Option<&str>,
    secrets: &[Secret],
) -> Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    let call = session::secrets(name, user, secrets);
    for _ in 0..5 {
        context.round_trips += 1;
        let output = shell::run(&context.linux.wrap(call.clone()), &mut |_| {})?;
        match shell::exit_code(output.status) {
            0 if output.stdout.trim_ascii() == b"done" => return Ok(()),
            SUSPENDED if wake(context, [name])? => {}
            NOT_REACHED => {
                running(context, name)?;
                return Err(refused(name, &output.log));
            }
            _ => return Err(refused(name, &output.log)),
        }
    }
    Err(refused(name, &["it is suspended again and again".to_owned()]))
}

fn refused(name: &MachineName, log: &[String]) -> Error {
    let why = log.last().map_or("it says nothing", |line| line.strip_prefix("mvm: ").unwrap_or(line));
    Error::failure(format!("the machine `{name}` did not take the secrets: {why}"))
        .hint(format!("nothing was run; `mvm why {name}` tells how the machine fares"))
}
