use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::sftp::{Folder, serve};

/// Serve a folder by SFTP on standard input and output, as a machine would be served: for tests and benchmarks
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    folder: PathBuf,
    #[arg(long)]
    read_only: bool,
}

pub(super) fn run(args: &Serve) -> Result<ExitCode> {
    let folder = Folder::open(&args.folder, args.read_only)
        .map_err(|error| Error::failure(format!("`{}`: {error}", args.folder.display())))?;
    serve(&folder, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}
