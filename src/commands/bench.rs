use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::exec::run_call;
use super::reach::reach;
use super::start::Sizes;
use super::{Context, run as fresh, ssh_config};
use crate::bench::{Life, Report, Scale, Spread, Subject, page, text};
use crate::config;
use crate::error::{Error, Result};
use crate::microvm::session::Session;
use crate::microvm::{
    self, Changes, Goal, How, ImageName, MachineName, Observed, Scope, VmmChoice, Wanted, timeline, usage,
};
use crate::shell::{self, Call, exit_code};
use crate::ui::Verbosity;
use crate::vmm::Vmm;

const EXAMPLES: &str = "\
Examples:
  mvm bench
  mvm bench --runs 21 --html bench.html
  mvm bench --against 'docker run --rm debian true'
  mvm bench --scale 20 --memory 256M
  mvm bench --json | jq .to_first_command_ms.median

The times are those of this host as it is: a busy one makes them longer, and its load is printed with them.";

/// Measure on this host how long machines take, phase by phase
///
/// Each run is the whole life of a machine that is made for it: made, started, used for one command, shut down, removed. One run
/// before the first is not counted. Then `mvm run -- true` is timed whole, in turns with the commands of `--against`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// How often each thing is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// What the machines are made from
    #[arg(long, value_name = "IMAGE", env = "MVM_IMAGE")]
    image: Option<ImageName>,
    #[command(flatten)]
    sizes: Sizes,
    /// What runs the machines
    #[arg(long, value_enum, env = "MVM_VMM")]
    vmm: Option<VmmChoice>,
    /// Time this command of a shell as well, in turns with `mvm run -- true`; can be repeated
    #[arg(long, value_name = "CMD")]
    against: Vec<String>,
    /// Start N machines at once, too: how quickly, and what one takes of the host's memory and disk
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    scale: Option<u32>,
    /// Write a page with the figures, which needs nothing else, to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// A machine that had a life: as what, and on what.
struct Lived {
    life: Life,
    observed: Observed,
}

