//! Secrets on the host's side: what is refused before anything is started, and that no value is told.

use crate::environment::TestHost;

const VALUE: &str = "hunter2-of-this-test";

#[test]
fn what_cannot_be_read_is_told_before_anything_is_started() {
    let host = TestHost::bare();
    host.machine("web");
    host.write("token", VALUE);
    host.write("large", &"x".repeat((1 << 20) + 1));
    for (args, why) in [
        (&["dev", "web", "--secret", "NOT_SET_ANYWHERE"][..], "NOT_SET_ANYWHERE is not in the environment"),
        (&["start", "web", "--secret", "A=none"], "none"),
        (&["start", "web", "--secret", "A=large"], "more than 1 MiB"),
        (&["run", "--secret", "A=-", "--", "true"], "standard input is the command's"),
        (&["exec", "-i", "--secret", "A=-", "web", "--", "true"], "standard input is the command's"),
        (&["dev", "web", "--secret", "A=-", "--", "true"], "standard input is the command's"),
        (&["exec", "--secret", "A=-", "--secret", "B=-", "web", "--", "true"], "one secret, not two"),
        (&["exec", "--secret", "A=token", "--secret", "A=token", "web", "--", "true"], "given twice"),
        (&["exec", "--secret", "A-B=token", "web", "--", "true"], "letters, digits and `_`"),
    ] {
        let seen = host.mvm_as_is(args);
        assert!(seen.code != 0 && seen.stderr.contains(why), "{args:?}: {seen}");
        assert!(!seen.stderr.contains(VALUE), "{seen}");
    }
    assert!(!host.path("home/mvm/machines/web/events.log").exists());
}

#[test]
fn a_value_is_in_no_trace_and_no_file() {
    let host = TestHost::bare();
    host.machine("web");
    host.write("token", VALUE);
    let seen = host.mvm_traced(&["--verbose", "exec", "--secret", "TOKEN=token", "web", "--", "true"]);
    // The machine does not run; how it would have been reached is in the trace.
    assert_eq!(seen.code, 4, "{seen}");
    assert!(seen.stderr.contains("mvm-secrets") || seen.stderr.contains("NAME=web"), "{seen}");
    assert!(!seen.stderr.contains(VALUE) && !seen.stdout.contains(VALUE), "{seen}");
    let found = std::process::Command::new("grep")
        .args(["-r", "-l", VALUE])
        .args(["home", "config"].map(|folder| host.path(folder)))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn a_project_names_secrets_and_has_none() {
    let host = TestHost::bare();
    host.write("src/app/mvm.toml", "secrets = [\"NOT_SET_ANYWHERE\"]\n");
    let seen = host.mvm_in("src/app", &["dev"]);
    assert!(seen.code == 2 && seen.stderr.contains("NOT_SET_ANYWHERE is not in the environment"), "{seen}");
    let seen = host.mvm_in("src/app", &["dev", "--dry-run"]);
    assert!(seen.code == 0 && seen.stdout.contains("hand over the secret NOT_SET_ANYWHERE"), "{seen}");
    // A file's path is seen from the file.
    host.write("src/app/mvm.toml", "secrets = [\"TOKEN=token\"]\n");
    let seen = host.mvm_in("src", &["ls"]);
    assert_eq!(seen.code, 0, "{seen}");
    fs_err::create_dir_all(host.path("src/app/deep")).unwrap();
    let seen = host.mvm_in("src/app/deep", &["up"]);
    assert!(seen.stderr.contains("[HOST]/src/app/token"), "{seen}");
    for (text, why) in
        [("secrets = [\"A=-\"]", "has no standard input"), ("secrets = [\"A-B\"]", "letters, digits")]
    {
        host.write("src/app/mvm.toml", text);
        let seen = host.mvm_in("src/app", &["dev"]);
        assert!(seen.code == 2 && seen.stderr.contains(why), "{seen}");
    }
}
