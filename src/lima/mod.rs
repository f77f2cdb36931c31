//! The Lima VM `mvm`, in which microVMs run where this host is no Linux, or is not to be touched.
//!
//! What is known of Lima here was read in its source, v2.0 to v2.2, and tried with v2.2.0.

mod check;
mod host;
pub mod install;
mod limactl;
mod list;
mod plan;
mod remedy;
mod repair;
mod template;

pub use check::checks;
pub use host::{Host, Nested, Os, look};
pub use limactl::{Installed, LimaError, Limactl};
pub use list::{Instance, Status};
pub use plan::{Goal, Observed, Step, plan};
pub use remedy::remedy;
pub use repair::{still_booting, strangers, verify_pids};
pub use template::{Sizes, render};

/// The instance's name. (Its sockets' paths must stay short: `list::check_home`.)
pub const NAME: &str = "mvm";

/// Whoever changes the instance has this lock: Lima has none.
pub const LOCK: &str = "lima.lock";

/// The oldest Lima that mvm knows: `limactl list --format` and the templates of 2.0.
pub const OLDEST: semver::Version = semver::Version::new(2, 0, 0);

/// The release that is installed where there is no Homebrew.
pub const PINNED: &str = "2.2.0";

/// Raised whenever `resources/scripts/lima/provision.sh` changes; a VM provisioned by an older mvm is provisioned again.
pub const PROVISION: u32 = 3;

/// Provisions the VM again, over SSH; true when it has to be restarted for it. `commands` are an administrator's.
pub fn provision(user: &str, commands: &[String]) -> crate::shell::Script<bool> {
    crate::script!("lima/provision", |answer| Ok(answer.text("RESTART") == Some("yes")))
        .as_root()
        .input("LIMA_USER", user)
        .input("PROVISION", PROVISION.to_string())
        .args(commands)
}

/// Sets the VM's clock, which stands still while the host sleeps.
pub fn set_clock(unix_seconds: u64) -> crate::shell::Script<()> {
    crate::script!("lima/clock", |_| Ok(())).as_root().input("NOW", unix_seconds.to_string())
}