pub fn run(context: &mut Context<'_>, args: &Bench) -> Result<ExitCode> {
    let file = args.html.as_deref().map(staged).transpose()?;
    let name = fresh::passing_name("bench")?;
    let defaults = context.settings.machine.clone();
    let changes = Changes { image: args.image.clone(), vmm: args.vmm, ..args.sizes.changes() };
    let wanted = Wanted::new(Goal::Dev, &name, changes, &defaults);
    if context.settings.dry_run {
        reach(context, &wanted)?;
        return Ok(ExitCode::SUCCESS);
    }
    let load = load();
    context.ui.say("A first machine, which does not count");
    let first = live(context, &wanted, Verbosity::Normal)?;
    let mut lives = Vec::new();
    for run in 1..=args.runs {
        context.ui.say(format!("Machine {run} of {}", args.runs));
        lives.push(live(context, &wanted, Verbosity::Quiet)?.life);
    }
    let (subject, flags) = subject(context, &first.observed, &name, args.runs, load)?;
    let none = || Error::failure("nothing was measured");
    let mut report = Report::of(subject, &lives).ok_or_else(none)?;
    report.add_commands(in_turns(context, args, &flags)?);
    if let Some(machines) = args.scale {
        report.scale = Some(scale(context, machines, &flags)?);
    }
    report.subject.load.1 = self::load();
    if args.json {
        context.ui.data(serde_json::to_string_pretty(&report)?);
    } else {
        context.ui.data(text(&report));
    }
    if let (Some(mut file), Some(path)) = (file, &args.html) {
        let page = page(&report).map_err(|error| Error::failure(format!("the page: {error}")))?;
        std::io::Write::write_all(&mut file, page.as_bytes())?;
        file.persist(path)
            .map_err(|error| Error::failure(format!("cannot write {}: {}", path.display(), error.error)))?;
        context.ui.say(format!("The page is {}.", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// A file beside `path` which takes its place in the end: that it can be written is known before anything is measured.
fn staged(path: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As any file that is written: the user's umask decides.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)).tempfile_in(folder).map_err(
        |error| {
            Error::usage(format!("cannot write in {}: {error}", folder.display()))
                .hint("give `--html` another place")
        },
    )
}

/// One life of the machine `wanted`.
fn live(context: &mut Context<'_>, wanted: &Wanted<'_>, verbosity: Verbosity) -> Result<Lived> {
    let name = wanted.name;
    let leash = context.leash(name, "")?;
    let before = context.ui.set_verbosity(verbosity);
    let lived = live_leashed(context, wanted);
    context.ui.set_verbosity(before);
    leash.end()?;
    ssh_config::forget(context.ui, std::slice::from_ref(name));
    lived
}

fn live_leashed(context: &mut Context<'_>, wanted: &Wanted<'_>) -> Result<Lived> {
    let name = wanted.name;
    let mut life = Life::default();
    let began = Instant::now();
    context.laps = Some(Vec::new());
    let reached = reach(context, wanted);
    let laps = context.laps.take().unwrap_or_default();
    let gone = || Error::failure(format!("the machine `{name}` is gone"));
    let reached = reached?.ok_or_else(gone)?;
    let session = Session { command: vec!["true".into()], ..Session::default() };
    let from = Instant::now();
    let code = run_call(context, &session.call(name))?;
    let to = Instant::now();
    if code != 0 {
        return Err(Error::failure(format!("`true` ended with {code} in `{name}`")));
    }
    // From here on the clock stands still for what only the bench does.
    let timeline = context.run(&timeline(name))?;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    for lap in laps {
        match lap.script.rsplit('/').next().unwrap_or_default() {
            "start" => life.push_start(began, (lap.from, lap.to), &timeline),
            phase => life.push_between(phase, began, (lap.from, lap.to)),
        }
    }
    life.push_between("command", began, (from, to));
    let from = Instant::now();
    let stopped = context.run(&microvm::stop(name, &reached.home, 60))?;
    life.push_next("stop", from.elapsed());
    if stopped.how != How::Clean {
        context.ui.warn(format!("`{name}` did not shut down in order within a minute"));
    }
    let from = Instant::now();
    context.run(&microvm::destroy(std::slice::from_ref(name)))?;
    life.push_next("remove", from.elapsed());
    Ok(Lived { life, observed })
}

/// What was measured, and the flags for more of it.
fn subject(
    context: &Context<'_>,
    observed: &Observed,
    name: &MachineName,
    runs: u32,
    load: f64,
) -> Result<(Subject, Vec<OsString>)> {
    let gone = || Error::failure(format!("the machine `{name}` is gone"));
    let spec = observed.machine(name).ok_or_else(gone)?.spec.clone().map_err(Error::failure)?;
    let host = &observed.host;
    let subject = Subject {
        mvm: env!("CARGO_PKG_VERSION").to_owned(),
        linux: format!("{}: {}, Linux {}, {}", context.linux.describe(), host.os, host.kernel, host.arch),
        vmm: Vmm::choose(spec.vmm, host)?.why,
        image: spec.image.to_string(),
        cpus: spec.cpus,
        memory_mib: spec.memory_mib.mib(),
        runs,
        load: (load, load),
    };
    let mut flags: Vec<OsString> = ["--quiet", "--host", context.settings.host.word()].map(Into::into).into();
    if context.settings.network.offline {
        flags.push("--offline".into());
    }
    for (flag, value) in [
        ("--image", spec.image.to_string()),
        ("--cpus", spec.cpus.to_string()),
        ("--memory", format!("{}M", spec.memory_mib.mib())),
        ("--vmm", spec.vmm.to_string()),
    ] {
        flags.extend([flag.into(), value.into()]);
    }
    Ok((subject, flags))
}

/// `mvm run` and its rivals, each as often as the others: whatever disturbs one disturbs the next as well.
fn in_turns(context: &mut Context<'_>, args: &Bench, flags: &[OsString]) -> Result<Vec<(String, Vec<f64>)>> {
    let own = own(&["run"], flags, &["--", "true"])?;
    let rival = |line: &String| (line.clone(), Call::new(["sh", "-c", line]));
    let calls: Vec<_> =
        std::iter::once(("mvm run -- true".to_owned(), own)).chain(args.against.iter().map(rival)).collect();
    let mut times: Vec<(String, Vec<f64>)> =
        calls.iter().map(|(label, _)| (label.clone(), Vec::new())).collect();
    for turn in 0..=args.runs {
        if turn == 0 {
            context.ui.say("Whole commands, once each without counting");
        } else {
            context.ui.say(format!("Turn {turn} of {}", args.runs));
        }
        for ((label, call), (_, times)) in calls.iter().zip(&mut times) {
            let from = Instant::now();
            succeed(label, call)?;
            if turn > 0 {
                times.push(from.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(times)
}

/// `machines` at once.
fn scale(context: &mut Context<'_>, machines: u32, flags: &[OsString]) -> Result<Scale> {
    context.ui.say(format!("{machines} machines at once"));
    let prefix = fresh::passing_name("bench")?;
    let names: Vec<MachineName> = (1..=machines)
        .map(|number| format!("{prefix}-{number}").parse().map_err(Error::failure))
        .collect::<Result<_>>()?;
    let leashes = names.iter().map(|name| context.leash(name, "")).collect::<Result<Vec<_>>>()?;
    let measured = scale_leashed(context, &names, flags);
    for leash in leashes {
        leash.end()?;
    }
    ssh_config::forget(context.ui, &names);
    measured
}

fn scale_leashed(context: &mut Context<'_>, names: &[MachineName], flags: &[OsString]) -> Result<Scale> {
    let start_seconds = at_once(names, &|name| own(&["start", name, "-d"], flags, &[]))?;
    let sample = context.run(&usage())?;
    let bytes = |of: &dyn Fn(&microvm::Usage) -> u64| {
        let ours = sample.machines.iter().filter(|usage| names.contains(&usage.name));
        #[expect(clippy::cast_precision_loss, reason = "memory and disks")]
        let spread = Spread::of(ours.map(|usage| of(usage) as f64));
        spread.ok_or_else(|| Error::failure("none of the machines runs any more"))
    };
    let (unique_bytes, shared_bytes) = (bytes(&|usage| usage.unique)?, bytes(&microvm::Usage::shared)?);
    let disk_bytes = bytes(&|usage| usage.disk)?;
    // Of what the machines are is nothing asked here.
    let host: Vec<_> = flags.iter().take_while(|flag| *flag != "--image").cloned().collect();
    let stop_seconds = at_once(names, &|name| own(&["stop", name, "--timeout", "120"], &host, &[]))?;
    let machines = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let starts_per_second = f64::from(machines) / start_seconds;
    Ok(Scale {
        machines,
        start_seconds,
        stop_seconds,
        starts_per_second,
        unique_bytes,
        shared_bytes,
        disk_bytes,
    })
}

/// Runs a command for each name at the same time; how many seconds until all have ended.
fn at_once(names: &[MachineName], call: &(dyn Fn(&str) -> Result<Call> + Sync)) -> Result<f64> {
    let from = Instant::now();
    let ends = std::thread::scope(|scope| {
        let one = |name: &MachineName| succeed(name.as_str(), &call(name.as_str())?);
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || one(name))).collect();
        let panicked = |_| Err(Error::failure("a thread panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect::<Result<Vec<()>>>()
    });
    ends?;
    Ok(from.elapsed().as_secs_f64())
}

/// This program, once more.
fn own(command: &[&str], flags: &[OsString], rest: &[&str]) -> Result<Call> {
    let mut call = Call::new([config::own_program()?]);
    call.argv.extend(command.iter().map(Into::into));
    call.argv.extend(flags.iter().cloned());
    call.argv.extend(rest.iter().map(Into::into));
    Ok(call)
}

fn succeed(label: &str, call: &Call) -> Result<()> {
    let output = shell::run(call, &mut |_| {})
        .map_err(|source| Error::failure(format!("cannot start `{label}`: {source}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = output.log.iter().map(|line| format!("\n    {line}")).collect::<String>();
    Err(Error::failure(format!("`{label}` ended with {}{said}", exit_code(output.status)))
        .hint("what does not succeed is not measured"))
}

/// This host's, of the last minute; 0 where it cannot be told.
fn load() -> f64 {
    let text = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
