//! The image `ubuntu`: the kernel and the root filesystem of Firecracker's CI, as they are.

mod listing;

use self::listing::{Page, folders, newest};
use super::check_squashfs;
use super::kernel::{self, Format};
use crate::config::Origin;
use crate::download::{DownloadError, Downloads, Fetched, OnEvent, Size, Wanted};
use crate::error::{Error, Result};
use crate::http::HttpError;
use crate::script;
use crate::shell::Script;
use crate::version;

/// Free space the image needs, in bytes.
pub const SPACE_NEEDED: u64 = 512 << 20;

/// Keys that are known to have been there, asked for first: what is named so does not change.
const KNOWN: (&str, &str, &str) = ("firecracker-ci/v1.15/", "6.1.155", "24.04");
/// More folders than a newest one that is not complete yet.
const FOLDERS: usize = 8;
/// A thousand entries each.
const PAGES: usize = 20;
const LARGEST_KERNEL: u64 = 512 << 20;
const LARGEST_BASE: u64 = 4 << 30;

/// A kernel and a root filesystem of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys {
    kernel: String,
    kernel_version: String,
    base: String,
    release: String,
}

impl Keys {
    fn known(arch: &str) -> Self {
        let (folder, kernel, release) = KNOWN;
        Self {
            kernel: format!("{folder}{arch}/vmlinux-{kernel}"),
            kernel_version: kernel.to_owned(),
            base: format!("{folder}{arch}/ubuntu-{release}.squashfs"),
            release: release.to_owned(),
        }
    }
}

/// The image's files on this side, verified to be what they are called.
#[derive(Debug)]
pub struct Files {
    keys: Keys,
    kernel: Fetched,
    base: Fetched,
}

/// Why there are none.
#[derive(Debug)]
pub enum Trouble {
    /// They are not to be had here and now.
    Absent(Error),
    /// Something is there, and is wrong.
    Wrong(Error),
}

/// Fetches the files: by their known names, else the newest that the bucket lists.
pub fn fetch(
    downloads: &Downloads,
    origin: &Origin,
    arch: &str,
    on_event: OnEvent<'_>,
) -> std::result::Result<Files, Trouble> {
    let known = Keys::known(arch);
    match fetch_keys(downloads, origin, known, on_event) {
        Ok(files) => return check(files, arch, origin).map_err(Trouble::Wrong),
        Err(DownloadError::Http(HttpError::Status { .. })) => {}
        Err(error) => return Err(trouble(error, origin)),
    }
    let keys = find(downloads, origin, arch, on_event).map_err(|error| trouble(error, origin))?;
    let Some(keys) = keys else {
        return Err(Trouble::Absent(
            Error::failure(format!(
                "{} lists no kernel and Ubuntu for {arch} in any layout that mvm knows",
                origin.base
            ))
            .hint(format!("name another place in {}", origin.setting())),
        ));
    };
    let files = fetch_keys(downloads, origin, keys, on_event).map_err(|error| trouble(error, origin))?;
    check(files, arch, origin).map_err(Trouble::Wrong)
}

fn trouble(error: DownloadError, origin: &Origin) -> Trouble {
    let kind = if error.is_absence() { Trouble::Absent } else { Trouble::Wrong };
    kind(error.from_origin(origin))
}

fn fetch_keys(
    downloads: &Downloads,
    origin: &Origin,
    keys: Keys,
    on_event: OnEvent<'_>,
) -> std::result::Result<Files, DownloadError> {
    let mut fetch = |what: &str, key: &str, largest| {
        let url = origin.url(key);
        let wanted = Wanted { what, url: &url, headers: &[], sha256: None, size: Size::AtMost(largest) };
        downloads.fetch_pinned(&wanted, on_event)
    };
    let kernel = fetch(&format!("Linux {}", keys.kernel_version), &keys.kernel, LARGEST_KERNEL)?;
    let base = fetch(&format!("Ubuntu {}", keys.release), &keys.base, LARGEST_BASE)?;
    Ok(Files { keys, kernel, base })
}

