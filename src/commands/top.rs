use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::Context;
use crate::error::Result;
use crate::microvm::{Sample, Usage, usage};
use crate::ui::terminal::Screen;
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Examples:
  mvm top                             until q or Ctrl-C
  mvm top | cat                       once, as a table
  mvm top --json | jq '.[].unique_bytes'";

/// Show what running machines take of the host: CPU, memory, disk
///
/// On a terminal it is shown anew every two seconds, until q or Ctrl-C; else it is printed once. CPU is that of the last interval, in
/// hundredths of one CPU; RSS is what is in memory, UNIQUE what no other process shares, and DISK what the machine's disk takes of the
/// host's. All processes of a machine are counted: the VMM, its network, its connections.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Top {
    /// Print JSON, once
    #[arg(long)]
    json: bool,
}

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// Where it is printed once.
const ONCE: Duration = Duration::from_secs(1);

pub fn run(context: &mut Context<'_>, args: &Top) -> Result<ExitCode> {
    let mut before = context.run(&usage())?;
    if args.json || !Ui::is_interactive() {
        if !before.machines.is_empty() {
            std::thread::sleep(ONCE);
        }
        let now = context.run(&usage())?;
        if args.json {
            let values: Vec<_> = now.machines.iter().map(|usage| as_json(usage, &now, &before)).collect();
            context.ui.data(serde_json::to_string_pretty(&values)?);
        } else if now.machines.is_empty() {
            context.ui.say("No machine runs.");
        } else {
            context.ui.data(table(&now, &before));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut screen = Screen::open()?;
    let mut now = before.clone();
    loop {
        let text = if now.machines.is_empty() { "No machine runs.".to_owned() } else { table(&now, &before) };
        screen.draw(&format!("{text}\n\nq ends this."))?;
        // q, or Ctrl-C, which is a key here.
        if matches!(screen.key_within(INTERVAL)?, Some(b'q' | 0x03)) {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
        now = context.run(&usage())?;
    }
}

fn table(now: &Sample, before: &Sample) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "CPU %", "CPUS", "RSS", "UNIQUE", "SHARED", "MEMORY", "DISK", "LIMIT", "UP"]);
    for usage in &now.machines {
        let given = |value: &dyn Fn(&crate::microvm::Spec) -> String| {
            usage.spec.as_ref().map_or_else(|| "-".to_owned(), value)
        };
        table.add_row([
            usage.name.to_string(),
            format!("{:.1}", usage.cpu_percent(now.now, before)),
            given(&|spec| spec.cpus.to_string()),
            ui::size(usage.resident),
            ui::size(usage.unique),
            ui::size(usage.shared()),
            given(&|spec| spec.memory_mib.to_string()),
            ui::size(usage.disk),
            given(&|spec| spec.disk_bytes.to_string()),
            ui::duration(usage.age / 100),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn as_json(usage: &Usage, now: &Sample, before: &Sample) -> serde_json::Value {
    let spec = usage.spec.as_ref();
    json!({
        "name": usage.name, "pid": usage.pid, "uptime_seconds": usage.age / 100,
        "cpu_percent": usage.cpu_percent(now.now, before), "cpu_seconds": usage.cpu / 100,
        "cpus": spec.map(|spec| spec.cpus), "memory_bytes": spec.map(|spec| spec.memory_mib.bytes()),
        "resident_bytes": usage.resident, "proportional_bytes": usage.proportional,
        "unique_bytes": usage.unique, "shared_bytes": usage.shared(),
        "disk_used_bytes": usage.disk, "disk_bytes": spec.map(|spec| spec.disk_bytes.bytes()),
    })
}
