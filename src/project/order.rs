//! The order in which a project's machines start.

use super::Declared;
use crate::suggest::closest;

/// Each machine after those that it depends on, else by name; or what is wrong, and what helps.
pub(super) fn sorted(mut machines: Vec<Declared>) -> Result<Vec<Declared>, (String, String)> {
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    for machine in &machines {
        for needed in &machine.depends_on {
            if !machines.iter().any(|other| other.name == *needed) {
                let names = machines.iter().map(|other| other.name.as_str());
                let hint = match closest(needed.as_str(), names.clone()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None => format!("the file has {}", names.collect::<Vec<_>>().join(", ")),
                };
                return Err((
                    format!("the machine `{}` depends on `{needed}`, which is not in the file", machine.name),
                    hint,
                ));
            }
        }
    }
    let mut sorted: Vec<Declared> = Vec::with_capacity(machines.len());
    while !machines.is_empty() {
        let ready = machines.iter().position(|machine| {
            machine.depends_on.iter().all(|needed| sorted.iter().any(|other| other.name == *needed))
        });
        match ready {
            Some(index) => sorted.push(machines.remove(index)),
            None => {
                return Err((
                    format!("machines depend on each other: {}", cycle(&machines)),
                    "take one of these out of its `depends_on`".to_owned(),
                ));
            }
        }
    }
    Ok(sorted)
}

/// A circle among machines each of which waits for another one: `a → b → a`.
fn cycle(waiting: &[Declared]) -> String {
    let mut path = vec![&waiting[0]];
    loop {
        let last = path[path.len() - 1];
        let next = waiting.iter().find(|machine| last.depends_on.contains(&machine.name)).unwrap_or(last);
        let seen = path.iter().position(|machine| machine.name == next.name);
        path.push(next);
        if let Some(start) = seen {
            let names: Vec<_> = path[start..].iter().map(|machine| machine.name.as_str()).collect();
            return names.join(" → ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microvm::Changes;

    /// `web: db cache`
    fn machines(lines: &[&str]) -> Vec<Declared> {
        let machine = |line: &&str| {
            let (name, needed) = line.split_once(':').unwrap_or((line, ""));
            Declared {
                name: name.parse().unwrap(),
                changes: Changes::default(),
                provision: Vec::new(),
                depends_on: needed.split_whitespace().map(|name| name.parse().unwrap()).collect(),
            }
        };
        lines.iter().map(machine).collect()
    }

    fn order(lines: &[&str]) -> String {
        match sorted(machines(lines)) {
            Ok(sorted) => sorted.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>().join(" "),
            Err((what, hint)) => format!("{what} | {hint}"),
        }
    }

    #[test]
    fn each_comes_after_what_it_needs() {
        for (lines, expected) in [
            (&["b", "a"][..], "a b"),
            (&["a: b", "b"], "b a"),
            (&["web: db cache", "db: disk", "cache", "disk"], "cache disk db web"),
            (&["a: c", "b: c", "c"], "c a b"),
        ] {
            assert_eq!(order(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_ordered_is_named() {
        for (lines, expected) in [
            (&["a: a"][..], "each other: a → a |"),
            (&["a: b", "b: c", "c: a", "d"], "each other: a → b → c → a |"),
            // The circle alone, not what waits for it.
            (&["a: b", "b: c", "c: b"], "each other: b → c → b |"),
            (&["web: dbb", "db"], "`web` depends on `dbb`, which is not in the file | did you mean `db`?"),
            (&["web: postgres", "db"], "the file has db, web"),
        ] {
            assert!(order(lines).contains(expected), "{lines:?}: {}", order(lines));
        }
    }
}
