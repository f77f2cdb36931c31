//! The order in which a project's machines start.

use super::Declared;
use crate::microvm::MachineName;
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

/// Which machines may begin, while others come up.
pub struct Order<'a> {
    waiting: Vec<&'a Declared>,
    up: Vec<&'a MachineName>,
    failed: Vec<&'a MachineName>,
}

impl<'a> Order<'a> {
    /// `machines` has all that they depend on.
    pub fn new(machines: &[&'a Declared]) -> Self {
        Self { waiting: machines.to_vec(), up: Vec::new(), failed: Vec::new() }
    }

    /// Those whose dependencies are up, `most` of them; each is named once.
    pub fn ready(&mut self, most: usize) -> Vec<&'a Declared> {
        let up = &self.up;
        let is_ready = |machine: &&'a Declared| machine.depends_on.iter().all(|needed| up.contains(&needed));
        let ready: Vec<_> = self.waiting.iter().copied().filter(is_ready).take(most).collect();
        self.waiting.retain(|machine| !ready.iter().any(|ready| ready.name == machine.name));
        ready
    }

    /// Those that will not be ready, with what they depend on that failed; each is named once.
    pub fn blocked(&mut self) -> Vec<(&'a MachineName, &'a MachineName)> {
        let mut all = Vec::new();
        // They are sorted: those that depend on a blocked one come after it.
        let failed = &mut self.failed;
        self.waiting.retain(|machine| {
            let Some(needed) = machine.depends_on.iter().find(|needed| failed.contains(needed)) else {
                return true;
            };
            all.push((&machine.name, needed));
            failed.push(&machine.name);
            false
        });
        all
    }

    pub fn ended(&mut self, name: &'a MachineName, is_up: bool) {
        if is_up { &mut self.up } else { &mut self.failed }.push(name);
    }

    pub fn failed(&self) -> &[&'a MachineName] {
        &self.failed
    }
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
                secrets: Vec::new(),
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
    fn those_that_wait_for_nothing_begin_together() {
        let machines =
            sorted(machines(&["web: db cache", "db", "cache", "mail", "shop: web", "z: mail"])).unwrap();
        let machines: Vec<_> = machines.iter().collect();
        let mut order = Order::new(&machines);
        let names =
            |ready: Vec<&Declared>| ready.iter().map(|m| m.name.to_string()).collect::<Vec<_>>().join(" ");
        let name = |text: &str| &machines.iter().find(|machine| machine.name.as_str() == text).unwrap().name;
        assert_eq!(names(order.ready(2)), "cache db");
        assert_eq!(names(order.ready(0)), "");
        assert_eq!(names(order.ready(9)), "mail");
        order.ended(name("cache"), true);
        order.ended(name("mail"), true);
        assert_eq!(names(order.ready(9)), "z");
        order.ended(name("db"), false);
        assert_eq!(order.blocked(), [(name("web"), name("db")), (name("shop"), name("web"))]);
        order.ended(name("z"), true);
        assert!(order.ready(9).is_empty() && order.blocked().is_empty());
        assert_eq!(order.failed(), [name("db"), name("web"), name("shop")]);
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
