//! What the tests of Lima need, made by root: an ordinary user (Lima refuses root), `limactl`, and the guest that it boots.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{install, which};

/// The user who has the Lima VM.
pub(crate) const USER: &str = "mvm-lima";

/// As large as the disk that the image is made for, so that nothing has to grow.
const DISK: &str = "8G";

const LIMA: &str = "github.com/lima-vm/lima/v2";
const VERSION: &str = "v2.2.0";

pub(crate) fn home() -> PathBuf {
    Path::new("/home").join(USER)
}

/// With the images of the microVMs in `mvm_home`. Why there is nothing to test with.
pub(crate) fn run(mvm_home: &Path) -> Result<(), String> {
    if which("go").is_none() {
        return Err("there is no Go to build limactl with".to_owned());
    }
    install(&[
        ("sudo", "sudo"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("qemu-img", "qemu-utils"),
        ("mmdebstrap", "mmdebstrap"),
        ("mke2fs", "e2fsprogs"),
        ("ssh", "openssh-client"),
        ("ps", "procps"),
    ]);
    limactl()?;
    user();
    guest(&mvm_home.join("images"));
    Ok(())
}

/// Runs a command, which has to succeed; its output on both streams otherwise.
fn ok(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{command:?} failed: {}{}", text(&output.stdout), text(&output.stderr)))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testing/lima")
}

fn built() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("limactl")
}

/// Built from the pinned sources; no network, no Lima.
fn limactl() -> Result<(), String> {
    let flags = format!("-s -w -X {LIMA}/pkg/version.Version={VERSION}");
    ok(Command::new("go")
        .args(["build", "-buildvcs=false", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(built())
        .arg(format!("{LIMA}/cmd/limactl"))
        .current_dir(source())
        // Lima may want a newer Go than this one, which then fetches it.
        .env("GOTOOLCHAIN", "auto"))
}

fn user() {
    let home = home();
    let home = home.display();
    let line = format!(
        "id {USER} >/dev/null 2>&1 || useradd -m -s /bin/bash {USER}; \
         ! getent group kvm >/dev/null || usermod -aG kvm {USER}; \
         install -m 0755 '{}' {home}/mvm; install -m 0755 '{}' {home}/limactl",
        env!("CARGO_BIN_EXE_mvm"),
        built().display(),
    );
    ok(Command::new("bash").args(["-ec", &line])).unwrap();
}

/// The guest's disk, kernel and initrd, and Lima's settings that name them. The image of the microVMs is made on this host
/// by mvm and put into the guest: there it would take ten minutes.
fn guest(images: &Path) {
    let folder = home().join("guest");
    let stamp = folder.join("made-from");
    let wanted = fingerprint(images);
    if fs_err::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return;
    }
    let uid = fs_err::metadata(home()).unwrap();
    let uid = uid.uid().to_string();
    ok(Command::new(source().join("guest-image.sh"))
        .env("OUT", &folder)
        .envs([("GUEST_USER", USER), ("GUEST_UID", &uid), ("DISK", DISK)])
        .env("MICROVM_IMAGES", images))
    .unwrap();
    fs_err::write(stamp, wanted).unwrap();
}

/// What the guest is made from, in short.
fn fingerprint(images: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    for name in ["guest-image.sh", "guest-init", "lima-init.service", "lima-boot.service"] {
        fs_err::read(source().join(name)).unwrap().hash(&mut hasher);
    }
    let mut ids: Vec<_> = fs_err::read_dir(images).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    ids.sort();
    ids.hash(&mut hasher);
    (USER, DISK).hash(&mut hasher);
    format!("{:x}", hasher.finish())
}
