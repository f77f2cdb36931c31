use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use owo_colors::OwoColorize;

use super::{Report, Scale, Spread};
use crate::ui;

/// How many columns the longest life takes.
const WIDTH: usize = 40;

/// The report for a terminal: the waterfall, the totals, what was compared.
pub fn text(report: &Report) -> String {
    let subject = &report.subject;
    let mut text = format!(
        "mvm {} on {}\n{}; {}, {} CPU{}, {} MiB; {} run{}, load {:.1} to {:.1}\n\n",
        subject.mvm,
        subject.linux,
        subject.vmm,
        subject.image,
        subject.cpus,
        plural(subject.cpus.into()),
        subject.memory_mib,
        subject.runs,
        plural(subject.runs),
        subject.load.0,
        subject.load.1,
    );
    text.push_str(&waterfall(report));
    text.push_str("\n\n");
    let mut totals = table(["", "median", "min", "max", ""]);
    for (what, spread) in
        [("to the first command", &report.to_first_command_ms), ("the whole life", &report.whole_life_ms)]
    {
        totals.add_row([vec![what.to_owned()], figures(spread), vec![String::new()]].concat());
    }
    for (index, timed) in report.commands.iter().enumerate() {
        let ratio = if index == 0 { String::new() } else { format!("mvm takes {:.2} of it", timed.ratio) };
        totals.add_row([vec![timed.command.clone()], figures(&timed.ms), vec![ratio]].concat());
    }
    text.push_str(&totals.trim_fmt());
    if let Some(scale) = &report.scale {
        text.push_str(&scaled(scale));
    }
    text
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn waterfall(report: &Report) -> String {
    let whole = report.phases.iter().map(|phase| phase.begins_ms + phase.ms.median).fold(1.0, f64::max);
    let mut table = table(["phase", "", "median", "min", "max", ""]);
    for phase in &report.phases {
        let bar = bar(phase.begins_ms / whole, phase.ms.median / whole);
        let row = [vec![phase.name.clone(), bar], figures(&phase.ms), vec![phase.what.dimmed().to_string()]];
        table.add_row(row.concat());
    }
    table.trim_fmt()
}

/// Where in the whole something lies: it begins at `begin` and takes `share` of it.
fn bar(begin: f64, share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "columns of a terminal"
    )]
    let column = |at: f64| (at * WIDTH as f64).round().clamp(0.0, WIDTH as f64) as usize;
    let from = column(begin).min(WIDTH - 1);
    let length = column(begin + share).saturating_sub(from);
    // What is too short for a column is there all the same.
    let bar = if length == 0 { "▏".to_owned() } else { "█".repeat(length) };
    let pad = WIDTH - from - length.max(1);
    format!("{}{}{}", " ".repeat(from), bar.cyan(), " ".repeat(pad))
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if let Some(last) = table.column_mut(N - 1) {
        last.set_cell_alignment(CellAlignment::Left);
    }
    table
}

fn figures(spread: &Spread) -> Vec<String> {
    [spread.median, spread.min, spread.max].map(milliseconds).to_vec()
}

/// As people read it.
pub(super) fn milliseconds(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// As people read it.
pub(super) fn bytes(bytes: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes that were counted")]
    ui::size(bytes as u64)
}

fn scaled(scale: &Scale) -> String {
    let mut text = format!(
        "\n\n{} machines at once: all answer after {:.1} s ({:.2} starts a second), all are stopped after {:.1} s\n",
        scale.machines, scale.start_seconds, scale.starts_per_second, scale.stop_seconds
    );
    for (what, spread) in [
        ("memory of its own", &scale.unique_bytes),
        ("memory that it shares", &scale.shared_bytes),
        ("disk", &scale.disk_bytes),
    ] {
        let [median, min, max] = [spread.median, spread.min, spread.max].map(bytes);
        // Writing to a string cannot fail.
        writeln!(text, "  {what:<22} {median} a machine ({min} to {max})").unwrap_or_default();
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_as_text() {
        let plain = anstream::adapter::strip_str(&text(&super::super::sample())).to_string();
        let plain: Vec<_> = plain.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(plain.join("\n"));
    }
}
