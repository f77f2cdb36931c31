use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{ExitCode, Output};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use super::reach::{explain, now};
use super::running::{existing, resume, running};
use super::which::Which;
use super::{Context, exec, ssh_config};
use crate::error::{Error, Result};
use crate::microvm::session::{NOT_RUN, Session};
use crate::microvm::{
    self, Forked, ImageState, Machine, MachineName, Observed, Port, Scope, Spec, Started, State, Thaw, Told,
};
use crate::shell::{self, Event, Leash};
use crate::vmm::{Files, Kind, Vmm, memory};

const EXAMPLES: &str = "\
Examples:
  mvm fork web                                      web-1 goes on from where web is now
  mvm fork web -n 4 --as try                        try-1 to try-4
  mvm fork web -n 8 -- pytest --shard {}            each runs its part, and is gone afterwards
  mvm fork web -n 3 --first-success -- ./flaky {}   the first that succeeds ends the others

Exit codes with CMD: 0 when all succeeded (with --first-success, when one did); else that of the first that did not.";

/// Make machines that go on from where a running machine is, each on its own from there
///
/// Programs go on in each of them as they do in the machine itself, which stands still for a moment. Each has a name, host keys, a machine
/// id, randomness and a disk of its own. Ports and shared folders stay the machine's.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Fork {
    #[command(flatten)]
    which: Which,
    /// How many
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    number: u8,
    /// Their names, which a hyphen and a number are added to [default: the machine's]
    #[arg(long = "as", value_name = "PREFIX")]
    prefix: Option<MachineName>,
    /// End the others as soon as CMD succeeds in one
    #[arg(long, requires = "command")]
    first_success: bool,
    /// A command to run in all of them at once, `{}` in it being the number of each; they are removed afterwards
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub fn run(context: &mut Context<'_>, args: &Fork) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    running(context, name)?;
    let observed = context.look(Scope::default())?;
    let machine = existing(context, &observed, name)?;
    let not = |what: &str| Error::not_running(format!("the machine `{name}` {what}"));
    let (State::Running(vmm), Some(spec)) = (&machine.state, machine.started_as()) else {
        return Err(
            not("does not run as it should").hint(format!("`mvm why {name}` shows what is the matter"))
        );
    };
    let kind = Kind::read(&vmm.vmm).ok_or_else(|| not("runs with a VMM that mvm does not know"))?;
    let clones = clones(&observed, spec, args.prefix.as_ref().unwrap_or(name), args.number)?;
    if context.settings.dry_run {
        for clone in &clones {
            context.ui.data(format!("fork the machine {name} as {}", clone.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Another fork may have taken the same names meanwhile, and then its machines are not this one's to remove.
    let made_by =
        format!("{}-{}", std::process::id(), SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
    let mut leashes = Vec::new();
    if !args.command.is_empty() {
        // From before there is anything to remove.
        for clone in &clones {
            leashes.push(Some(context.leash(&clone.name, &made_by)?));
        }
    }
    let told = if args.command.is_empty() { Told::AtOnce } else { Told::First };
    // Those of a machine that runs change in what it was asked to be alone.
    let asked = machine.spec.iter().flat_map(|spec| &spec.ports);
    let ports: Vec<_> = spec.ports.iter().chain(asked).copied().collect();
    let done = make(context, &observed, (spec, &ports), (&clones, &made_by), kind, told).and_then(|wait| {
        if args.command.is_empty() {
            Ok(ExitCode::SUCCESS)
        } else {
            run_in(context, args, &clones, wait, &mut leashes)
        }
    });
    remove(&mut leashes)?;
    if !args.command.is_empty() {
        let names: Vec<_> = clones.into_iter().map(|clone| clone.name).collect();
        ssh_config::forget(context.ui, &names);
    }
    done
}

/// What they are asked to be: numbered after those that are there.
fn clones(observed: &Observed, spec: &Spec, prefix: &MachineName, number: u8) -> Result<Vec<Spec>> {
    let taken = observed.machines.iter().filter_map(|machine| {
        machine.name.as_str().strip_prefix(prefix.as_str())?.strip_prefix('-')?.parse::<u32>().ok()
    });
    let last = taken.max().unwrap_or(0);
    let created = now();
    (1..=u32::from(number))
        .map(|index| {
            let name = format!("{prefix}-{}", last.saturating_add(index));
            let name = name.parse().map_err(|why| {
                Error::usage(format!("`{name}` is no machine's name: {why}"))
                    .hint("give a shorter one with `--as`")
            })?;
            Ok(Spec { name, ports: Vec::new(), mounts: Vec::new(), created, ..spec.clone() })
        })
        .collect()
}

/// Makes them, and starts them all at once. Of each, whether it waits for its first command to hear who it is.
fn make(
    context: &mut Context<'_>,
    observed: &Observed,
    (spec, ports): (&Spec, &[Port]),
    (clones, made_by): (&[Spec], &str),
    kind: Kind,
    told: Told,
) -> Result<Vec<bool>> {
    let name = &spec.name;
    let Some(ImageState::Usable(image)) = observed.image_by_id(&spec.image_id) else {
        return Err(Error::failure(format!("the image {} of `{name}` is gone", spec.image)));
    };
    let program = memory::program(kind, &observed.host)
        .ok_or_else(|| Error::failure(format!("{} is not installed any more", kind.title())))?;
    let vmm = Vmm::resuming(kind, program, &observed.host);
    let Forked { frozen, keys, paused, synced } = context.run(
        &microvm::fork((spec, ports), (clones, told), kind, &observed.host)?.input("MADE_BY", made_by),
    )?;
    if !synced {
        context
            .ui
            .warn(format!("`{name}` did not answer, so it could not be asked to write out its files before"));
    }
    let thaw = Thaw::Resume(Box::new(frozen));
    let scripts = clones.iter().zip(&keys).map(|(clone, keys)| {
        let launch = vmm.launch(clone, &observed.host, &Files::of(image), now());
        let script =
            microvm::start((clone, None), image, &vmm, &launch, (keys, false), context.linux.door(), &thaw)?;
        let script = microvm::told(script, told);
        Ok(if clone.idle.is_some() {
            microvm::with_idle(script, clone, kind, &observed.host)
        } else {
            script
        })
    });
    let scripts: Vec<_> = scripts.collect::<anyhow::Result<_>>()?;
    context.ui.step(&format!("Starting {}", list(clones)));
    let linux = &*context.linux;
    let started: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            scripts.iter().map(|script| scope.spawn(move || script.run(linux, &mut |_| {}))).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    context.ui.settle();
    let mut wait = Vec::new();
    for (clone, started) in clones.iter().zip(started) {
        let started =
            started.map_err(|_| Error::failure(format!("`{}` could not be started", clone.name)))?;
        match started.map_err(super::with_remedy)? {
            Started::Ready { lost, first, .. } => {
                wait.push(first);
                if let Some(why) = lost {
                    context.ui.warn(format!(
                        "`{}` cannot go on from where `{name}` was: {why}; it is started from its disk",
                        clone.name
                    ));
                }
            }
            Started::Stale => wait.push(false),
            Started::Failed(trouble) => return Err(explain(&clone.name, &observed.host.home, &trouble)),
        }
    }
    let stood = Duration::from_millis(paused).as_secs_f64();
    context.ui.say(format!("From `{name}`, which stood still for {stood:.2} s: {}.", list(clones)));
    Ok(wait)
}

fn list(clones: &[Spec]) -> String {
    let names: Vec<_> = clones.iter().map(|clone| clone.name.as_str()).collect();
    names.join(", ")
}

/// Runs the command in all of them; what each said is shown when it ends. `first` tells of each whether it waits for a first command.
fn run_in(
    context: &mut Context<'_>,
    args: &Fork,
    clones: &[Spec],
    mut first: Vec<bool>,
    leashes: &mut [Option<Leash>],
) -> Result<ExitCode> {
    let (ended, results) = mpsc::channel();
    let begin = |context: &Context<'_>, index: usize, first: bool| -> Result<()> {
        let command = args.command.iter().map(|word| numbered(word, index + 1)).collect();
        let (session, name) = (Session { command, ..Session::default() }, &clones[index].name);
        let call = if first { session.first_call(name, true) } else { session.call(name) };
        let mut child = shell::start_piped(&context.linux.wrap(call))?;
        drop(child.stdin.take());
        let ended = ended.clone();
        std::thread::spawn(move || ended.send((index, child.wait_with_output())));
        Ok(())
    };
    for (index, first) in first.iter().enumerate() {
        begin(context, index, *first)?;
    }
    let mut codes = vec![None; clones.len()];
    while codes.contains(&None) {
        let (index, output) = results.recv().map_err(anyhow::Error::from)?;
        let Output { status, stdout, stderr } = output?;
        let (code, name) = (shell::exit_code(status), &clones[index].name);
        if code == NOT_RUN && std::mem::take(&mut first[index]) {
            let again = still_waits(context, name).and_then(|waits| {
                if waits {
                    resume(context, name)?;
                    begin(context, index, false)?;
                }
                Ok(waits)
            });
            match again {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => context.ui.warn(format!("`{name}`: {:#}", error.source)),
            }
        }
        context.ui.say(format!("==> {name}: exit code {code}"));
        if !stderr.is_empty() {
            context.ui.output(&String::from_utf8_lossy(&stderr));
        }
        let text = String::from_utf8_lossy(&stdout);
        if !text.is_empty() {
            context.ui.data(text.strip_suffix('\n').unwrap_or(&text));
        }
        codes[index] = Some(code);
        if args.first_success && code == 0 {
            break;
        }
    }
    // Their sessions end with the machines.
    remove(leashes)?;
    let codes: Vec<i32> = codes.into_iter().flatten().collect();
    let succeeded = args.first_success && codes.contains(&0);
    let failed = codes.into_iter().find(|code| *code != 0);
    Ok(if succeeded { ExitCode::SUCCESS } else { exec::exit_code(failed.unwrap_or(0)) })
}

/// Whether it runs, and nothing was run in it: it waits for its first command, and did not take that.
fn still_waits(context: &mut Context<'_>, name: &MachineName) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let waits =
        |machine: &Machine| !machine.began && matches!(machine.state, State::Running(_) | State::Booting(_));
    let waits = observed.machine(name).is_some_and(waits);
    if waits {
        context.ui.event(Event::Log("the guest did not take its first command, so it is entered by SSH"));
    }
    Ok(waits)
}

/// Removes the machines of these leashes, all at once.
fn remove(leashes: &mut [Option<Leash>]) -> Result<()> {
    for leash in leashes.iter_mut().flatten() {
        leash.let_go();
    }
    for leash in leashes.iter_mut().filter_map(Option::take) {
        leash.end_at(microvm::GONE)?;
    }
    Ok(())
}

/// The word with the number in the place of each `{}`.
fn numbered(word: &OsString, number: usize) -> OsString {
    let mut rest = word.as_bytes();
    let mut bytes = Vec::new();
    while let Some(at) = rest.windows(2).position(|two| two == b"{}") {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(number.to_string().as_bytes());
        rest = &rest[at + 2..];
    }
    bytes.extend_from_slice(rest);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_each_is_put_into_its_command() {
        for (word, expected) in [("{}", "7"), ("a{}-{}b", "a7-7b"), ("{", "{"), ("", ""), ("{}}", "7}")] {
            assert_eq!(numbered(&word.into(), 7), expected);
        }
    }

    #[test]
    fn names_go_on_after_those_that_are_there() {
        let spec = microvm::sample_spec();
        let names = |prefix: &str, observed: &Observed, number| -> Vec<String> {
            let clones = clones(observed, &spec, &prefix.parse().unwrap(), number).unwrap();
            clones.into_iter().map(|clone| clone.name.to_string()).collect()
        };
        assert_eq!(names("web", &Observed::default(), 2), ["web-1", "web-2"]);
        let mut there = microvm::sample_machine(State::Stopped(None));
        there.name = "web-4".parse().unwrap();
        let observed = Observed { machines: vec![there], ..Observed::default() };
        assert_eq!(names("web", &observed, 1), ["web-5"]);
        assert_eq!(names("other", &observed, 1), ["other-1"]);
        assert!(clones(&observed, &spec, &"x".repeat(31).parse().unwrap(), 1).is_err());
    }
}
