//! The steps that download: each brings something to this side, verified, and sends it to the Linux side.

use super::Context;
use crate::config::Origin;
use crate::digest::{self, Sha256};
use crate::download::{DownloadError, Downloads, Fetched, Size, Wanted};
use crate::error::{Error, Result};
use crate::vmm::release::{LARGEST, Release};

/// Whether a step was done, or what it needs is not to be had here and now.
#[derive(Debug)]
pub(super) enum Got {
    Done,
    Absent(DownloadError),
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

fn absent(error: DownloadError, origin: &Origin) -> Result<Got> {
    if error.is_absence() { Ok(Got::Absent(error)) } else { Err(error.from_origin(origin)) }
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
