use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::commands::Context;
use crate::commands::running::existing;
use crate::error::Result;
use crate::microvm::snapshot::{self as snapshots, Snapshot};
use crate::microvm::{HostFacts, MachineName, Scope};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm snapshot ls
  mvm snapshot ls web --json | jq -r '.[].name'";

/// List the snapshots of a machine, or of all
///
/// Sizes are what disk and memory would take alone: where the file system shares what neither changed, they take less.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ls {
    /// The machine's name [default: all machines]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(context: &mut Context<'_>, args: &Ls) -> Result<ExitCode> {
    let observed = context.look(Scope { machine: args.name.as_ref(), probe: false })?;
    if let Some(name) = &args.name {
        existing(context, &observed, name)?;
    }
    let (host, with_some) =
        (&observed.host, observed.machines.iter().filter(|machine| machine.snapshots > 0));
    let names: Vec<_> = with_some.map(|machine| &machine.name).collect();
    let kept = if names.is_empty() { Vec::new() } else { context.run(&snapshots::list(names))? };
    if args.json {
        let values: Vec<_> = kept.iter().map(|snapshot| as_json(snapshot, host)).collect();
        context.ui.data(serde_json::to_string_pretty(&values)?);
    } else if kept.is_empty() {
        let name = args.name.as_ref().map_or("NAME", MachineName::as_str);
        context.ui.say(format!("There are no snapshots yet; `mvm snapshot create {name}` takes one."));
    } else {
        context.ui.data(table(&kept, host));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(kept: &[Snapshot], host: &HostFacts) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["SNAPSHOT", "OF", "DISK", "MEMORY", "AGE"]);
    for snapshot in kept {
        let memory = snapshot.frozen.as_ref().map_or_else(|| "-".to_owned(), |frozen| ui::size(frozen.bytes));
        table.add_row([
            snapshot.name.to_string(),
            format!("a {} machine", snapshot.of.word()),
            ui::size(snapshot.disk),
            memory,
            ui::duration(host.now.saturating_sub(snapshot.at)),
        ]);
    }
    let mut text = table.trim_fmt();
    for snapshot in kept {
        let name = &snapshot.name;
        if let Err(why) = snapshot.readable() {
            text.push_str(&format!("\n`{name}` cannot be restored: {why}"));
        } else if let Some(why) = snapshot.unfit(host) {
            text.push_str(&format!("\n`{name}` would be restored without its memory: {why}"));
        }
    }
    text
}

fn as_json(snapshot: &Snapshot, host: &HostFacts) -> Value {
    let Snapshot { name, at, of, disk, frozen, .. } = snapshot;
    json!({
        "name": name.to_string(), "machine": name.machine, "tag": name.tag.as_str(), "taken": at, "of": of.word(),
        "disk_bytes": disk, "memory_bytes": frozen.as_ref().map(|frozen| frozen.bytes),
        "trouble": snapshot.readable().err().or_else(|| snapshot.unfit(host)),
    })
}
