use std::process::ExitCode;

use crate::error::Result;
use crate::project;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Example:
  mvm schema > mvm.schema.json           and `#:schema ./mvm.schema.json` as the first line of mvm.toml";

/// Print the JSON schema of mvm.toml, by which editors complete and check it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Schema {}

pub fn run(ui: &mut Ui) -> Result<ExitCode> {
    ui.data(serde_json::to_string_pretty(&project::schema())?);
    Ok(ExitCode::SUCCESS)
}
