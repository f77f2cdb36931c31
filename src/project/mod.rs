//! `mvm.toml`: the machines of a project, as its file declares them.

pub mod diff;
mod file;
mod find;
mod order;
pub mod provision;

use std::path::{Path, PathBuf};

pub use file::schema;
pub use find::find;
pub use order::Order;

use crate::config;
use crate::error::{Error, Result};
use crate::microvm::{Changes, MachineName, SecretSource};

/// The file's name.
pub const FILE: &str = "mvm.toml";

/// A project's file, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Absolute.
    pub file: PathBuf,
    /// The one that commands mean when none is named.
    default: Option<MachineName>,
    /// Each after those that it depends on.
    pub machines: Vec<Declared>,
}

/// A machine as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub name: MachineName,
    pub changes: Changes,
    /// What is handed over at each start.
    pub secrets: Vec<SecretSource>,
    pub provision: Vec<provision::Source>,
    /// Those that are started before.
    pub depends_on: Vec<MachineName>,
}

impl Project {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(path)?;
        Self::parse(path, &text)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self> {
        let (default, machines) = file::read(path, text)?;
        let machines = order::sorted(machines)
            .map_err(|(what, hint)| Error::usage(format!("{}: {what}", path.display())).hint(hint))?;
        Ok(Self { file: path.to_owned(), default, machines })
    }

    /// What the file's relative paths are relative to.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    pub fn machine(&self, name: &MachineName) -> Option<&Declared> {
        self.machines.iter().find(|machine| machine.name == *name)
    }

    /// The machine that is meant when none is named.
    pub fn meant(&self) -> Result<&MachineName> {
        match (&self.default, &self.machines[..]) {
            (Some(name), _) => Ok(name),
            (None, [machine]) => Ok(&machine.name),
            (None, machines) => {
                let names: Vec<_> = machines.iter().map(|machine| format!("`{}`", machine.name)).collect();
                Err(Error::usage(format!(
                    "{} has several machines: name one of {}",
                    self.file.display(),
                    names.join(", ")
                ))
                .hint("`default = \"NAME\"` at the top of the file chooses one; `mvm up` starts them all"))
            }
        }
    }

    /// The machines of these names with all that they depend on, in the order in which they start; all where none is named.
    pub fn with_dependencies(&self, names: &[MachineName]) -> Result<Vec<&Declared>> {
        if names.is_empty() {
            return Ok(self.machines.iter().collect());
        }
        self.named(names)?;
        let mut wanted = names.to_vec();
        // Backwards, those that a machine depends on come after it.
        for machine in self.machines.iter().rev() {
            if wanted.contains(&machine.name) {
                wanted.extend(machine.depends_on.iter().cloned());
            }
        }
        Ok(self.machines.iter().filter(|machine| wanted.contains(&machine.name)).collect())
    }

    /// The machines of these names with all that depend on them, in the order in which they start; all where none is named.
    pub fn with_dependents(&self, names: &[MachineName]) -> Result<Vec<&Declared>> {
        let mut wanted: Vec<_> = self.named(names)?.into_iter().map(|machine| &machine.name).collect();
        for machine in &self.machines {
            if machine.depends_on.iter().any(|needed| wanted.contains(&needed)) {
                wanted.push(&machine.name);
            }
        }
        Ok(self.machines.iter().filter(|machine| wanted.contains(&&machine.name)).collect())
    }

    /// The machines of these names alone; all where none is named.
    pub fn named(&self, names: &[MachineName]) -> Result<Vec<&Declared>> {
        if let Some(name) = names.iter().find(|name| self.machine(name).is_none()) {
            return Err(self.unknown(name));
        }
        let is_meant = |machine: &&Declared| names.is_empty() || names.contains(&machine.name);
        Ok(self.machines.iter().filter(is_meant).collect())
    }

    fn unknown(&self, name: &MachineName) -> Error {
        let error = Error::usage(format!("{} has no machine `{name}`", self.file.display()));
        let names: Vec<_> = self.machines.iter().map(|machine| machine.name.as_str()).collect();
        match crate::suggest::closest(name.as_str(), names.iter().copied()) {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None => error.hint(format!("it has {}", names.join(", "))),
        }
    }
}

/// The project of the folder that mvm was started in, if it is in one.
pub fn here() -> Result<Option<Project>> {
    if let Some(path) = config::project_file() {
        return Project::load(&std::path::absolute(path)?).map(Some);
    }
    find(&config::current_dir()?)?.map(|path| Project::load(&path)).transpose()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
