//! Nothing stays.

use super::host::{Lima, instance};
use crate::common::process::{lives, wait_until};

pub(super) fn destroy_all_leaves_nothing(lima: &Lima) {
    lima.ok(&["setup", "--yes"]);
    let seen = lima.mvm(&["destroy", "--all"]);
    assert_eq!(seen.code, 2, "without a terminal it needs --yes: {seen}");
    let pids = ["ha", "qemu"].map(|of| lima.pid(of));
    lima.ok(&["destroy", "--all", "--yes"]);
    assert!(!instance().exists());
    // Lima kills them, and does not wait.
    wait_until("the end of Lima's processes", || pids.iter().all(|pid| !lives(*pid)));
    assert_eq!(lima.limactl(&["list", "--quiet"]).stdout, "");
    // And a second time.
    lima.ok(&["destroy", "--all", "--yes"]);
    let seen = lima.ok(&["status"]);
    assert!(seen.stdout.contains("mvm dev"), "{seen}");
}