/// The newest kernel and root filesystem of the newest folder that has both.
fn find(
    downloads: &Downloads,
    origin: &Origin,
    arch: &str,
    on_event: OnEvent<'_>,
) -> std::result::Result<Option<Keys>, DownloadError> {
    let top = list(downloads, origin, "firecracker-ci/", "&delimiter=/", on_event)?;
    for folder in folders(&top.prefixes).into_iter().take(FOLDERS) {
        let kernels = list(downloads, origin, &format!("{folder}{arch}/vmlinux-"), "", on_event)?;
        let Some((kernel, version)) = newest(&kernels.keys, "vmlinux-", 3, "") else { continue };
        let bases = list(downloads, origin, &format!("{folder}{arch}/ubuntu-"), "", on_event)?;
        let Some((base, release)) = newest(&bases.keys, "ubuntu-", 2, ".squashfs") else { continue };
        let [kernel, kernel_version, base, release] = [kernel, version, base, release].map(str::to_owned);
        return Ok(Some(Keys { kernel, kernel_version, base, release }));
    }
    Ok(None)
}

/// All pages of a listing.
fn list(
    downloads: &Downloads,
    origin: &Origin,
    prefix: &str,
    more: &str,
    on_event: OnEvent<'_>,
) -> std::result::Result<Page, DownloadError> {
    let mut all = Page::default();
    for _ in 0..PAGES {
        let mut url = format!("{}?list-type=2&prefix={prefix}{more}", origin.base);
        if let Some(token) = &all.next {
            url.push_str("&continuation-token=");
            url.extend(token.bytes().map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            }));
        }
        let page = Page::parse(&downloads.text(&url, false, on_event)?);
        all.keys.extend(page.keys);
        all.prefixes.extend(page.prefixes);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    Ok(all)
}

/// Whether the files are what they are called: no error page, nothing cut off.
fn check(files: Files, arch: &str, origin: &Origin) -> Result<Files> {
    let wrong = |key: &str, why: String| {
        Error::failure(format!("{} cannot be used: {why}", origin.url(key)))
            .hint(format!("name another place in {}", origin.setting()))
    };
    let kernel = kernel::recognise(&files.kernel.path).and_then(|kernel| kernel.for_arch(arch));
    match kernel {
        // The kernels of Firecracker's CI carry their configuration (its ci.config).
        Ok(Format::Elf | Format::Arm64Image) => kernel::own(&files.kernel.path, arch).map(drop),
        Ok(Format::BzImage) => Err("it is a bzImage".to_owned()),
        Err(why) => Err(why),
    }
    .map_err(|why| wrong(&files.keys.kernel, why))?;
    check_squashfs(&files.base.path).map_err(|why| wrong(&files.keys.base, why))?;
    Ok(files)
}

impl Files {
    /// Sends the kernel and the base to the Linux side, one after the other.
    pub fn send(&self) -> [Script<()>; 2] {
        let receive = |name: &str, file: &Fetched| {
            script!("image/receive" with ["cell/lib", "image/lib"], |_| Ok(()))
                .input("FILE", name)
                .input("SHA256", file.sha256.to_string())
                .payload(file.path.clone())
        };
        [receive("kernel", &self.kernel), receive("base", &self.base)]
    }

    /// Makes the image of what was sent; its answer is the image's id.
    pub fn make(&self) -> Script<String> {
        script!("image/ubuntu" with ["cell/lib", "image/lib"], |answer| answer.get("ID"))
            .input("VERSION", version::IMAGE.version.to_string())
            .input("KERNEL_SHA256", self.kernel.sha256.to_string())
            .input("BASE_SHA256", self.base.sha256.to_string())
            .input("KERNEL_KEY", &self.keys.kernel)
            .input("BASE_KEY", &self.keys.base)
            .input("KERNEL_VERSION", &self.keys.kernel_version)
            .input("RELEASE", &self.keys.release)
    }

    /// `Ubuntu 24.04 with Linux 6.1.155`
    pub fn describe(&self) -> String {
        format!("Ubuntu {} with Linux {}", self.keys.release, self.keys.kernel_version)
    }
}
