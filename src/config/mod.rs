//! Settings, resolved once: flags, then the environment, then the project's mvm.toml (src/project), then config.toml, then
//! defaults; and the constants.

mod mirror;
mod network;

use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use mirror::{Mirror, Origin};
pub use network::{Network, Proxies};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::linux::Transport;
use crate::microvm::{DiskSize, Idle, ImageName, Memory, UserName, VmmChoice};
use crate::{suggest, version};

/// The machine that is meant when none is named.
pub const DEFAULT_MACHINE: &str = "default";
/// With KVM.
pub const DEFAULT_CPUS: u8 = 2;
pub const DEFAULT_MEMORY_MIB: u32 = 1024;
pub const DEFAULT_DISK_BYTES: u64 = 10 << 30;
/// How many a machine may have.
pub const CPUS: RangeInclusive<i64> = 1..=32;

/// Where microVMs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// On this Linux host itself.
    Native,
    /// In the Lima VM `mvm`.
    Lima,
}

impl Host {
    /// As `--host` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Lima => "lima",
        }
    }
}

/// The file `config.toml`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Of this file's form; without it, that of today.
    pub version: Option<u64>,
    pub host: Option<Host>,
    pub machine: MachineDefaults,
    pub mirror: Mirror,
    pub lima: Lima,
    pub network: network::NetworkFile,
}

/// `[lima]`: what the Lima VM gets when it is created, and how mvm talks to it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lima {
    pub cpus: Option<u8>,
    pub memory: Option<Memory>,
    pub disk: Option<DiskSize>,
    /// A cloud image of Ubuntu or Debian: a path or an address.
    pub image: Option<String>,
    pub transport: Transport,
}

/// `[machine]`: what a new machine gets when no flag says otherwise.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineDefaults {
    pub image: Option<ImageName>,
    pub cpus: Option<u8>,
    pub memory: Option<Memory>,
    pub disk: Option<DiskSize>,
    pub vmm: Option<VmmChoice>,
    /// The user that sessions are.
    pub user: Option<UserName>,
    /// After how long without use it is suspended.
    pub idle: Option<Idle>,
}

/// What holds for this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub host: Host,
    pub machine: MachineDefaults,
    pub mirror: Mirror,
    pub lima: Lima,
    pub network: Network,
    /// Do what is asked without asking back.
    pub yes: bool,
    /// Show what would be done, and do nothing.
    pub dry_run: bool,
}

/// The flags that every command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    pub host: Option<Host>,
    pub yes: bool,
    pub dry_run: bool,
    pub offline: bool,
}

impl Settings {
    /// Reads config.toml and the environment beneath the flags.
    pub fn resolve(flags: Flags) -> Result<Self> {
        let Flags { host, yes, dry_run, offline } = flags;
        let file = read_file()?;
        if let Some(text) = checkpoint() {
            Checkpoint::parse(&text)?;
        }
        let default_host = if cfg!(target_os = "linux") { Host::Native } else { Host::Lima };
        Ok(Self {
            host: host.or(file.host).unwrap_or(default_host),
            machine: file.machine,
            mirror: file.mirror.with_environment(),
            lima: file.lima,
            network: Network::resolve(file.network, offline),
            yes,
            dry_run,
        })
    }
}

/// What the log shows (`MVM_LOG`), in the words of `tracing`.
pub fn log_filter() -> Option<String> {
    environment("MVM_LOG")
}

/// The variable that holds a secret, whatever bytes it has.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub fn secret(name: &str) -> Option<Vec<u8>> {
    std::env::var_os(name).map(OsStringExt::into_vec)
}

/// Where a test has mvm wait ([`crate::checkpoint`]).
pub fn checkpoint() -> Option<String> {
    environment("MVM_CHECKPOINT")
}

/// The terminal's kind, as the guest's ncurses knows it.
pub fn terminal() -> Option<String> {
    environment("TERM")
}

/// Lima's folder.
pub fn lima_home() -> PathBuf {
    environment("LIMA_HOME").map_or_else(|| home().join(".lima"), PathBuf::from)
}

/// Whether the user tells Lima which QEMU to start, and how.
pub fn names_qemu_for_lima() -> bool {
    environment("QEMU_SYSTEM_X86_64").is_some()
}

/// Where programs are installed that the user alone has.
pub fn user_prefix() -> PathBuf {
    home().join(".local")
}

/// mvm's own state on this host, which is no machine's: locks.
pub fn state_dir() -> PathBuf {
    environment("XDG_STATE_HOME").map_or_else(|| home().join(".local/state"), PathBuf::from).join("mvm")
}

/// The folder of this user's data, which programs share.
pub fn data_dir() -> PathBuf {
    environment("XDG_DATA_HOME").map_or_else(|| home().join(".local/share"), PathBuf::from)
}

