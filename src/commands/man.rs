use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man as Page;

use super::completions;
use crate::cli;
use crate::config::{self, Settings};
use crate::error::{Error, Result};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm man --install && man mvm-dev
  mvm man exec | man -l -             one page, without installing it";

/// Print a manual page, or install all of them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Man {
    /// The command: `exec`, `image ls` [default: mvm itself]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Put the pages into your own folder of manual pages
    #[arg(long, conflicts_with_all = ["command", "remove"])]
    install: bool,
    /// Take them away again
    #[arg(long, conflicts_with = "command")]
    remove: bool,
}

pub fn run(settings: &Settings, ui: &mut Ui, args: &Man) -> Result<ExitCode> {
    let mut root = cli::command();
    root.build();
    if !args.install && !args.remove {
        let mut command = &root;
        for word in &args.command {
            command = command.find_subcommand(word).ok_or_else(|| {
                Error::usage(format!("there is no command `{}`", args.command.join(" ")))
                    .hint("`mvm --help` lists them")
            })?;
        }
        ui.data(String::from_utf8_lossy(&page(command)?).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let folder = config::data_dir().join("man/man1");
    let mut pages = Vec::new();
    all(&root, &mut pages);
    let file = |command: &Command| folder.join(format!("{}.1", name(command)));
    if args.remove {
        let files: Vec<_> = pages.iter().map(|page| file(page)).collect();
        return completions::remove(settings, ui, &files);
    }
    if settings.dry_run {
        ui.data(format!("write {} pages to {}", pages.len(), folder.display()));
        return Ok(ExitCode::SUCCESS);
    }
    for command in &pages {
        completions::install(&file(command), &page(command)?)?;
    }
    ui.say(format!("{} pages are in {}: `man mvm`, `man mvm-dev`.", pages.len(), folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// A command and those below it.
fn all<'a>(command: &'a Command, pages: &mut Vec<&'a Command>) {
    pages.push(command);
    for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set())
    {
        all(below, pages);
    }
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Page::new(command.clone()).render(&mut bytes)?;
    Ok(bytes)
}
