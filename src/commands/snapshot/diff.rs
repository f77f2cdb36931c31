use std::process::ExitCode;

use serde_json::json;

use super::find;
use crate::commands::Context;
use crate::commands::running::existing;
use crate::error::{Error, Result};
use crate::microvm::Scope;
use crate::microvm::overlay::Difference;
use crate::microvm::snapshot::{self as snapshots, MaybeTagged, SnapshotName};

const EXAMPLES: &str = "\
Examples:
  mvm snapshot diff web@1                to what is on its disk now
  mvm snapshot diff web@1 web@2
  mvm snapshot diff web@1 --json | jq -r '.[] | select(.how == \"added\") | .path'";

/// Show which files differ between a snapshot and another one, or the machine as it is now
///
/// Files are told apart by kind, size, permissions, owner and the time of the last write; they are not read. What of the image was
/// touched counts as changed. A machine that runs stands still for a moment.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    /// The snapshot to begin with
    #[arg(value_name = "NAME@TAG")]
    one: SnapshotName,
    /// Another snapshot, or a machine as it is now [default: the same machine as it is now]
    #[arg(value_name = "NAME[@TAG]")]
    other: Option<MaybeTagged>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(context: &mut Context<'_>, args: &Diff) -> Result<ExitCode> {
    let one = &args.one;
    let other = &args.other.clone().unwrap_or(MaybeTagged { machine: one.machine.clone(), tag: None });
    let observed = context.look(Scope::default())?;
    let (first, second) =
        (existing(context, &observed, &one.machine)?, existing(context, &observed, &other.machine)?);
    let kept = context.run(&snapshots::list([&one.machine, &other.machine]))?;
    find(&kept, one)?;
    if let Some(tag) = &other.tag {
        find(&kept, &SnapshotName { machine: other.machine.clone(), tag: tag.clone() })?;
    }
    let image =
        |machine: &crate::microvm::Machine| machine.spec.as_ref().ok().map(|spec| spec.image_id.clone());
    let Some(image) = image(first).filter(|id| image(second).as_ref() == Some(id)) else {
        return Err(Error::failure(format!(
            "`{}` and `{}` are made of different images: all of their files differ",
            one.machine, other.machine
        )));
    };
    let differences = context.run(&snapshots::diff(one, other, second, &image, &observed.host))?;
    if args.json {
        let values: Vec<_> = differences
            .iter()
            .map(|Difference { how, path, folder }| json!({ "how": how.word(), "path": path, "folder": folder }))
            .collect();
        context.ui.data(serde_json::to_string_pretty(&values)?);
        return Ok(ExitCode::SUCCESS);
    }
    if differences.is_empty() {
        context.ui.say("No file differs.");
    }
    for Difference { how, path, folder } in &differences {
        // A guest gives what names it likes; a terminal is to read no orders in them.
        let path: String = path.chars().flat_map(shown).collect();
        context.ui.data(format!("{:<8} {path}{}", how.word(), if *folder { "/" } else { "" }));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(letter: char) -> Vec<char> {
    if letter.is_control() { letter.escape_default().collect() } else { vec![letter] }
}
