//! What makes a project's machine ready, once for each disk: run in the machine, shown, and kept in its provision.log.

use super::Context;
use super::running::running;
use crate::error::{Error, Result};
use crate::microvm::MachineName;
use crate::microvm::session::{NOT_REACHED, Session};
use crate::project::provision::{Again, Record, Step, todo};
use crate::shell::{self, Call, Event, Output, exit_code};

/// Whose the record is.
const ROOT: Option<&str> = Some("root");

/// How a machine of a project is provisioned.
#[derive(Debug, clap::Args)]
pub(super) struct ProvisionArgs {
    /// Run the steps of mvm.toml's `provision` again: those that changed since, or all of them
    #[arg(
        long = "provision",
        value_name = "WHICH",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "changed"
    )]
    pub(super) again: Option<Again>,
}

/// Does what remains to be done of `steps` in a running machine.
pub(super) fn run(
    context: &mut Context<'_>,
    name: &MachineName,
    steps: &[Step],
    again: Option<Again>,
) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let todo = todo(steps, &record(context, name)?, again);
    if !todo.stale.is_empty() {
        let titles: Vec<_> = todo.stale.iter().map(|index| format!("`{}`", steps[*index].title)).collect();
        context.ui.warn(format!(
            "the provision of `{name}` has changed since it was done: {}; `--provision` runs what changed",
            titles.join(", ")
        ));
    }
    for (number, index) in todo.run.iter().enumerate() {
        let is_last = number + 1 == todo.run.len();
        run_step(
            context,
            name,
            (*index + 1, steps.len()),
            &steps[*index],
            todo.afresh && number == 0,
            is_last,
        )?;
    }
    if todo.mark {
        ask(context, name, &["mark"])?;
    }
    Ok(())
}

/// What the machine's disk remembers.
pub(super) fn record(context: &mut Context<'_>, name: &MachineName) -> Result<Record> {
    let output = ask(context, name, &["list"])?;
    Ok(Record::parse(&String::from_utf8_lossy(&output.stdout)))
}

fn ask(context: &mut Context<'_>, name: &MachineName, words: &[&str]) -> Result<Output> {
    let session = Session { command: command(words), user: ROOT, ..Session::default() };
    let output = call(context, name, &session.call(name))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = output.log.last().map(|line| format!(": {line}")).unwrap_or_default();
    Err(Error::failure(format!("the machine `{name}` does not say what was provisioned{said}")).hint(
        format!("one that an older mvm started has to start anew: `mvm stop {name}`, then `mvm dev {name}`"),
    ))
}

fn command(words: &[&str]) -> Vec<std::ffi::OsString> {
    std::iter::once("/run/mvm/provision").chain(words.iter().copied()).map(Into::into).collect()
}

/// Runs a session to its end, its standard error shown.
fn call(context: &mut Context<'_>, name: &MachineName, call: &Call) -> Result<Output> {
    context.round_trips += 1;
    let Context { linux, ui, .. } = context;
    let output = shell::run(&linux.wrap(call.clone()), &mut |event| match event {
        Event::Log(text) | Event::Step(text) | Event::Detail(text) => ui.output(text),
        Event::Progress { .. } => {}
    })?;
    if exit_code(output.status) == NOT_REACHED {
        // What a step itself may end with as well.
        running(context, name)?;
    }
    Ok(output)
}

fn run_step(
    context: &mut Context<'_>,
    name: &MachineName,
    (number, count): (usize, usize),
    step: &Step,
    afresh: bool,
    is_last: bool,
) -> Result<()> {
    context.ui.step(&format!("Provisioning {name} ({number} of {count}): {}", step.title));
    let mut words = vec!["run", &step.digest];
    if let Some(user) = &step.user {
        words.extend(["-u", user.as_str()]);
    }
    words.extend(afresh.then_some("fresh"));
    words.extend(is_last.then_some("last"));
    let log = Some(format!("step {number} of {count}"));
    let session = Session { command: command(&words), user: ROOT, input: true, log, ..Session::default() };
    // What it runs may hold secrets, so it goes by standard input.
    let output =
        call(context, name, &Call { stdin: Some(step.script.clone().into()), ..session.call(name) })?;
    let code = exit_code(output.status);
    if code == 0 {
        return Ok(());
    }
    let tail = if context.ui.is_quiet() { tail(&output) } else { String::new() };
    Err(Error::failure(format!(
        "step {number} of {count} of the provision of `{name}` failed (exit code {code}): {}{tail}",
        step.title
    ))
    .hint(format!("mend it, and `mvm dev {name}` goes on from this step; `mvm logs {name} --provision` shows all it said")))
}

fn tail(output: &Output) -> String {
    output.log.iter().map(|line| format!("\n    {line}")).collect()
}
