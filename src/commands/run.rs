use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

use super::exec::{EnvArgs, exit_code, run_call};
use super::reach::{Reached, reach};
use super::running::running;
use super::secrets::{Input, SecretArgs, hand_over};
use super::start::{NetArg, Sizes};
use super::{Context, net, shares, ssh_config};
use crate::config;
use crate::error::{Error, Result};
use crate::image::Config;
use crate::microvm::session::{NOT_REACHED, NOT_RUN, Session};
use crate::microvm::{
    self, Changes, Goal, ImageName, MachineName, MountSpec, Policy, Port, Scope, Secret, VmmChoice, Wanted,
};
use crate::network;
use crate::shell::{Call, Event};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm run -- uname -a
  mvm run                             a shell in a machine of its own
  mvm run -- wc -l < words
  mvm run --image docker.io/library/python:3.12 -- python3 -c 'print(1)'
  mvm run --timeout 60 --memory 4G -e CI=1 -- make test
  mvm run -p 8000:8000 --mount .:/work -w /work -- python3 -m http.server
  mvm run --net none -- ./untrusted
  mvm run --net learn -- apt-get update     then it says what to allow
  mvm run --keep box -- apt-get install -y nginx

Exit codes: the command's own, 128+N when signal N ended it; 124 when it took longer than --timeout.";

/// Run one command in a fresh machine, which is gone afterwards
///
/// Standard input, output, error and the exit code are the command's, as if it ran here. Without a command it is the one that the
/// image names, else a shell. Ctrl-C, or the end of mvm in whatever way, ends the machine as well.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// What the machine is made from: `debian`, `debian:trixie`, `ubuntu`, one of a registry, or an imported one
    #[arg(long, value_name = "IMAGE", env = "MVM_IMAGE")]
    image: Option<ImageName>,
    #[command(flatten)]
    sizes: Sizes,
    /// Publish a port of the machine on this host as long as it runs, on loopback unless an address is given; may be repeated
    #[arg(long, short, value_name = "[HOSTADDR:]HOSTPORT:GUESTPORT[/udp]")]
    publish: Vec<Port>,
    /// A folder of this host to share, live in both directions; with `:ro` the machine only reads. Can be repeated
    #[arg(long = "mount", value_name = "HOST:GUEST[:ro]")]
    mounts: Vec<MountSpec>,
    /// What runs the machine
    #[arg(long, value_enum, env = "MVM_VMM")]
    vmm: Option<VmmChoice>,
    #[command(flatten)]
    net: NetArg,
    #[command(flatten)]
    env: EnvArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    /// The machine's user to run it as, by name or number [default: the image's, else root]
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// How long the command may take, in seconds; the time until it begins does not count
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
    /// Keep the machine, running, under this name
    #[arg(long, value_name = "NAME")]
    keep: Option<MachineName>,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Run) -> Result<ExitCode> {
    let secrets = args.secrets.read(Input::Taken)?;
    let name = match &args.keep {
        Some(name) => {
            refuse_existing(context, name)?;
            name.clone()
        }
        None => passing_name("run")?,
    };
    let defaults = context.settings.machine.clone();
    let changes = Changes {
        image: args.image.clone(),
        vmm: args.vmm,
        ports: args.publish.clone(),
        mounts: shares::absolute(&args.mounts)?,
        net: args.net.net.clone(),
        ..args.sizes.changes()
    };
    // One that is kept has keys that no other machine is ever entered with.
    let golden = args.keep.is_none();
    // What needs the guest before the command does enters by SSH; and what waits there is for nobody else to reach.
    let first = golden
        && secrets.is_empty()
        && args.mounts.is_empty()
        && args.publish.iter().all(|port| port.guest != network::FIRST_PORT);
    let wanted = Wanted { golden, first, ..Wanted::new(Goal::Dev, &name, changes, &defaults) };
    if context.settings.dry_run {
        reach(context, &wanted)?;
        return Ok(ExitCode::SUCCESS);
    }
    context.ui.leave_stderr();
    // From before there is anything to remove.
    let leash = if args.keep.is_none() { Some(context.leash(&name, "")?) } else { None };
    let code = enter(context, args, &wanted, &secrets);
    if let Some(leash) = leash {
        if !args.mounts.is_empty() {
            // A folder's server would outlive its machine for a moment.
            shares::withdraw(context, &name);
        }
        leash.end_at(microvm::GONE)?;
        shares::forget(context, std::slice::from_ref(&name));
        ssh_config::forget(context.ui, &[name]);
    }
    code
}

