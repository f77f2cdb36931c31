use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{self, Settings};
use crate::error::{Error, Result};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  mvm completions --install           for the shell that $SHELL names, in your own folder
  mvm completions zsh --install
  mvm completions zsh --remove
  eval \"$(mvm completions bash)\"      for this shell alone";

/// Let the shell complete commands, options, and the names of machines and images
///
/// Prints what the shell has to read, or puts it where the shell finds it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell [default: the one that $SHELL names]
    #[arg(value_enum, value_name = "SHELL")]
    shell: Option<Shell>,
    /// Put it into your own folder of completions
    #[arg(long, conflicts_with = "remove")]
    install: bool,
    /// Take it away again
    #[arg(long)]
    remove: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    /// By its program: `/bin/zsh`.
    fn of(program: &str) -> Option<Self> {
        match program.rsplit('/').next()? {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    /// What it reads. mvm itself answers, so that an update of mvm needs no new one.
    fn script(self) -> &'static str {
        match self {
            Self::Bash => "command -v mvm >/dev/null && eval \"$(COMPLETE=bash mvm)\"\n",
            Self::Zsh => {
                "#compdef mvm\n(( $+commands[mvm] )) || return\neval \"$(COMPLETE=zsh mvm)\"\n\
                 [[ -z $CURRENT ]] || _clap_dynamic_completer_mvm \"$@\"\n"
            }
            Self::Fish => "command -q mvm; and COMPLETE=fish mvm | source\n",
        }
    }

    /// Where it is looked for.
    fn file(self) -> PathBuf {
        match self {
            Self::Bash => config::data_dir().join("bash-completion/completions/mvm"),
            Self::Zsh => config::data_dir().join("zsh/site-functions/_mvm"),
            Self::Fish => config::config_dir().join("fish/completions/mvm.fish"),
        }
    }

    /// What a new shell needs besides.
    fn remark(self) -> String {
        match self {
            Self::Bash => {
                "New shells have it where the package bash-completion is installed; elsewhere put this \
                           into ~/.bashrc: eval \"$(mvm completions bash)\""
                    .to_owned()
            }
            Self::Zsh => {
                let folder = self.file();
                let folder = folder.parent().unwrap_or(&folder).display();
                format!("New shells have it where ~/.zshrc says, before `compinit`: fpath=({folder} $fpath)")
            }
            Self::Fish => "New shells have it.".to_owned(),
        }
    }
}

pub fn run(settings: &Settings, ui: &mut Ui, args: &Completions) -> Result<ExitCode> {
    let shell = args.shell.or_else(|| Shell::of(&config::shell()?)).ok_or_else(|| {
        Error::usage("$SHELL names no shell that mvm has completions for")
            .hint("name it: `mvm completions bash`")
    })?;
    if args.remove {
        return remove(settings, ui, &[shell.file()]);
    }
    if !args.install {
        ui.data(shell.script().trim_end());
    } else if settings.dry_run {
        ui.data(format!("write {}", shell.file().display()));
    } else {
        install(&shell.file(), shell.script().as_bytes())?;
        ui.say(format!("{} is there. {}", shell.file().display(), shell.remark()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes away those of the files that are there.
pub(super) fn remove(settings: &Settings, ui: &mut Ui, files: &[PathBuf]) -> Result<ExitCode> {
    let there: Vec<_> = files.iter().filter(|file| file.is_symlink() || file.exists()).collect();
    if settings.dry_run {
        for file in &there {
            ui.data(format!("remove {}", file.display()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    for file in &there {
        fs_err::remove_file(file)?;
    }
    ui.say(match there.as_slice() {
        [] => "Nothing was installed.".to_owned(),
        [file] => format!("{} is gone.", file.display()),
        [first, ..] => {
            format!("{} files are gone from {}.", there.len(), first.parent().unwrap_or(first).display())
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Writes a file of the user's: it is whole, or as it was.
pub(super) fn install(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs_err::create_dir_all(folder)?;
    let mut file =
        tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o644)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
