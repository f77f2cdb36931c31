use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use comfy_table::{Table, presets};

use super::Context;
use super::running::{existing, undisturbed};
use super::which::Which;
use crate::error::{Error, Result};
use crate::microvm::{
    self, MachineName, Policy, Restriction, Scope, Spec, readable_spec, refuse_without_resolver,
};
use crate::network::traffic::{self, Flow};
use crate::ui::{self, Verbosity};

const EXAMPLES: &str = "\
Examples:
  mvm net set none web                                   nothing any more, from now on
  mvm net set allow=deb.debian.org,10.1.0.0/16:443 web   these, and nothing else
  mvm net set learn web                                  as open, and what it reaches is noted by name
  mvm net learn web                                      what it reached until now, for `mvm net set` and `--net`
  mvm net log -f web                                     what it reaches, and what it is refused";

/// What a machine may reach of the network, and what it does
///
/// The policy is enforced outside of the machine, on all that it sends, and refuses at once. `open` is all but what is the host's own (its
/// loopback, its links, the metadata service of a cloud); `none` is nothing; `allow=LIST` is what is listed, where a name covers all
/// names below it, a port is TCP's unless `/udp` follows it, and other names are not even looked up. The command for a new
/// machine is `--net` at its start.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Net {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Set(Set),
    Show(Show),
    Log(Log),
    Learn(Learn),
}

/// Change what a machine may reach, at once where it runs
///
/// What is open and not allowed any more ends.
#[derive(Debug, clap::Args)]
struct Set {
    /// `open`, `none`, `learn`, or `allow=` and a list: `allow=example.org,10.1.0.0/16:443`
    #[arg(value_name = "POLICY")]
    net: Policy,
    #[command(flatten)]
    which: Which,
}

/// Print what a machine may reach, as `--net` takes it
#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    which: Which,
}

/// Show what a machine that runs has reached since its start, and what it was refused
///
/// Names are those that the machine asked for, and known where its policy is `learn` or allows names. Of each kind 4096 are kept.
#[derive(Debug, clap::Args)]
struct Log {
    #[command(flatten)]
    which: Which,
    /// Go on with what comes from now on, a line for each address and second, until Ctrl-C or the machine's end
    #[arg(long, short)]
    follow: bool,
    /// Print JSON; with `--follow` an object a line
    #[arg(long)]
    json: bool,
}

/// Print the policy that allows what a machine has reached since its start, as `--net` takes it
///
/// It goes by names where the machine's policy is `learn`.
#[derive(Debug, clap::Args)]
struct Learn {
    #[command(flatten)]
    which: Which,
}

