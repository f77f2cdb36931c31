//! What `doctor` says of Lima on this host.

use super::limactl::Installed;
use super::plan::{self, Goal, Observed};
use super::{Nested, Os, list};
use crate::doctor::Check;

/// What the Lima VM needs of this host, found or not; and the VM itself.
pub fn checks(observed: &Observed) -> Vec<Check> {
    let host = &observed.host;
    let check =
        |name: &str, needed: bool, trouble: Option<(String, String)>, found: String, purpose: &str| {
            let (found, remedy) = match &trouble {
                Some((what, remedy)) => (what.clone(), remedy.clone()),
                None => (found, String::new()),
            };
            Check {
                name: name.to_owned(),
                ok: trouble.is_none(),
                needed,
                found,
                purpose: purpose.to_owned(),
                remedy,
            }
        };
    let lima = match &observed.installed {
        Installed::Usable(version) => {
            version.as_ref().map_or("of no release".to_owned(), ToString::to_string)
        }
        _ => String::new(),
    };
    // The plan knows the words for whatever is wrong.
    let trouble = |goal| {
        plan::plan(observed, goal).err().map(|error| (error.source.to_string(), error.hints.join("; ")))
    };
    let usable = matches!(observed.installed, Installed::Usable(_));
    let home = list::check_home(&observed.lima_home, host.os);
    let nested = match &host.nested {
        Nested::Yes => None,
        Nested::Emulated => Some("no usable KVM: the VM is emulated in software".to_owned()),
        Nested::No(why) => Some(why.clone()),
    };
    let system = match host.os {
        Os::MacOs(major, minor) => {
            format!("macOS {major}.{minor}, {}", host.chip.as_deref().unwrap_or(&host.arch))
        }
        Os::Linux => format!("Linux, {}", host.arch),
    };
    vec![
        check("host", false, None, system, "runs the Lima VM"),
        check(
            "limactl",
            true,
            if usable { None } else { trouble(Goal::Setup) },
            lima,
            "makes and runs the Linux VM that machines live in",
        ),
        check(
            "Lima's folder",
            true,
            home.err().map(|why| (why, "name a shorter folder in LIMA_HOME".to_owned())),
            observed.lima_home.display().to_string(),
            "holds the VM, and sockets with short names",
        ),
        check(
            "nested KVM",
            false,
            nested.map(|why| {
                (why, "none but another processor or system; everything works, slower".to_owned())
            }),
            "yes".to_owned(),
            "runs machines in the VM at full speed",
        ),
        check(
            "Lima VM",
            true,
            if usable {
                trouble(Goal::Enter)
            } else {
                Some((String::new(), "`mvm dev` makes it".to_owned()))
            },
            "runs".to_owned(),
            "the Linux side",
        ),
    ]
}
