//! Making images of others: from a registry or a file, by the tools of the image `debian`.

use std::path::Path;

use super::Context;
use super::reach::{now, reach};
use crate::config::{self, DEFAULT_MACHINE};
use crate::download::{Downloads, make_folder};
use crate::error::{Error, Result};
use crate::image::import::{self, Content};
use crate::image::merge::{Layer, Merged};
use crate::image::oci::{self, PullError, Reference, Registry, credentials};
use crate::image::pack::{self, Kind, Source};
use crate::image::{self, ImageName, OwnName, kernel};
use crate::lock::Lock;
use crate::microvm::{Changes, Goal, ImageState, Lacking, MachineName, Observed, Scope, Wanted};

/// What was made, or was there already.
pub(super) struct Made {
    pub id: String,
    pub newly: bool,
}

/// Brings the image `reference` of its registry, unless the very same is there.
pub(super) fn pull(context: &mut Context<'_>, observed: &Observed, reference: &Reference) -> Result<Made> {
    let origin = context.settings.mirror.oci(&reference.registry, &reference.base());
    let downloads = Downloads::new(&context.settings.network)?;
    let found = credentials::find(&config::registry_credentials(), reference);
    let registry = Registry::new(&downloads, &origin, reference, found);
    let explain = |error: PullError| explain(error, &origin);
    context.ui.step(&format!("Pulling {reference}"));
    let described =
        registry.describe(&observed.host.arch, &mut |event| context.ui.event(event)).map_err(explain)?;
    let digest = format!("sha256:{}", described.digest);
    let name = ImageName::Oci(reference.clone());
    let same = |observed: &Observed| {
        let image = observed.image(&name)?;
        (image.digest.as_deref() == Some(&digest)).then(|| image.id.clone())
    };
    if let Some(id) = same(observed) {
        return Ok(Made { id, newly: false });
    }
    let layers = oci::layers(&registry, &described, &mut |event| context.ui.event(event)).map_err(explain)?;
    let merged = merge(context, layers)?;
    let _lock = lock(context)?;
    // Another mvm may have made it meanwhile.
    let observed = context.look(Scope { machine: None, probe: false })?;
    if let Some(id) = same(&observed) {
        return Ok(Made { id, newly: false });
    }
    let from = reference.to_string();
    let source = Source { from: &from, digest: &digest, config: &described.config.config };
    let id = pack(context, &observed, &from, &source, &merged)?;
    Ok(Made { id, newly: true })
}

/// Makes an image of a file; its id and its name. Only an image that was exported has a name of its own, and all that machines
/// need: it is imported without a network where there is no other image.
pub(super) fn import(
    context: &mut Context<'_>,
    path: &Path,
    name: Option<&OwnName>,
) -> Result<(String, String)> {
    let unusable = |why: String| {
        Error::failure(format!("{} cannot be imported: {why}", path.display())).hint(
            "mvm takes what `docker save`, `podman save` and OCI's tools write, tars of a tree (gzip, xz, zstd), squashfs and ext4",
        )
    };
    let cache = &context.settings.network.cache;
    make_folder(cache)?;
    let scratch = tempfile::NamedTempFile::new_in(cache)?;
    context.ui.step(&format!("Reading {}", path.display()));
    let arch = context.look(Scope { machine: None, probe: false })?.host.arch;
    let found = import::open(path, &arch, scratch.path()).map_err(unusable)?;
    let from = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let source = Source { from: &from, digest: &found.digest, config: &found.config };
    let named = || {
        name.map(ToString::to_string).ok_or_else(|| {
            Error::usage(format!("{} does not say what its image is called", path.display()))
                .hint("give it a name: `--as NAME`")
        })
    };
    match found.content {
        Content::Exported(image) => {
            let (script, name) = pack::unpack(image, name, path).map_err(unusable)?;
            let _lock = lock(context)?;
            Ok((context.run(&script)?, name))
        }
        Content::Layers(layers) => {
            let (name, observed) = (named()?, ready(context)?);
            let merged = merge(context, layers).map_err(|error| unusable(error.source.to_string()))?;
            let _lock = lock(context)?;
            Ok((pack(context, &observed, &name, &source, &merged)?, name))
        }
        Content::FileSystem(kind) => {
            let (name, observed) = (named()?, ready(context)?);
            let _lock = lock(context)?;
            context.run(&pack::base(kind).payload(path.to_owned()))?;
            Ok((seal(context, &observed, kind, &name, &source)?, name))
        }
    }
}

