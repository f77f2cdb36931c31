//! The form of `mvm.toml`. What can be given by a flag is read by the flag's own type.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::{Declared, FILE, provision};
use crate::config::{self, CPUS};
use crate::error::{Error, Result};
use crate::microvm::{
    Changes, DiskSize, Environment, Idle, ImageName, MachineName, Memory, MountSpec, Policy, Port,
    SecretSource, UserName, VmmChoice,
};

/// One machine, or several by their names.
#[derive(JsonSchema)]
#[schemars(untagged, title = "mvm.toml", description = "The machines of a project (mvm)")]
#[expect(dead_code, reason = "which of the two a file is decides how it is read; this is for the schema")]
enum File {
    One(Box<Machine>),
    Several(Several),
}

/// Several machines
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Several {
    /// The machine that commands mean when none is named
    #[serde(default, deserialize_with = "by_text")]
    #[schemars(with = "Option<String>")]
    default: Option<MachineName>,
    /// The machines: `[machines.NAME]`
    #[schemars(with = "BTreeMap<String, Machine>")]
    machines: BTreeMap<MachineName, Machine>,
}

/// A machine
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Machine {
    /// The machine's name: 1 to 31 of a-z, 0-9 and hyphens; by default that of the file's folder. With several machines it is
    /// the table's
    #[serde(deserialize_with = "by_text")]
    #[schemars(with = "Option<String>", regex(pattern = "^[a-z0-9][a-z0-9-]{0,30}$"))]
    name: Option<MachineName>,
    /// What it is made from: `ubuntu`, `debian`, `debian:trixie`, an image of a registry such as
    /// `docker.io/library/python:3.12`, or an imported one
    #[serde(deserialize_with = "by_text")]
    #[schemars(with = "Option<String>", example = "docker.io/library/python:3.12")]
    image: Option<ImageName>,
    /// Virtual CPUs
    #[serde(deserialize_with = "cpus")]
    #[schemars(range(min = 1, max = 32))]
    cpus: Option<u8>,
    /// Memory, such as `512M` or `2G`; at least `128M`
    #[serde(deserialize_with = "by_text")]
    #[schemars(with = "Option<String>", example = "1G")]
    memory: Option<Memory>,
    /// What its own disk may grow to, such as `20G`; it can be raised later
    #[serde(deserialize_with = "by_text")]
    #[schemars(with = "Option<String>", example = "20G")]
    disk: Option<DiskSize>,
    /// What runs it: `auto`, `firecracker` or `qemu`
    vmm: Option<VmmChoice>,
    /// Ports of it that are published on the host: `[HOSTADDR:]HOSTPORT:GUESTPORT[/tcp|udp]`, such as `8000:8000`
    #[schemars(with = "Option<Vec<String>>")]
    ports: Option<Vec<Port>>,
    /// Folders of the host that it shares: `HOST:GUEST[:ro]`, such as `.:/work`; relative ones are relative to this file
    #[schemars(with = "Option<Vec<String>>")]
    mounts: Option<Vec<MountSpec>>,
    /// Environment variables of all sessions in it
    env: Environment,
    /// Secrets for its memory, as /run/secrets/NAME: `NAME` is the variable of that name on the host, `NAME=FILE` a file. Their values
    /// are never in this file
    #[serde(deserialize_with = "secrets")]
    #[schemars(with = "Vec<String>")]
    secrets: Vec<SecretSource>,
    /// The user that sessions in it are, made with sudo where it is missing; root without it
    #[serde(deserialize_with = "by_text")]
    #[schemars(with = "Option<String>")]
    user: Option<UserName>,
    /// After how long it is suspended by itself when nobody is connected, such as `30m`; `off` for never
    #[serde(deserialize_with = "by_text")]
    #[schemars(with = "Option<String>", example = "30m")]
    idle: Option<Idle>,
    /// What it may reach: `open`, `none`, `learn`, or `allow=` and a list such as `allow=example.org,10.1.0.0/16:443`
    #[serde(deserialize_with = "by_text")]
    #[schemars(with = "Option<String>", example = "allow=example.org,10.1.0.0/16:443")]
    net: Option<Policy>,
    /// What makes a new machine ready, in this order, once: lines for its shell, or scripts of the project
    provision: Vec<provision::Source>,
    /// The machines that are started before this one
    #[schemars(with = "Vec<String>")]
    depends_on: Vec<MachineName>,
}