fn enter(context: &mut Context<'_>, args: &Run, wanted: &Wanted<'_>, secrets: &[Secret]) -> Result<ExitCode> {
    let gone = || Error::not_running(format!("the machine `{}` is not running any more", wanted.name));
    let reached = reach(context, wanted)?.ok_or_else(gone)?;
    if !args.mounts.is_empty() {
        shares::bring(context, wanted, &reached)?;
    }
    let code = run_in(context, args, wanted, &reached, secrets)?;
    if args.net.net == Some(Policy::Learn) {
        net::say_learned(context, wanted.name)?;
    }
    Ok(code)
}

fn run_in(
    context: &mut Context<'_>,
    args: &Run,
    wanted: &Wanted<'_>,
    reached: &Reached,
    secrets: &[Secret],
) -> Result<ExitCode> {
    let (name, config) = (wanted.name, &reached.config);
    // A group, after a colon, is that user's own here.
    let user = args.user.clone().or_else(|| {
        let user = config.user.as_deref()?.split(':').next()?;
        (!user.is_empty()).then(|| user.to_owned())
    });
    // After its golden memory was made, which is for all.
    hand_over(context, name, user.as_deref(), secrets)?;
    let session = Session {
        command: command(&args.command, config),
        env: args.env.env.clone(),
        dir: args.env.workdir.as_deref(),
        user: user.as_deref(),
        input: true,
        terminal: Ui::is_interactive().then(|| config::terminal().unwrap_or_else(|| "dumb".to_owned())),
        ..Session::default()
    };
    let limited = |mut call: Call| {
        if let Some(seconds) = args.timeout {
            let limit =
                ["timeout", "--foreground", "--kill-after", "5", &seconds.to_string()].map(OsString::from);
            call.argv.splice(0..0, limit);
        }
        call
    };
    let mut code = None;
    if reached.first {
        // What a policy learned is in the machine.
        let passes = args.net.net != Some(Policy::Learn);
        code = Some(run_call(context, &limited(session.first_call(name, passes)))?);
        if code == Some(NOT_RUN) && !has_begun(context, name)? {
            context.ui.event(Event::Log("the guest did not take its first command, so it is entered by SSH"));
            reach(context, &Wanted { first: false, ..wanted.clone() })?;
            code = None;
        }
    }
    let code = match code {
        Some(code) => code,
        None => run_call(context, &limited(session.call(name)))?,
    };
    if code == NOT_REACHED {
        // A command may end so as well: then the machine is as it should be.
        let observed = context.look(Scope { machine: Some(name), probe: false })?;
        if observed.machine(name).is_none() {
            let linux = context.linux.describe();
            return Err(Error::failure("the machine of this run is gone, and its command with it").hint(
                format!("the connection to {linux} broke, or somebody removed `{name}`: run it again"),
            ));
        }
        running(context, name)?;
    }
    Ok(exit_code(code))
}

/// Whether the first command was run. It may end as if it had not been.
fn has_begun(context: &mut Context<'_>, name: &MachineName) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    Ok(observed.machine(name).is_some_and(|machine| machine.began))
}

/// What is run: what was asked for, else what the image names, else a shell.
fn command(asked: &[OsString], config: &Config) -> Vec<OsString> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
    let words: Vec<OsString> = words.map(OsString::from).collect();
    if words.is_empty() {
        ["sh", "-c", "exec \"${SHELL:-/bin/sh}\" -l"].map(OsString::from).into()
    } else {
        words
    }
}

fn refuse_existing(context: &mut Context<'_>, name: &MachineName) -> Result<()> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    if observed.machine(name).is_none() {
        return Ok(());
    }
    Err(Error::usage(format!("there is a machine `{name}` already, and `run` is about a fresh one"))
        .hint(format!("give another name to `--keep`; or run the command there: `mvm exec {name} -- …`")))
}

/// A name for a machine that passes: `run-1a2b3c4d`.
pub(super) fn passing_name(prefix: &str) -> Result<MachineName> {
    // Seeded by the system's own randomness.
    let random = RandomState::new().hash_one(std::process::id());
    format!("{prefix}-{:08x}", random & 0xffff_ffff).parse().map_err(Error::failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let text = |list: &[&str]| Some(list.iter().map(|word| (*word).to_owned()).collect());
        let image = Config { entrypoint: text(&["python3"]), cmd: text(&["-i"]), ..Config::default() };
        assert_eq!(command(&words(&["ls", "-l"]), &image), words(&["ls", "-l"]));
        assert_eq!(command(&[], &image), words(&["python3", "-i"]));
        assert_eq!(command(&[], &Config::default())[0], "sh");
    }

    #[test]
    fn each_run_has_a_name_of_its_own() {
        assert_ne!(passing_name("run").unwrap(), passing_name("run").unwrap());
    }
}
