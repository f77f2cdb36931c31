//! The commands in the order of a user's questions, for `mvm --help`; clap itself would list them in one column.

use clap::Command;
use clap::builder::{StyledStr, Styles};

const GROUPS: &[(&str, &[&str])] = &[
    ("A machine", &["dev", "run", "start", "stop", "suspend", "resume", "destroy"]),
    ("A machine as it was", &["snapshot", "undo", "fork"]),
    ("In a machine", &["ssh", "exec", "cp", "port", "net", "mount", "console"]),
    ("How machines fare", &["ls", "status", "top", "logs", "why", "verify"]),
    ("Other values for a machine", &["set", "rename", "reset"]),
    ("A project's machines (mvm.toml)", &["up", "down", "diff", "schema"]),
    ("What machines are made from", &["image"]),
    (
        "This host",
        &[
            "setup",
            "bootstrap",
            "doctor",
            "gc",
            "bench",
            "shell",
            "ssh-config",
            "proxy",
            "completions",
            "man",
        ],
    ),
];

/// mvm's command line, with its help in groups.
pub(super) fn grouped(command: Command) -> Command {
    let header = Styles::styled().get_header().to_owned();
    let groups = groups(&command);
    command.before_help(groups).help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{{before-help}}{header}Options:{header:#}\n{{options}}{{after-help}}"
    ))
}

fn groups(command: &Command) -> StyledStr {
    let styles = Styles::styled();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let width = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        text.push_str(&format!("{header}{title}:{header:#}\n"));
        for name in *names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {literal}{name:<width$}{literal:#}  {about}\n"));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_in_one_group_and_fits_a_line() {
        let command = crate::cli::command();
        let shown: Vec<_> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
        let mut listed: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        listed.sort_unstable();
        let mut names: Vec<_> = shown.iter().map(|command| command.get_name()).collect();
        names.sort_unstable();
        assert_eq!(listed, names);
        for command in shown {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() <= 85, "{}: {about}", command.get_name());
        }
    }
}
