//! `mvm doctor --fix`: what it names is mended, by what setup does and what gc does.

use std::os::unix::fs::PermissionsExt;

use crate::environment::TestHost;

fn host() -> TestHost {
    let host = TestHost::bare().fake_administration();
    host.write("home/suites", "");
    host
}

#[test]
fn what_can_be_mended_is_mended_and_the_rest_told_with_its_command() {
    let host = host();
    for name in ["web", "torn"] {
        host.machine(name);
    }
    assert_eq!(host.mvm_as_is(&["ssh-config", "web"]).code, 0);
    let key = host.path("home/.local/state/mvm/ssh/web/id_ed25519");
    fs_err::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    host.write("home/mvm/machines/torn/vm.json", "{");
    host.write("home/mvm/machines/.lost.new/disk.img", "x");
    host.write("home/mvm/images/cut/image.json", "{");

    let shown = host.mvm_as_is(&["doctor"]);
    for text in [
        "remedy: mvm gc",
        "keys of web",
        "remedy: mvm ssh-config web",
        "machine torn",
        "remedy: mvm destroy torn",
        "remedy: mvm image rm cut",
    ] {
        assert!(shown.stdout.contains(text), "{text}: {shown}");
    }
    assert!(shown.stderr.contains("mvm doctor --fix"), "{shown}");
    assert_eq!(fs_err::metadata(&key).unwrap().permissions().mode() & 0o777, 0o644);

    // Neither asked nor told to, it does nothing; nor in a dry run, which tells.
    assert_eq!(host.mvm_as_is(&["doctor", "--fix"]).code, 2);
    let dry = host.mvm_as_is(&["doctor", "--fix", "--dry-run"]);
    assert!(
        dry.code == 0 && dry.stdout.contains("as root: install") && dry.stdout.contains("left over"),
        "{dry}"
    );
    assert!(!host.log().contains("install -y") && host.path("home/mvm/machines/.lost.new").exists());

    let fixed = host.mvm_as_is(&["doctor", "--fix", "--yes"]);
    assert!(!host.path("home/mvm/machines/.lost.new").exists(), "{fixed}");
    assert_eq!(fs_err::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{fixed}");
    assert!(host.log().contains("install -y --no-install-recommends"), "{}", host.log());
    // The fakes install nothing, and what only its owner may decide is left to him.
    assert_eq!(fixed.code, 1, "{fixed}");
    for text in ["left over          none", "remedy: mvm destroy torn", "remedy: sudo apt-get install"] {
        assert!(fixed.stdout.contains(text), "{text}: {fixed}");
    }
    assert!(!fixed.stdout.contains("keys of web"), "{fixed}");
    assert!(host.path("home/mvm/machines/torn").exists() && host.path("home/mvm/images/cut").exists());
}

#[test]
fn without_rights_the_rest_is_mended_and_the_command_printed() {
    let host = host();
    host.write("home/no-sudo", "");
    host.write("home/mvm/machines/.lost.gone/disk.img", "x");
    host.open("home/mvm/machines");
    host.open("home/mvm");
    host.open("home/mvm/machines/.lost.gone");
    let seen = host.mvm(&["doctor", "--fix", "--yes"]);
    assert_eq!(seen.code, 3, "{seen}");
    assert!(
        seen.stderr.contains("sudo apt-get update") && seen.stderr.contains("same command again"),
        "{seen}"
    );
    assert!(!host.path("home/mvm/machines/.lost.gone").exists(), "{seen}");
}
