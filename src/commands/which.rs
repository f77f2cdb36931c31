//! The machine that a command is about, named or not.

use super::Context;
use crate::config::DEFAULT_MACHINE;
use crate::error::{Error, Result};
use crate::microvm::MachineName;

/// A machine's name that may be left out.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// The machine's name: a-z, 0-9 and hyphens [default: the one of mvm.toml in this folder or above, else `default`]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
}

impl Which {
    pub(super) fn name(&self, context: &mut Context<'_>) -> Result<MachineName> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        match context.project()? {
            Some(project) => project.meant().cloned(),
            None => DEFAULT_MACHINE.parse().map_err(Error::failure),
        }
    }
}