pub fn run(context: &mut Context<'_>, args: &Net) -> Result<ExitCode> {
    match &args.command {
        Command::Set(args) => {
            let name = args.which.name(context)?;
            undisturbed(|strict| set_once(context, &name, &args.net, strict))
        }
        Command::Show(args) => {
            let name = args.which.name(context)?;
            let observed = context.look(Scope { machine: Some(&name), probe: false })?;
            let net = readable_spec(existing(context, &observed, &name)?)?.net.to_string();
            context.ui.data(net);
            Ok(ExitCode::SUCCESS)
        }
        Command::Log(args) => log(context, args),
        Command::Learn(args) => {
            let name = args.which.name(context)?;
            let policy = traffic::learned(&flows(context, &name)?);
            context.ui.data(policy);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// False where the machine was changed by another meanwhile.
fn set_once(context: &mut Context<'_>, name: &MachineName, net: &Policy, strict: bool) -> Result<bool> {
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    let spec = readable_spec(existing(context, &observed, name)?)?;
    refuse_without_resolver(&observed, net)?;
    if context.settings.dry_run {
        context.ui.data(format!("let the machine {name} reach: {net}"));
        return Ok(true);
    }
    restrict(context, strict.then_some(spec), &Spec { net: net.clone(), ..spec.clone() })
}

/// As [`set_once`], for the policy of `spec`.
pub(super) fn restrict(context: &mut Context<'_>, before: Option<&Spec>, spec: &Spec) -> Result<bool> {
    let Spec { name, net, .. } = spec;
    match context.run(&microvm::restrict(before, spec, &format!("net: {net}"))?)? {
        Restriction::Stale => return Ok(false),
        Restriction::Now => context.ui.say(format!("`{name}` may reach from now on: {net}")),
        Restriction::Later => context.ui.say(format!("`{name}` may reach from its next start on: {net}")),
    }
    Ok(true)
}

/// What the machine reached and was refused; it has to run.
fn flows(context: &mut Context<'_>, name: &MachineName) -> Result<Vec<Flow>> {
    if let Some(flows) = context.run(&microvm::traffic(name))? {
        return Ok(flows);
    }
    Err(Error::not_running(format!(
        "the machine `{name}` is not running, and what it reached is known while it does"
    ))
    .hint(format!("start it with `mvm start {name}`")))
}

fn log(context: &mut Context<'_>, args: &Log) -> Result<ExitCode> {
    let name = &args.which.name(context)?;
    let observed = context.look(Scope { machine: Some(name), probe: false })?;
    existing(context, &observed, name)?;
    let first = flows(context, name)?;
    if !args.follow {
        if args.json {
            context.ui.data(serde_json::to_string_pretty(&first)?);
        } else if first.is_empty() {
            context.ui.say(format!("`{name}` has reached nothing yet, and was refused nothing."));
        } else {
            context.ui.data(table(&first));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut seen = BTreeMap::new();
    let mut now = Some(first);
    while let Some(flows) = now {
        for flow in news(&mut seen, &flows) {
            context.ui.data(if args.json { serde_json::to_string(&flow)? } else { line(&flow) });
        }
        std::thread::sleep(Duration::from_secs(1));
        now = context.run(&microvm::traffic(name))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is new since the last look, with what came since then.
fn news(seen: &mut BTreeMap<String, Flow>, flows: &[Flow]) -> Vec<Flow> {
    let mut news = Vec::new();
    for flow in flows {
        let before = seen.insert(format!("{:?}", traffic::key(flow)), flow.clone());
        // One that was forgotten meanwhile counts from the beginning.
        match before.filter(|before| before.packets <= flow.packets) {
            Some(before) if before.packets == flow.packets => {}
            Some(before) => news.push(Flow {
                packets: flow.packets - before.packets,
                bytes: flow.bytes.saturating_sub(before.bytes),
                ..flow.clone()
            }),
            None => news.push(flow.clone()),
        }
    }
    news
}

fn result(flow: &Flow) -> &'static str {
    if flow.allowed { "allowed" } else { "refused" }
}

/// `203.0.113.1:80/tcp`
fn place(flow: &Flow) -> String {
    match (flow.address, flow.port) {
        (None, _) => "not looked up".to_owned(),
        (Some(address), Some(port)) => {
            format!("{}/{}", std::net::SocketAddr::new(address, port), flow.protocol)
        }
        (Some(address), None) => format!("{address} {}", flow.protocol),
    }
}

fn line(flow: &Flow) -> String {
    let name = if flow.names.is_empty() { String::new() } else { format!(" {}", flow.names.join(" ")) };
    let size = if flow.packets == 0 { String::new() } else { format!(" {}", ui::size(flow.bytes)) };
    format!("{} {}{size}{name}", result(flow), place(flow))
}

fn table(flows: &[Flow]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["RESULT", "ADDRESS", "BYTES", "PACKETS", "AGO", "NAMES"]);
    let nothing = || "-".to_owned();
    for flow in flows {
        let counted = flow.packets > 0;
        table.add_row([
            result(flow).to_owned(),
            place(flow),
            if counted { ui::size(flow.bytes) } else { nothing() },
            if counted { flow.packets.to_string() } else { nothing() },
            flow.seconds_ago.map_or_else(nothing, ui::duration),
            if flow.names.is_empty() { nothing() } else { flow.names.join(" ") },
        ]);
    }
    table.trim_fmt()
}

/// After a run: what has to be allowed for the next one.
pub(super) fn say_learned(context: &mut Context<'_>, name: &MachineName) -> Result<()> {
    if let Some(flows) = context.run(&microvm::traffic(name))? {
        // It was asked for.
        let before = context.ui.set_verbosity(Verbosity::Normal);
        context.ui.say(format!("What this run needed: --net {}", traffic::learned(&flows)));
        context.ui.set_verbosity(before);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(address: Option<&str>, packets: u64) -> Flow {
        Flow {
            allowed: address.is_some(),
            names: vec!["example.org".to_owned()],
            address: address.map(|address| address.parse().unwrap()),
            protocol: "tcp".to_owned(),
            port: Some(443),
            packets,
            bytes: packets * 100,
            seconds_ago: Some(3),
        }
    }

    #[test]
    fn what_is_followed_is_what_is_new() {
        let mut seen = BTreeMap::new();
        let mut lines = |flows: &[Flow]| -> Vec<String> { news(&mut seen, flows).iter().map(line).collect() };
        let refused = flow(None, 0);
        assert_eq!(
            lines(&[flow(Some("203.0.113.1"), 2), refused.clone()]),
            ["allowed 203.0.113.1:443/tcp 200 B example.org", "refused not looked up example.org"]
        );
        assert_eq!(lines(&[flow(Some("203.0.113.1"), 2), refused.clone()]), [""; 0]);
        assert_eq!(
            lines(&[flow(Some("203.0.113.1"), 5), flow(Some("2001:db8::1"), 1), refused]),
            [
                "allowed 203.0.113.1:443/tcp 300 B example.org",
                "allowed [2001:db8::1]:443/tcp 100 B example.org"
            ]
        );
        assert_eq!(lines(&[flow(Some("203.0.113.1"), 1)]), ["allowed 203.0.113.1:443/tcp 100 B example.org"]);
    }
}
