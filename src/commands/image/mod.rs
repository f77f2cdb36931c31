//! `mvm image`: what machines are made from.

mod export;
mod list;
mod remove;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Context, images};
use crate::error::{Error, Result};
use crate::image::oci::Reference;
use crate::image::{Image as Made, ImageName, OwnName};
use crate::microvm::Observed;

const IMAGE_EXAMPLES: &str = "\
Examples:
  mvm image ls
  mvm image pull docker.io/library/alpine:3.20
  mvm dev web --image docker.io/library/alpine:3.20";

/// Images: what machines are made from
///
/// A machine can be made of any image of a registry, or of a file: `mvm dev web --image docker.io/library/python:3.12`.
#[derive(Debug, clap::Args)]
#[command(after_help = IMAGE_EXAMPLES)]
pub struct Image {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(list::Ls),
    Pull(Pull),
    Import(Import),
    Export(export::Export),
    Inspect(list::Inspect),
    Rm(remove::Rm),
    Prune(remove::Prune),
}

impl Image {
    /// Whether it brings an image, and so whatever that needs.
    pub fn makes_one(&self) -> bool {
        matches!(self.command, Command::Pull(_) | Command::Import(_))
    }
}

const EXAMPLES: &str = "\
Examples:
  mvm image pull docker.io/library/python:3.12
  mvm image pull ghcr.io/me/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Bring an image of a registry, or its newer version
///
/// New machines are made of it; those that are there keep theirs. Logins are those of Docker and Podman.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Pull {
    /// Such as `docker.io/library/python:3.12`
    #[arg(value_name = "IMAGE")]
    reference: Reference,
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  docker save app | gzip >app.tar.gz && mvm image import app.tar.gz --as app
  mvm image import rootfs.ext4 --as mine";

/// Make an image of a file
///
/// Takes what `docker save` and `podman save` write, OCI archives and layouts, tars of a tree (gzip, xz, zstd), squashfs, ext4, and
/// what `mvm image export` wrote.
#[derive(Debug, clap::Args)]
#[command(after_help = IMPORT_EXAMPLES)]
struct Import {
    /// The file, or the folder of an OCI layout
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// What it is to be called; what `mvm image export` wrote keeps its name without it
    #[arg(long = "as", value_name = "NAME")]
    name: Option<OwnName>,
}

pub fn run(context: &mut Context<'_>, args: &Image) -> Result<ExitCode> {
    match &args.command {
        Command::Ls(args) => list::ls(context, args),
        Command::Inspect(args) => list::inspect(context, args),
        Command::Pull(args) => pull(context, args),
        Command::Import(args) => import(context, args),
        Command::Export(args) => export::run(context, args),
        Command::Rm(args) => remove::rm(context, args),
        Command::Prune(args) => remove::prune(context, args),
    }
}

fn pull(context: &mut Context<'_>, args: &Pull) -> Result<ExitCode> {
    if context.settings.dry_run {
        context.ui.data(format!("pull the image {}", args.reference));
        return Ok(ExitCode::SUCCESS);
    }
    let observed = images::ready(context)?;
    let made = images::pull(context, &observed, &args.reference)?;
    let what = if made.newly { "is there" } else { "is up to date" };
    context.ui.say(format!("{} {what} ({}).", args.reference, made.id));
    Ok(ExitCode::SUCCESS)
}

fn import(context: &mut Context<'_>, args: &Import) -> Result<ExitCode> {
    if !args.path.exists() {
        return Err(Error::usage(format!("there is no file {}", args.path.display())));
    }
    if context.settings.dry_run {
        let name = args.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        context.ui.data(format!("make the image{name} of {}", args.path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let (id, name) = images::import(context, &args.path, args.name.as_ref())?;
    context.ui.say(format!("The image `{name}` is there ({id}): `mvm dev NAME --image {name}`."));
    Ok(ExitCode::SUCCESS)
}

/// The image that a user names: by a name, or by an id's first digits.
fn find<'a>(observed: &'a Observed, name: &str) -> Result<&'a Made> {
    if let Some(image) = name.parse::<ImageName>().ok().and_then(|name| observed.image(&name)) {
        return Ok(image);
    }
    let by_id: Vec<_> =
        observed.usable_images().filter(|image| name.len() >= 4 && image.id.starts_with(name)).collect();
    if let [image] = by_id.as_slice() {
        return Ok(image);
    }
    let labels: Vec<String> = observed.usable_images().map(Made::label).collect();
    let near = labels
        .iter()
        .map(|label| (strsim::jaro_winkler(label, name), label))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let error = Error::failure(format!("there is no image `{name}`"));
    Err(match near {
        Some((_, label)) => error.hint(format!("did you mean `{label}`?")),
        None => error.hint("`mvm image ls` shows those that are there"),
    })
}

/// The machines made of an image.
fn users<'a>(observed: &'a Observed, id: &str) -> Vec<&'a str> {
    let machines = observed.machines.iter();
    machines
        .filter(|machine| machine.image_id.as_deref() == Some(id))
        .map(|machine| machine.name.as_str())
        .collect()
}
