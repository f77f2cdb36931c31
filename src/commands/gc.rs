//! `mvm gc`: what nothing refers to any more, on both sides.

use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Context, destroy, shares, ssh_config};
use crate::access::Folder;
use crate::config;
use crate::download::{self, Downloaded};
use crate::error::Result;
use crate::microvm::{
    Leftover, LeftoverKind as Kind, MachineName, Observed, Scope, golden_memories, leftovers,
    remove_leftovers,
};
use crate::shares::Place;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm gc --dry-run                    what there is, and what it takes
  mvm gc --yes                        in a script
  mvm gc --dry-run --json | jq '[.left[].bytes] | add'";

/// Remove what nothing refers to any more: half-made and unused files, on both sides
///
/// What killed commands left, golden memories that no run will go on from, downloads that are kept, Firecracker's binaries that
/// nothing uses, locks, sockets and keys of machines that are gone. Sizes are what it takes of the disk. It asks first. What another
/// mvm is just working on is left alone. Images are not removed: that is `mvm image prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Gc {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One thing that is left over.
pub(super) struct Item {
    pub kind: Kind,
    /// Where it is, for people.
    pub path: String,
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
    pub why: String,
    /// Whether another mvm is at work on it, so that it stays.
    pub busy: bool,
    place: At,
}

enum At {
    LinuxSide(Leftover),
    Access(MachineName),
    Share(Place),
    Download(Downloaded),
}

pub fn run(context: &mut Context<'_>, args: &Gc) -> Result<ExitCode> {
    let observed = context.look(Scope::default())?;
    let items = find(context, &observed)?;
    let (going, bytes) = weigh(&items);
    if !args.json {
        show(context, &items);
    }
    let mut freed = None;
    if going > 0 && !context.settings.dry_run {
        let question = format!("Remove {going} of them ({})?", ui::size(bytes));
        if let Some(code) = destroy::refused(&context.settings, context.ui, &question)? {
            return Ok(code);
        }
        let removed = remove(context, &items)?;
        context.ui.say(format!("Removed; {} of disk are free again.", ui::size(removed)));
        freed = Some(removed);
    }
    if args.json {
        let left: Vec<Value> = items.iter().map(Item::as_json).collect();
        context.ui.data(serde_json::to_string_pretty(&json!({"left": left, "freed_bytes": freed}))?);
    }
    Ok(ExitCode::SUCCESS)
}

/// How many of them can go, and what they take, in bytes.
pub(super) fn weigh(items: &[Item]) -> (usize, u64) {
    let going = items.iter().filter(|item| !item.busy);
    (going.clone().count(), going.map(|item| item.bytes).sum())
}

impl Item {
    pub(super) fn as_json(&self) -> Value {
        let Self { kind, path, bytes, why, busy, .. } = self;
        json!({"kind": kind.word(), "path": path, "bytes": bytes, "why": why, "busy": busy})
    }
}

/// All that is left over on both sides.
pub(super) fn find(context: &mut Context<'_>, observed: &Observed) -> Result<Vec<Item>> {
    let home = &observed.host.home;
    let mut there = context.run(&leftovers(&observed.host))?;
    let mut whys = vec![None; there.len()];
    for memory in context.run(&golden_memories())? {
        let Some(why) = memory.useless(observed) else { continue };
        whys.push(Some(format!("{}: {why}", Kind::Golden.title())));
        there.push(Leftover {
            kind: Kind::Golden,
            path: format!("golden/{}", memory.key),
            bytes: memory.bytes,
            busy: false,
            lock: ".golden".to_owned(),
        });
    }
    let mut items: Vec<Item> = there
        .into_iter()
        .zip(whys)
        .map(|(left, why)| Item {
            kind: left.kind,
            path: format!("{home}/{}", left.path),
            bytes: left.bytes,
            why: why.unwrap_or_else(|| left.kind.title().to_owned()),
            busy: left.busy,
            place: At::LinuxSide(left),
        })
        .collect();
    items.extend(here(context, observed)?);
    items.sort_by(|one, other| (one.kind, &one.path).cmp(&(other.kind, &other.path)));
    Ok(items)
}

/// What is left over on this host for machines that are gone, and what is kept of downloads.
fn here(context: &Context<'_>, observed: &Observed) -> Result<Vec<Item>> {
    let state = config::state_dir();
    let item = |kind: Kind, path: String, bytes, busy, place| Item {
        kind,
        path,
        bytes,
        why: kind.title().to_owned(),
        busy,
        place,
    };
    let mut items = Vec::new();
    let is_there = |name: &MachineName| observed.machine(name).is_some();
    let access = Folder::new(&state);
    for name in access.known(&ssh_config::caller(&context.settings)?)? {
        if !is_there(&name) {
            let (path, bytes) = access.of(&name);
            items.push(item(Kind::Access, path.display().to_string(), bytes, false, At::Access(name)));
        }
    }
    for place in Place::all(&state, &shares::side(&context.settings)) {
        if !is_there(place.name()) && !place.is_kept() {
            let path = place.log().with_extension("*").display().to_string();
            items.push(item(Kind::Share, path, place.bytes(), false, At::Share(place)));
        }
    }
    // What cannot be had again stays.
    if !context.settings.network.offline {
        for file in download::kept(&context.settings.network.cache)? {
            let path = file.path.display().to_string();
            items.push(item(Kind::Download, path, file.bytes, file.busy, At::Download(file)));
        }
    }
    Ok(items)
}

/// Removes those that nobody is at work on; the answer is what that freed, in bytes.
pub(super) fn remove(context: &mut Context<'_>, items: &[Item]) -> Result<u64> {
    let going = || items.iter().filter(|item| !item.busy);
    let there = going().filter_map(|item| match &item.place {
        At::LinuxSide(left) => Some(left),
        _ => None,
    });
    let (mut freed, begun) = context.run(&remove_leftovers(there))?;
    for path in begun {
        context.ui.say(format!("Another mvm has begun to work on it, so it stays: {path}"));
    }
    let access = Folder::new(&config::state_dir());
    for Item { place, bytes, .. } in going() {
        match place {
            At::Access(name) => access.forget(name)?,
            At::Share(place) => place.forget(),
            At::LinuxSide(_) | At::Download(_) => continue,
        }
        freed += bytes;
    }
    let downloads: Vec<_> = going()
        .filter_map(|item| match &item.place {
            At::Download(file) => Some(file),
            _ => None,
        })
        .collect();
    if !downloads.is_empty() {
        freed += download::remove(&context.settings.network.cache, downloads)?;
    }
    Ok(freed)
}

fn show(context: &mut Context<'_>, items: &[Item]) {
    if items.is_empty() {
        context.ui.say("Nothing is left over.");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["SIZE", "WHAT", "WHERE"]);
    for Item { bytes, why, busy, path, .. } in items {
        let why = if *busy { format!("{why} (stays: another mvm works on it)") } else { why.clone() };
        table.add_row([ui::size(*bytes), why, path.clone()]);
    }
    let (going, bytes) = weigh(items);
    context.ui.data(table.trim_fmt());
    context.ui.say(format!("{going} of them can go: {}.", ui::size(bytes)));
}
