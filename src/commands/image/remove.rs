use std::collections::BTreeSet;
use std::process::ExitCode;

use super::{find, users};
use crate::commands::{Context, images};
use crate::error::{Error, Result};
use crate::image;
use crate::microvm::{ImageState, Observed, Scope, golden_memories};
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Examples:
  mvm image rm app";

/// Remove images that no machine uses
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rm {
    /// Their names, or the first digits of their ids
    #[arg(value_name = "IMAGE", required = true)]
    names: Vec<String>,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  mvm image prune
  mvm image prune --all --yes           all that no machine uses";

/// Remove what is of no use any more: images that a newer one of the same name stands for, and broken ones
///
/// Asks first, and says what it frees. Images that machines use stay. Golden memories, which `mvm run` goes on from, go with their
/// image, and where no run on this host will go on from them. What else is left over is for `mvm gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = PRUNE_EXAMPLES)]
pub(super) struct Prune {
    /// All images that no machine uses
    #[arg(long)]
    all: bool,
}

const ALL: Scope<'static> = Scope { machine: None, probe: false };

pub(super) fn rm(context: &mut Context<'_>, args: &Rm) -> Result<ExitCode> {
    let observed = context.look(ALL)?;
    let mut ids = Vec::new();
    for name in &args.names {
        // What cannot be read has no name, but a folder.
        let broken = observed.images.iter().find_map(|image| match image {
            ImageState::Broken(folder, _) if folder == name => Some(folder.as_str()),
            _ => None,
        });
        let id = match broken {
            Some(folder) => folder,
            None => find(&observed, name)?.id.as_str(),
        };
        let users = users(&observed, id);
        if !users.is_empty() {
            return Err(Error::failure(format!("the image `{name}` is used by {}", users.join(", ")))
                .hint(format!("`mvm destroy {}` removes them with their disks", users.join(" "))));
        }
        ids.push(id.to_owned());
    }
    let golden: Vec<String> = golden(context, &observed, &ids)?.into_iter().map(|(key, _)| key).collect();
    remove(context, &ids, &golden)
}

pub(super) fn prune(context: &mut Context<'_>, args: &Prune) -> Result<ExitCode> {
    let observed = context.look(ALL)?;
    let ids: Vec<String> = useless(&observed, args.all).into_iter().map(str::to_owned).collect();
    for id in &ids {
        let line = match observed.image_by_id(id) {
            Some(ImageState::Usable(image)) => {
                format!("{} ({id}), {}", image.label(), ui::size(image.bytes()))
            }
            Some(ImageState::Broken(_, why)) => format!("{id}: {why}"),
            None => continue,
        };
        context.ui.say(line);
    }
    let golden = golden(context, &observed, &ids)?;
    for (_, line) in &golden {
        context.ui.say(line);
    }
    let golden: Vec<String> = golden.into_iter().map(|(key, _)| key).collect();
    if ids.is_empty() {
        context.ui.say("There is no image to remove.");
    }
    if context.settings.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !(context.settings.yes || ids.is_empty() && golden.is_empty()) {
        if !Ui::can_ask() {
            return Err(Error::usage("nothing was removed: there is no terminal to ask on")
                .hint("give `--yes` to remove them"));
        }
        if !context.ui.ask("Remove them?", false)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    remove(context, &ids, &golden)
}

/// The golden memories that are of no use once the images `ids` are gone: their keys, and a line each.
fn golden(context: &mut Context<'_>, observed: &Observed, ids: &[String]) -> Result<Vec<(String, String)>> {
    let kept = context.run(&golden_memories())?;
    let useless = kept.into_iter().filter_map(|memory| {
        let why = if ids.contains(&memory.image) {
            "its image goes".to_owned()
        } else {
            memory.useless(observed)?
        };
        let line = format!("golden memory {}, {}: {why}", memory.key, ui::size(memory.bytes));
        Some((memory.key, line))
    });
    Ok(useless.collect())
}

/// Images that no machine uses: all, or those that a newer one stands for, and broken ones.
fn useless(observed: &Observed, all: bool) -> Vec<&str> {
    let newest: BTreeSet<&str> = observed
        .images
        .iter()
        .filter_map(|image| match image {
            ImageState::Usable(image) => observed.image(&image.label().parse().ok()?),
            ImageState::Broken(..) => None,
        })
        .map(|image| image.id.as_str())
        .collect();
    let ids = observed.images.iter().map(|image| match image {
        ImageState::Usable(image) => image.id.as_str(),
        ImageState::Broken(folder, _) => folder,
    });
    ids.filter(|id| users(observed, id).is_empty() && (all || !newest.contains(id))).collect()
}

fn remove(context: &mut Context<'_>, ids: &[String], golden: &[String]) -> Result<ExitCode> {
    if context.settings.dry_run {
        for id in ids {
            context.ui.data(format!("remove the image {id}"));
        }
        for key in golden {
            context.ui.data(format!("remove the golden memory {key}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    // What is being made is not to be cleared away.
    let _lock = images::lock(context)?;
    let freed = context.run(&image::remove(ids, golden))?;
    if !ids.is_empty() || !golden.is_empty() || freed > 0 {
        context.ui.say(format!("Removed; {} of disk are free again.", ui::size(freed)));
    }
    Ok(ExitCode::SUCCESS)
}
