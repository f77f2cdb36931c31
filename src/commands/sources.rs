//! The steps that download: each brings something to this side, verified, and sends it to the Linux side.

use super::Context;
use crate::config::{Origin, Settings};
use crate::digest::{self, Sha256};
use crate::download::{DownloadError, Downloads, Fetched, Size, Wanted};
use crate::error::{Error, Result};
use crate::image::ImageName;
use crate::image::ubuntu::{self, Trouble};
use crate::vmm::release::{LARGEST, Release};

/// Whether a step was done, or what it needs is not to be had here and now.
#[derive(Debug)]
pub(super) enum Got {
    Done,
    Absent(Error),
}

/// What other programs would download: refused where no connection is to be opened.
pub(super) fn refuse_offline(settings: &Settings, needed: &str) -> Result<()> {
    if !settings.network.offline {
        return Ok(());
    }
    Err(Error::failure(format!("mvm is offline, and {needed}"))
        .hint("run it once without `--offline` (MVM_OFFLINE)"))
}

/// The same for an image, which may come from another host.
pub(super) fn refuse_build_offline(settings: &Settings, image: &ImageName) -> Result<()> {
    refuse_offline(settings, &format!("the image {image} is made of what is downloaded")).map_err(|error| {
        error.hint(format!(
            "on a host with a network `mvm image export {image} -o FILE` writes what `mvm image import FILE` takes here"
        ))
    })
}

/// Installs a release of Firecracker on the Linux side.
pub(super) fn install_firecracker(
    context: &mut Context<'_>,
    arch: &str,
    release: &Release,
    choose: bool,
) -> Result<Got> {
    let origin = context.settings.mirror.firecracker();
    let tarball = origin.url(&release.tarball(arch));
    context.ui.step(&format!("Downloading Firecracker {release}"));
    let list = match text(context, &format!("{tarball}.sha256.txt"))? {
        Ok(list) => list,
        Err(error) => return absent(error, &origin),
    };
    let name = release.tarball_name(arch);
    let sha256 = digest::find_in_list(&list, &name).ok_or_else(|| {
        Error::failure(format!("{tarball}.sha256.txt has no SHA-256 of {name}"))
            .hint(format!("name another place in {}", origin.setting()))
    })?;
    let what = format!("Firecracker {release}");
    match fetch(context, &what, &tarball, sha256)? {
        Ok(fetched) => {
            context.run(&release.install(fetched.path, sha256, choose))?;
            Ok(Got::Done)
        }
        Err(error) => absent(error, &origin),
    }
}

/// Makes the image `ubuntu` on the Linux side.
pub(super) fn make_ubuntu(context: &mut Context<'_>, arch: &str) -> Result<Got> {
    let origin = context.settings.mirror.firecracker_ci();
    let downloads = Downloads::new(&context.settings.network)?;
    context.ui.step("Downloading Ubuntu and its kernel");
    let files = match ubuntu::fetch(&downloads, &origin, arch, &mut |event| context.ui.event(event)) {
        Ok(files) => files,
        Err(Trouble::Absent(error)) => return Ok(Got::Absent(error)),
        Err(Trouble::Wrong(error)) => return Err(error),
    };
    // Whatever the cache had: its initrd takes a package of Debian's.
    refuse_build_offline(&context.settings, &ImageName::Ubuntu)?;
    context.ui.step(&format!("Sending {}", files.describe()));
    for script in files.send() {
        context.run(&script)?;
    }
    context.run(&files.make()).map(|id| tracing::debug!(id, "made"))?;
    Ok(Got::Done)
}

fn absent(error: DownloadError, origin: &Origin) -> Result<Got> {
    let is_absence = error.is_absence();
    let error = error.from_origin(origin);
    if is_absence { Ok(Got::Absent(error)) } else { Err(error) }
}

type Download<T> = std::result::Result<T, DownloadError>;

fn text(context: &mut Context<'_>, url: &str) -> Result<Download<String>> {
    let downloads = Downloads::new(&context.settings.network)?;
    Ok(downloads.text(url, true, &mut |event| context.ui.event(event)))
}

fn fetch(context: &mut Context<'_>, what: &str, url: &str, sha256: Sha256) -> Result<Download<Fetched>> {
    let downloads = Downloads::new(&context.settings.network)?;
    let wanted = Wanted { what, url, headers: &[], sha256: Some(sha256), size: Size::AtMost(LARGEST) };
    Ok(downloads.fetch(&wanted, &mut |event| context.ui.event(event)))
}
