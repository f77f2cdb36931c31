use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use super::find;
use crate::commands::Context;
use crate::error::{Error, Result};
use crate::image;
use crate::microvm::Scope;
use crate::shell::Attached;
use crate::ui;

/// Write an image to one file, with its kernel and initrd, for `mvm image import` on another host
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// Its name, or the first digits of its id
    #[arg(value_name = "IMAGE")]
    name: String,
    /// The file to write; it must not be there yet
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(context: &mut Context<'_>, args: &Export) -> Result<ExitCode> {
    let path = &args.output;
    if path.exists() {
        return Err(Error::usage(format!("{} is there already", path.display())).hint("name another file"));
    }
    let observed = context.look(Scope { machine: None, probe: false })?;
    let image = find(&observed, &args.name)?;
    if context.settings.dry_run {
        context.ui.data(format!("write the image {} to {}", image.label(), path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let file = tempfile::NamedTempFile::new_in(folder)?;
    context.ui.step(&format!("Writing {} to {}", image.label(), path.display()));
    let call = context.linux.wrap(image::export(&observed.host.home, image));
    let child = Attached::start(&call, Stdio::null(), file.as_file().try_clone()?.into())?;
    let code = child.wait()?;
    if code != 0 {
        return Err(Error::failure(format!("the image could not be written (exit code {code})"))
            .hint("make room on both sides, then run it again"));
    }
    file.as_file().sync_all()?;
    let bytes = file.as_file().metadata()?.len();
    file.persist_noclobber(path).map_err(|error| Error::failure(error.error))?;
    context.ui.say(format!("{} has {}.", path.display(), ui::size(bytes)));
    Ok(ExitCode::SUCCESS)
}
