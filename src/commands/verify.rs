//! `mvm verify`: what mvm promises, looked at on the user's own host.

use std::process::ExitCode;

use owo_colors::OwoColorize;

use super::running::existing;
use super::{Context, gc};
use crate::access::Folder;
use crate::config;
use crate::error::Result;
use crate::microvm::evidence::{self, Finding};
use crate::microvm::{ImageState, MachineName, Observed, Scope, Spec};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm verify                          this host, and every machine that runs
  mvm verify web
  mvm verify --json | jq '.[] | select(.ok == false)'

Exit codes: 1 where a probe finds something that is not as promised. What cannot be told on this host (`-`) is no failure.";

/// Show evidence that machines are shut in, line by line, on this host
///
/// It reads of each VMM that runs its namespaces, rights, limits and mounts, compares modes, ports and checksums, has the guest try to
/// reach what it is not to reach, and looks for secrets and for what was left over. docs/security.md says what is promised.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// The machine's name [default: this host, and all machines that run]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(context: &mut Context<'_>, args: &Verify) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: args.name.as_ref(), probe: false })?;
    let mut findings = Vec::new();
    let names: Vec<MachineName> = if let Some(name) = &args.name {
        vec![existing(context, &observed, name)?.name.clone()]
    } else {
        findings = of_host(context, &observed)?;
        tell(context, args, &findings);
        let running = observed.machines.iter().filter(|machine| machine.state.running().is_some());
        running.map(|machine| machine.name.clone()).collect()
    };
    for name in &names {
        let of_machine = of_machine(context, &observed, name)?;
        tell(context, args, &of_machine);
        findings.extend(of_machine);
    }
    let failed = findings.iter().filter(|finding| finding.ok == Some(false)).count();
    if args.json {
        context.ui.data(serde_json::to_string_pretty(&findings)?);
    } else if failed == 0 {
        context.ui.say(format!("{} probes; nothing is other than promised.", findings.len()));
    } else {
        context.ui.say(format!("{failed} of {} probes found what is not as promised.", findings.len()));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As soon as it is known.
fn tell(context: &mut Context<'_>, args: &Verify, findings: &[Finding]) {
    for Finding { machine, probe, ok, evidence } in findings.iter().filter(|_| !args.json) {
        let sign = match ok {
            Some(true) => "✓".green().to_string(),
            Some(false) => "✗".red().to_string(),
            None => "-".yellow().to_string(),
        };
        let about = machine.as_ref().map_or("this host", MachineName::as_str);
        context.ui.data(format!("{sign} {about:<12} {probe:<16} {evidence}"));
    }
}

fn of_machine(context: &mut Context<'_>, observed: &Observed, name: &MachineName) -> Result<Vec<Finding>> {
    let machine = existing(context, observed, name)?;
    let Some(spec) = machine.started_as() else {
        let evidence = machine.spec.as_ref().err().cloned().unwrap_or_default();
        return Ok(vec![Finding {
            machine: Some(name.clone()),
            probe: "vm.json",
            ok: Some(false),
            evidence,
        }]);
    };
    let image = observed.image_by_id(&spec.image_id).and_then(|image| match image {
        ImageState::Usable(image) => Some(&**image),
        ImageState::Broken(..) => None,
    });
    // A policy that was changed since the start holds at once.
    let net = machine.spec.as_ref().map_or(&spec.net, |now| &now.net).clone();
    let spec = Spec { net, ..spec.clone() };
    let seen = context.run(&evidence::gather(name, &spec.net))?;
    Ok(evidence::judge(name, &seen, &spec, image))
}

fn of_host(context: &mut Context<'_>, observed: &Observed) -> Result<Vec<Finding>> {
    let finding = |probe, ok, evidence| Finding { machine: None, probe, ok: Some(ok), evidence };
    let seen = context.run(&evidence::gather_host())?;
    let mut findings = evidence::judge_host(&seen, &observed.host.home);
    let access = Folder::new(&config::state_dir());
    let open: Vec<_> = observed
        .machines
        .iter()
        .filter(|machine| access.is_damaged(&machine.name))
        .map(|machine| machine.name.as_str())
        .collect();
    findings.push(if open.is_empty() {
        finding("keys for ssh", true, "none is damaged or open to others".to_owned())
    } else {
        finding(
            "keys for ssh",
            false,
            format!("damaged, or open to others: {}; `mvm doctor --fix`", open.join(", ")),
        )
    });
    let items = gc::find(context, observed)?;
    let debris: Vec<_> = items.iter().filter(|item| item.kind.is_debris() && !item.busy).collect();
    let bytes: u64 = debris.iter().map(|item| item.bytes).sum();
    findings.push(match debris.first() {
        None => finding("left over", true, "nothing of killed commands".to_owned()),
        Some(first) => {
            let what = format!("{} ({}), such as {}; `mvm gc`", debris.len(), ui::size(bytes), first.path);
            finding("left over", false, what)
        }
    });
    Ok(findings)
}
