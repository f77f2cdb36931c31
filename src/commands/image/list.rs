use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{find, users};
use crate::commands::Context;
use crate::commands::reach::now;
use crate::error::Result;
use crate::image::Image;
use crate::microvm::{ImageState, Kept, Observed, Scope, golden_memories};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  mvm image ls
  mvm image ls --json | jq -r '.[].name'";

/// List the images
///
/// GOLDEN is what the memories take that `mvm run` goes on from.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ls {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  mvm image inspect debian:bookworm
  mvm image inspect app | jq .config";

/// Show what an image is made of, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub(super) struct Inspect {
    /// Its name, or the first digits of its id
    #[arg(value_name = "IMAGE")]
    name: String,
}

const ALL: Scope<'static> = Scope { machine: None, probe: false };

pub(super) fn ls(context: &mut Context<'_>, args: &Ls) -> Result<ExitCode> {
    let observed = context.look(ALL)?;
    let golden = context.run(&golden_memories())?;
    if args.json {
        let images: Vec<Value> = observed
            .images
            .iter()
            .map(|image| {
                let mut value = as_json(&observed, image);
                value["golden_bytes"] = of_image(&golden, image).into();
                value
            })
            .collect();
        context.ui.data(serde_json::to_string_pretty(&images)?);
        return Ok(ExitCode::SUCCESS);
    }
    if observed.images.is_empty() {
        context.ui.say("There are no images yet; `mvm setup` makes the first.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["IMAGE", "ID", "SIZE", "GOLDEN", "AGE", "MACHINES"]);
    for image in &observed.images {
        let golden = match of_image(&golden, image) {
            0 => "-".to_owned(),
            bytes => ui::size(bytes),
        };
        match image {
            ImageState::Usable(image) => {
                let users = users(&observed, &image.id).join(", ");
                let age = ui::duration(now().saturating_sub(image.created));
                let users = if users.is_empty() { "-".to_owned() } else { users };
                table.add_row([image.label(), image.id.clone(), ui::size(image.bytes()), golden, age, users]);
            }
            ImageState::Broken(folder, why) => {
                table.add_row([
                    "?".to_owned(),
                    folder.clone(),
                    "-".to_owned(),
                    golden,
                    "-".to_owned(),
                    format!("broken: {why}"),
                ]);
            }
        }
    }
    context.ui.data(table.trim_fmt());
    Ok(ExitCode::SUCCESS)
}

/// What the golden memories of an image take of the disk, in bytes.
fn of_image(golden: &[Kept], image: &ImageState) -> u64 {
    let id = match image {
        ImageState::Usable(image) => &image.id,
        ImageState::Broken(folder, _) => folder,
    };
    golden.iter().filter(|memory| memory.image == *id).map(|memory| memory.bytes).sum()
}

pub(super) fn inspect(context: &mut Context<'_>, args: &Inspect) -> Result<ExitCode> {
    let observed = context.look(ALL)?;
    let image = find(&observed, &args.name)?;
    context.ui.data(serde_json::to_string_pretty(&whole(&observed, image))?);
    Ok(ExitCode::SUCCESS)
}

fn whole(observed: &Observed, image: &Image) -> Value {
    json!({
        "id": image.id, "name": image.label(), "usable": true, "arch": image.arch, "created": image.created,
        "bytes": image.bytes(), "from": image.from, "digest": image.digest, "config": image.config,
        "folder": format!("{}/images/{}", observed.host.home, image.id),
        "machines": users(observed, &image.id),
    })
}

fn as_json(observed: &Observed, image: &ImageState) -> Value {
    match image {
        ImageState::Usable(image) => whole(observed, image),
        ImageState::Broken(folder, why) => json!({
            "id": folder, "usable": false, "why": why, "machines": users(observed, folder),
        }),
    }
}