/// The Linux side as images of others need it: with `debian` and its packages.
pub(super) fn ready(context: &mut Context<'_>) -> Result<Observed> {
    let scope = Scope { machine: None, probe: false };
    let observed = context.look(scope)?;
    let image = observed.tools().and_then(|image| image.label().parse().ok()).unwrap_or_default();
    let name: MachineName = DEFAULT_MACHINE.parse().map_err(Error::failure)?;
    let defaults = context.settings.machine.clone();
    let changes = Changes { image: Some(image), ..Changes::default() };
    // An image has no need of a VMM yet.
    let lacking = Lacking { firecracker: true, ..Lacking::default() };
    reach(context, &Wanted { lacking, ..Wanted::new(Goal::Setup, &name, changes, &defaults) })?;
    context.look(scope)
}

/// The id of the image that has the kernel in `path` and is else the one asked for, which is made where it is missing. Nothing
/// in a dry run.
pub(super) fn with_kernel(
    context: &mut Context<'_>,
    goal: Goal,
    asked: &mut Option<ImageName>,
    path: &Path,
) -> Result<Option<String>> {
    let scope = Scope { machine: None, probe: false };
    let mut observed = context.look(scope)?;
    let kernel = kernel::own(path, &observed.host.arch)
        .map_err(|why| Error::usage(format!("{} is no kernel for machines: {why}", path.display())))?;
    let name = asked.clone().or_else(|| context.settings.machine.image.clone()).unwrap_or_else(|| {
        let there =
            [ImageName::Ubuntu, ImageName::default()].into_iter().find(|name| observed.image(name).is_some());
        there.unwrap_or_default()
    });
    if context.settings.dry_run {
        context.ui.data(format!("make an image of {name} with the kernel {}", path.display()));
        return Ok(None);
    }
    if observed.image(&name).is_none() && goal == Goal::Dev {
        let machine: MachineName = DEFAULT_MACHINE.parse().map_err(Error::failure)?;
        let defaults = context.settings.machine.clone();
        let changes = Changes { image: Some(name.clone()), ..Changes::default() };
        reach(context, &Wanted::new(Goal::Setup, &machine, changes, &defaults))?;
        observed = context.look(scope)?;
    }
    let from = observed.image(&name).ok_or_else(|| {
        Error::not_set_up(format!("the image {name} is not there yet"))
            .hint("`mvm image ls` shows those that are there")
    })?;
    let to = image::with_kernel(from, &kernel, now());
    *asked = Some(name);
    if !matches!(observed.image_by_id(&to.id), Some(ImageState::Usable(_))) {
        let cache = &context.settings.network.cache;
        make_folder(cache)?;
        let file = tempfile::NamedTempFile::new_in(cache)?;
        fs_err::write(file.path(), &kernel.bytes)?;
        let script = image::derive(from, &to, &kernel, file.path())?;
        let _lock = lock(context)?;
        context.ui.step(&format!("Preparing {} with {}", from.label(), path.display()));
        context.run(&script)?;
    }
    Ok(Some(to.id))
}

/// Reads all layers once.
fn merge(context: &mut Context<'_>, layers: Vec<Layer>) -> Result<Merged> {
    let count = layers.len();
    let ui = &mut *context.ui;
    ui.step("Reading the layers");
    Merged::read(layers, &mut |number| ui.detail(&format!("{} of {count}", number + 1))).map_err(|error| {
        Error::failure(error).hint("the image is not as it should be: build or save it again")
    })
}

/// One mvm at a time makes images, or clears them away.
pub(super) fn lock(context: &mut Context<'_>) -> Result<Lock> {
    let waiting = || context.ui.step("Waiting for another mvm that makes an image");
    Ok(Lock::take(&config::state_dir(), "images.lock", waiting)?)
}

fn pack(
    context: &mut Context<'_>,
    observed: &Observed,
    name: &str,
    source: &Source<'_>,
    merged: &Merged,
) -> Result<String> {
    context.feed(&pack::base(Kind::Tar), &|out| pack::write(merged, out))?;
    seal(context, observed, Kind::Tar, name, source)
}

fn seal(
    context: &mut Context<'_>,
    observed: &Observed,
    kind: Kind,
    name: &str,
    source: &Source<'_>,
) -> Result<String> {
    let tools = observed.tools().ok_or_else(|| {
        Error::not_set_up("the image debian is not there, and others take their kernel and SSH server of it")
            .hint("`mvm setup --image debian` makes it")
    })?;
    context.run(&pack::seal(kind, name, &tools.id, source))
}

fn explain(error: PullError, origin: &config::Origin) -> Error {
    match error {
        PullError::Download(error) => error.from_origin(origin),
        PullError::Denied { ref registry, .. } => {
            let hint = format!(
                "check the name; `docker login {registry}` or `podman login {registry}` keeps a login that mvm uses"
            );
            Error::failure(error).hint(hint)
        }
        PullError::NotFound { .. } => {
            Error::failure(error).hint("check the name and the tag; the registry's own page lists them").hint(
                format!("where another place stands for the registry, it is named in {}", origin.setting()),
            )
        }
        PullError::Unusable { .. } => {
            Error::failure(error).hint("take another tag, or `mvm image import` what a builder saved")
        }
    }
}