/// The folder of this user's settings, which programs share.
pub fn config_dir() -> PathBuf {
    environment("XDG_CONFIG_HOME").map_or_else(|| home().join(".config"), PathBuf::from)
}

/// The user's shell, as its path.
pub fn shell() -> Option<String> {
    environment("SHELL")
}

/// `MVM_HOST`, for those who read no flags.
pub fn host() -> Option<Host> {
    clap::ValueEnum::from_str(&environment("MVM_HOST")?, true).ok()
}

/// Where Docker and Podman keep names and passwords for registries.
pub fn registry_credentials() -> Vec<PathBuf> {
    let docker = environment("DOCKER_CONFIG").map_or_else(|| home().join(".docker"), PathBuf::from);
    let podman = environment("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let session = environment("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("containers/auth.json"));
    let files =
        [podman, session, Some(config_dir().join("containers/auth.json")), Some(docker.join("config.json"))];
    files.into_iter().flatten().collect()
}

fn home() -> PathBuf {
    std::env::home_dir().unwrap_or_else(|| "/".into())
}

/// ssh's configuration of this user.
pub fn ssh_config_path() -> PathBuf {
    home().join(".ssh/config")
}

/// MVM_HOME, where the user has set it.
pub fn mvm_home() -> Option<String> {
    environment("MVM_HOME")
}

/// This program, by the name under which it will be found after an update, too: on PATH it is often a link.
pub fn own_program() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let real = fs_err::canonicalize(&own)?;
    let path = environment("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).map(|dir| dir.join("mvm")).filter(|file| file.is_absolute());
    Ok(named
        .into_iter()
        .find(|file| fs_err::canonicalize(file).is_ok_and(|file| file == real))
        .unwrap_or(own))
}

/// Where config.toml is.
pub fn file_path() -> Option<PathBuf> {
    if let Some(path) = environment("MVM_CONFIG") {
        return Some(path.into());
    }
    Some(config_dir().join("mvm/config.toml"))
}

fn read_file() -> Result<File> {
    let Some(path) = file_path().filter(|path| path.exists()) else {
        return Ok(File::default());
    };
    let text = fs_err::read_to_string(&path)?;
    // First of all: a newer mvm's has what this one does not know.
    if let Ok(Numbered { version }) = toml::from_str(&text) {
        version::SETTINGS
            .check(version)
            .map_err(|why| Error::usage(format!("{} cannot be used: {why}", path.display())))?;
    }
    toml::from_str(&text)
        .map_err(|error| invalid_file(&path, &error, "mend the file, or name another one in MVM_CONFIG"))
}

/// Of a file of settings, whatever else is in it.
#[derive(Deserialize)]
struct Numbered {
    version: Option<u64>,
}

/// That a file is not valid, and where; `hint` is for what is no slip of the pen.
pub fn invalid_file(path: &Path, error: &toml::de::Error, hint: &str) -> Error {
    let wrong = Error::usage(format!("{} is not valid\n{}", path.display(), error.to_string().trim_end()));
    match suggest::known_key(error.message()) {
        Some(key) => wrong.hint(format!("did you mean `{key}`?")),
        None if hint.is_empty() => wrong,
        None => wrong.hint(hint),
    }
}

/// The folder that mvm was started in.
pub fn current_dir() -> std::io::Result<PathBuf> {
    std::env::current_dir()
}

/// The project's file, where the user has named it.
pub fn project_file() -> Option<PathBuf> {
    environment("MVM_PROJECT").map(PathBuf::from)
}

/// The user who became root by `sudo`.
pub fn sudo_user() -> Option<u32> {
    environment("SUDO_UID")?.parse().ok()
}

/// An environment variable that is set to something.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_everything() {
        let file: File = toml::from_str(
            r#"
            version = 1
            host = "native"
            [machine]
            image = "debian:trixie"
            cpus = 4
            memory = "2G"
            disk = "20G"
            vmm = "qemu"
            user = "me"
            idle = "30m"
            [mirror]
            debian = "http://mirror.example/debian"
            firecracker_ci = "http://mirror.example/ci"
            [lima]
            cpus = 6
            memory = "12G"
            disk = "200G"
            image = "https://example.org/noble.img"
            transport = "limactl"
            [mirror.oci]
            "docker.io" = "http://mirror.example/docker"
            [network]
            ca_file = "/etc/ssl/company.pem"
            retries = 2
            "#,
        )
        .unwrap();
        assert_eq!(file.host, Some(Host::Native));
        assert_eq!(file.machine.memory.unwrap().mib(), 2048);
        assert_eq!(file.lima.transport, Transport::Limactl);
    }

    #[test]
    fn unknown_keys_and_bad_values_are_errors() {
        for text in [
            "machines = 1",
            "[machine]\nmemory = \"2X\"",
            "[machine]\nvmm = \"xen\"",
            "[lima]\ntransport = \"tcp\"",
        ] {
            assert!(toml::from_str::<File>(text).is_err(), "{text}");
        }
    }
}
