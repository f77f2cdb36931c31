use std::io::{BufReader, ErrorKind};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use super::find;
use crate::commands::Context;
use crate::error::{Error, Result};
use crate::image;
use crate::microvm::Scope;
use crate::shell::{Attached, skip_to_mark};
use crate::ui;

/// Bytes.
const AT_ONCE: usize = 256 << 10;

const EXAMPLES: &str = "\
Examples:
  mvm image export app -o app.tar       to be taken to a host without a network";

/// Write an image to one file, with its kernel and initrd, for `mvm image import` on another host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
    let unwritable = |error: std::io::Error| {
        Error::failure(format!("{} cannot be written: {}", path.display(), error.kind()))
            .hint("make room there, or name another file")
    };
    let file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    context.ui.step(&format!("Writing {} to {}", image.label(), path.display()));
    let call = context.linux.wrap(image::export(image).call(context.linux.is_root()));
    let mut child = Attached::start(&call, Stdio::null(), Stdio::piped())?;
    let copied = child.child.stdout.take().map_or(Ok(0), |stdout| {
        let mut stdout = BufReader::with_capacity(AT_ONCE, stdout);
        skip_to_mark(&mut stdout)?;
        std::io::copy(&mut stdout, &mut file.as_file())
    });
    if let Err(error) = copied
        && error.kind() != ErrorKind::UnexpectedEof
    {
        return Err(unwritable(error));
    }
    let code = child.wait()?;
    if code != 0 {
        return Err(Error::failure(format!("the image could not be read (exit code {code})"))
            .hint("`mvm image ls` shows what is there; run it again"));
    }
    file.as_file().sync_all().map_err(unwritable)?;
    let bytes = file.as_file().metadata()?.len();
    file.persist_noclobber(path).map_err(|error| Error::failure(error.error))?;
    context.ui.say(format!("{} has {}.", path.display(), ui::size(bytes)));
    Ok(ExitCode::SUCCESS)
}