/// Reads a file's text: the machine that is meant by default, and all of them.
pub(super) fn read(path: &Path, text: &str) -> Result<(Option<MachineName>, Vec<Declared>)> {
    let wrong = |what: &str| Error::usage(format!("{}: {what}", path.display()));
    let parsed = |error: &toml::de::Error| config::invalid_file(path, error, "");
    let folder = path.parent().unwrap_or(path);
    // Which of the two forms it has.
    let table: toml::Table = toml::from_str(text).map_err(|error| parsed(&error))?;
    if table.contains_key("machines") {
        let Several { default, machines } = toml::from_str(text).map_err(|error| match error.message() {
            message if message.starts_with("unknown field") => config::invalid_file(
                path,
                &error,
                "where there are `[machines.NAME]`, what a machine is to have stands in its table",
            ),
            _ => parsed(&error),
        })?;
        if machines.is_empty() {
            return Err(wrong("there is no machine in it").hint("begin one with `[machines.NAME]`"));
        }
        if let Some(name) = machines.iter().find_map(|(name, machine)| machine.name.as_ref().map(|_| name)) {
            return Err(wrong(&format!("`[machines.{name}]` has a `name`"))
                .hint("the table's name is the machine's: take this one out"));
        }
        if let Some(name) = default.as_ref().filter(|name| !machines.contains_key(name)) {
            let names: Vec<_> = machines.keys().map(|name| format!("`{name}`")).collect();
            return Err(wrong(&format!("`default` is `{name}`, which is not in the file"))
                .hint(format!("it has {}", names.join(", "))));
        }
        Ok((default, machines.into_iter().map(|(name, machine)| machine.declared(name, folder)).collect()))
    } else {
        let mut machine: Machine = toml::from_str(text).map_err(|error| parsed(&error))?;
        if !machine.depends_on.is_empty() {
            return Err(wrong("a machine alone has none that it could depend on")
                .hint("several machines are `[machines.NAME]` each, with `depends_on` in their tables"));
        }
        let name = match machine.name.take() {
            Some(name) => name,
            None => folder_name(path).ok_or_else(|| {
                wrong("the folder's name makes no machine's").hint("give one: `name = \"web\"`")
            })?,
        };
        Ok((None, vec![machine.declared(name, folder)]))
    }
}

impl Machine {
    fn declared(self, name: MachineName, folder: &Path) -> Declared {
        let Self {
            name: _,
            image,
            cpus,
            memory,
            disk,
            vmm,
            ports,
            mounts,
            env,
            secrets,
            user,
            idle,
            net,
            provision,
            depends_on,
        } = self;
        // A list is all there is to be; without one they are none of the file's.
        let (only_mounts, only_ports) = (mounts.is_some(), ports.is_some());
        let mounts = mounts.into_iter().flatten().map(|mount| mount.beneath(folder)).collect();
        let ports = ports.unwrap_or_default();
        let env = Some(env);
        let changes = Changes {
            image,
            cpus,
            memory,
            disk,
            vmm,
            user,
            idle,
            net,
            env,
            image_id: None,
            mounts,
            ports,
            only_mounts,
            only_ports,
        };
        let secrets = secrets.into_iter().map(|secret| secret.beneath(folder)).collect();
        Declared { name, changes, secrets, provision, depends_on }
    }
}

/// A machine's name of the folder that the file is in, with what a name cannot have replaced.
fn folder_name(path: &Path) -> Option<MachineName> {
    let folder = path.parent()?.file_name()?.to_string_lossy().to_lowercase();
    let valid = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = folder.chars().map(valid).collect();
    let name: String = name.trim_matches('-').chars().take(31).collect();
    name.trim_end_matches('-').parse().ok()
}

/// What editors know of the file's form.
pub fn schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(File);
    schema.insert("$id".to_owned(), FILE.into());
    schema
}

/// A value that stands in quotes, read as its flag is.
fn by_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(value: D) -> Result<Option<T>, D::Error> {
    struct Text;
    impl de::Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text in quotes, as the command line takes it (sizes with a unit: \"512M\", \"2G\")")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    value.deserialize_str(Text)?.parse().map(Some).map_err(de::Error::custom)
}

/// All but standard input, which is a command's.
fn secrets<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<SecretSource>, D::Error> {
    let secrets = Vec::<SecretSource>::deserialize(value)?;
    match secrets.iter().find(|secret| secret.is_standard_input()) {
        Some(secret) => Err(de::Error::custom(format!("`{}=-`: a file has no standard input", secret.name))),
        None => Ok(secrets),
    }
}

fn cpus<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u8>, D::Error> {
    let number = i64::deserialize(value)?;
    let valid = u8::try_from(number).ok().filter(|number| CPUS.contains(&i64::from(*number)));
    valid
        .map(Some)
        .ok_or_else(|| de::Error::custom(format!("a machine has {} to {} CPUs", CPUS.start(), CPUS.end())))
}
