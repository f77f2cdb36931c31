//! `mvm ssh-config` where there are no machines yet: ssh's configuration is the user's.

use std::os::unix::fs::PermissionsExt;

use crate::environment::TestHost;

const OWN: &str = "Host example\n  Port 22\n";

fn host() -> TestHost {
    let host = TestHost::bare();
    host.write("home/.ssh/config", OWN);
    host.open("home/.ssh");
    fs_err::set_permissions(host.path("home/.ssh/config"), PermissionsExt::from_mode(0o666)).unwrap();
    host
}

fn config(host: &TestHost) -> String {
    fs_err::read_to_string(host.path("home/.ssh/config")).unwrap()
}

#[test]
fn one_line_comes_once_and_goes_again() {
    let host = host();
    for _ in 0..2 {
        let shown = host.mvm(&["ssh-config", "--install"]);
        assert_eq!(shown.code, 0, "{shown}");
        let line = format!("Include {}/*/config\n", host.path("home/.local/state/mvm/ssh").display());
        assert_eq!(config(&host), format!("{line}{OWN}"), "{shown}");
    }
    for said in ["is as it was", "did not include"] {
        let shown = host.mvm(&["ssh-config", "--remove"]);
        assert!(shown.code == 0 && shown.stderr.contains(said), "{shown}");
        assert_eq!(config(&host), OWN);
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let host = host();
    for flag in ["--install", "--remove"] {
        let shown = host.mvm(&["ssh-config", flag, "--dry-run"]);
        assert!(shown.code == 0 && shown.stdout.contains("Include"), "{shown}");
    }
    assert_eq!(config(&host), OWN);
}

#[test]
fn a_file_that_cannot_be_changed_is_the_users_to_change() {
    let host = host();
    // A folder in its place: root may write everything else.
    fs_err::remove_file(host.path("home/.ssh/config")).unwrap();
    fs_err::create_dir(host.path("home/.ssh/config")).unwrap();
    let shown = host.mvm(&["ssh-config", "--install"]);
    assert!(shown.code == 1 && shown.stderr.contains("Include"), "{shown}");
}

#[test]
fn machines_that_are_not_there() {
    let shown = host().mvm(&["ssh-config", "web"]);
    assert!(shown.code == 1 && shown.stderr.contains("there is no machine `web`"), "{shown}");
    let shown = host().mvm(&["ssh-config"]);
    assert!(shown.code == 0 && shown.stdout.is_empty(), "{shown}");
    let shown = host().mvm(&["proxy", "web"]);
    assert!(
        shown.code == 1 && shown.stdout.is_empty() && shown.stderr.contains("no machine `web`"),
        "{shown}"
    );
}
