//! docs/reliability.md: the matrix as it was run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::Cell;
use super::fault::Fault;
use super::rows::{EXCUSED_COMMANDS, EXCUSED_PLACES, ROWS};

/// How the command ended that was struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Code(i32),
    Killed,
}

impl Outcome {
    pub(super) fn of(status: ExitStatus) -> Self {
        match status.signal() {
            Some(_) => Self::Killed,
            None => Self::Code(status.code().unwrap_or(-1)),
        }
    }
}

pub(super) struct Done {
    pub(super) cell: Cell,
    /// Nothing where there was nothing to do harm to.
    pub(super) result: Result<Option<Outcome>, String>,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md")
}

const BEGIN: &str = "<!-- the matrix -->\n";
const END: &str = "<!-- end of the matrix -->\n";

fn row_name(cell: &Cell) -> String {
    format!("| `mvm {}` | {} | {} |", cell.row.command.join(" "), cell.row.from(), cell.place)
}

fn header() -> String {
    let titles: Vec<_> = Fault::ALL.iter().map(|fault| fault.title()).collect();
    format!(
        "| command | from | at | {} |\n|---|---|---|{}\n",
        titles.join(" | "),
        "---|".repeat(titles.len())
    )
}

/// Puts the figures of a whole run between the two marks of the file.
pub(super) fn write(done: &[Done], of: usize) {
    let mut results = BTreeMap::new();
    for done in done {
        let shown = match &done.result {
            Err(_) => "**no**".to_owned(),
            Ok(None) => "·".to_owned(),
            Ok(Some(Outcome::Killed)) => "killed".to_owned(),
            Ok(Some(Outcome::Code(code))) => code.to_string(),
        };
        results.insert((row_name(&done.cell), done.cell.fault), shown);
    }
    let count = |is: fn(&Result<Option<Outcome>, String>) -> bool| {
        done.iter().filter(|done| is(&done.result)).count()
    };
    let said = |words: &[&str]| {
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let mut text = String::new();
    writeln!(
        text,
        "mvm {}, {}, Linux {}. Of {} cells {} were tried in this run; after {} of them all of the above held. In {} there was \
         nothing to do harm to (`·`), and those without a word were not tried in it.\n",
        env!("CARGO_PKG_VERSION"),
        said(&["date", "+%Y-%m-%d"]),
        said(&["uname", "-r"]),
        of,
        done.len() - count(|result| matches!(result, Ok(None))),
        count(|result| matches!(result, Ok(Some(_)))),
        count(|result| matches!(result, Ok(None))),
    )
    .unwrap();
    text += &header();
    for row in ROWS {
        for place in row.places {
            let name = row_name(&Cell { row, place, fault: Fault::MvmKilled });
            text += &name;
            for fault in Fault::ALL {
                write!(text, " {} |", results.get(&(name.clone(), fault)).map_or("", String::as_str))
                    .unwrap();
            }
            text += "\n";
        }
    }
    for (title, list) in [("Places", EXCUSED_PLACES), ("Commands", EXCUSED_COMMANDS)] {
        writeln!(text, "\n{title} that are not in it:\n").unwrap();
        for (name, why) in list {
            writeln!(text, "- `{name}`: {why}").unwrap();
        }
    }
    let old = fs_err::read_to_string(path()).unwrap();
    let (before, rest) = old.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    fs_err::write(path(), format!("{before}{BEGIN}\n{text}\n{END}{after}")).unwrap();
}

/// The file has the rows and columns of this matrix, and no cell that failed.
pub(super) fn is_of(cells: &[Cell]) {
    let text = fs_err::read_to_string(path()).unwrap();
    assert!(text.contains(&header()), "docs/reliability.md has other columns: see tests/it/matrix");
    for cell in cells {
        assert!(text.contains(&row_name(cell)), "docs/reliability.md lacks {}", cell.name());
    }
    let rows: usize = ROWS.iter().map(|row| row.places.len()).sum();
    assert_eq!(text.lines().filter(|line| line.starts_with("| `mvm ")).count(), rows);
    assert!(!text.contains("**no**"), "docs/reliability.md has cells that failed");
}
