//! Folders of the host in a machine: live in both directions, nothing beyond them, and nothing that hangs or stays.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use crate::host::{Host, all_pids, any_host, command_line, kill, lives, wait_until};

/// A folder of this host's user, as a command of theirs makes it.
fn folder(host: &Host) -> PathBuf {
    let output = host.command("mktemp").args(["-d", "/tmp/mvm share ü.XXXX"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

fn keeper(machine: &str) -> Option<u32> {
    let words = format!("mount keep {machine} ");
    all_pids().into_iter().find(|pid| command_line(*pid).ends_with(&words))
}

/// How the machine's shared folders fare.
fn states(host: &Host) -> Vec<String> {
    let listed: serde_json::Value =
        serde_json::from_str(&host.ok(&["mount", "ls", "shares", "--json"]).stdout).unwrap();
    let state = |line: &serde_json::Value| line["state"].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(state).collect()
}

#[test]
fn folders_are_shared() {
    let host = any_host();
    host.forget("shares");
    let around = folder(&host);
    let run = |line: &str| {
        let output = host.command("bash").args(["-ec", line]).current_dir(&around).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    };
    run(
        "mkdir src data; echo ours >src/file; echo secret >secret; echo data >data/file; printf x >src/$'a b\\xff'",
    );
    symlink("/etc", around.join("src/etc")).unwrap();
    symlink("../secret", around.join("src/up")).unwrap();
    let mount = |folder: &str, guest: &str| format!("{}:{guest}", around.join(folder).display());
    let (src, data) = (mount("src", "/work"), mount("data", "/srv/da ta:ro"));
    host.ok(&["start", "shares", "-d", "--mount", &src, "--mount", &data]);
    assert_eq!(states(&host), ["mounted", "mounted"]);

    both_directions(&host, &around);
    // Links are the machine's own to follow, in its own tree.
    assert_eq!(host.inside("shares", "cat /work/etc/hostname; cat /work/up || echo none"), "shares\nnone\n");
    assert!(!host.inside("shares", "cat /work/../secret /work/up 2>&1 || true").contains("secret\n"));
    // Whatever root does there, it is refused here.
    let line = "mount -o remount,rw '/srv/da ta'; echo bad > '/srv/da ta/file'; rm '/srv/da ta/file'; cat '/srv/da ta/file'";
    assert_eq!(host.inside("shares", line), "data\n");

    host.ok(&["mount", "rm", "/srv/da ta", "shares"]);
    assert_eq!(host.inside("shares", "ls -A '/srv/da ta'; grep -c ' fuse.sshfs ' /proc/mounts"), "1\n");
    host.ok(&["mount", "add", &data, "shares"]);
    assert_eq!(host.inside("shares", "cat '/srv/da ta/file'"), "data\n");
    for (words, why) in [
        (["mount", "add", &mount("none", "/x"), "shares"], "is not there"),
        (["mount", "add", &mount("data", "/work/in"), "shares"], "inside of"),
        (["mount", "rm", "/nothing", "shares"], "shares nothing"),
    ] {
        let seen = host.mvm(&words);
        assert!(seen.code != 0 && seen.stderr.contains(why), "{seen}");
    }
    unplanned_ends(&host, &around);

    // It is remembered; and missed where it is missing.
    run("mv data elsewhere");
    let seen = host.mvm(&["start", "shares", "-d"]);
    assert!(
        seen.code == 1 && seen.stderr.contains("data`") && seen.stderr.contains("mvm mount rm"),
        "{seen}"
    );
    host.ok(&["mount", "rm", "/srv/da ta", "shares"]);
    host.ok(&["start", "shares", "-d"]);
    assert_eq!(host.inside("shares", "cat /work/file"), "ours\n");
    let last = keeper("shares").unwrap();
    host.ok(&["stop", "shares", "--timeout", "60"]);
    wait_until("the keeper's end", || !lives(last));
    host.ok(&["destroy", "shares", "--yes"]);
    fs_err::remove_dir_all(around).unwrap();
}

fn both_directions(host: &Host, around: &std::path::Path) {
    let line = "cd /work && cat file && cp a* copy && mkdir -p d/e && echo theirs > d/e/f && mv d/e/f g && ln -s g h && \
                chown 33 g && chmod 751 g && touch -d @1000000000 g && stat -c '%u %a %Y' g && stat -c %u .";
    assert_eq!(host.inside("shares", line), "ours\n0 751 1000000000\n0\n");
    let made = fs_err::metadata(around.join("src/g")).unwrap();
    let user = fs_err::metadata(around).unwrap().uid();
    assert_eq!((made.uid(), made.mode() & 0o7777, made.mtime()), (user, 0o751, 1_000_000_000));
    assert_eq!(fs_err::read_to_string(around.join("src/h")).unwrap(), "theirs\n");
    assert_eq!(fs_err::read_to_string(around.join("src/copy")).unwrap(), "x");
    fs_err::write(around.join("src/g"), "changed here").unwrap();
    fs_err::write(around.join("src/new"), "new here").unwrap();
    wait_until("the host's changes", || {
        host.inside("shares", "cat /work/g /work/new 2>/dev/null || true") == "changed herenew here"
    });
}

/// A session whose server was killed comes to its end only after the next one has mounted: it takes nothing away.
fn a_late_end(host: &Host) {
    let all = |signal: &str| {
        format!(
            "for P in /proc/[0-9]*; do case $(tr '\\0' ' ' 2>/dev/null <$P/cmdline) in '/run/mvm/busybox sh /run/mvm/share '*) \
             kill -{signal} ${{P#/proc/}}; echo ${{P#/proc/}} ;; esac; done"
        )
    };
    let late = host.inside("shares", &all("STOP")).replace('\n', " ");
    let server = keeper("shares").unwrap();
    kill("KILL", server);
    wait_until("the server's end", || !lives(server));
    host.ok(&["exec", "shares", "--", "true"]);
    wait_until("another server", || keeper("shares").is_some_and(|pid| pid != server));
    wait_until("the mounts", || states(host) == ["mounted", "mounted"]);
    let mounts = "grep ' fuse.sshfs ' /proc/mounts";
    let before = host.inside("shares", mounts);
    let line = format!(
        "kill -CONT {late}; for P in {late}; do while [ -e /proc/$P/exe ]; do sleep 0.1; done; done; {mounts}"
    );
    assert_eq!(host.inside("shares", &line), before);
    assert_eq!(host.inside("shares", "cat /work/file"), "ours\n");
}

fn unplanned_ends(host: &Host, around: &std::path::Path) {
    // The machine's side ends: it is made anew.
    let first = keeper("shares").unwrap();
    host.inside("shares", "for P in /proc/[0-9]*; do [ \"$(cat $P/comm)\" != sshfs ] || kill -KILL ${P#/proc/}; done; ls /work || true");
    wait_until("the mounts", || states(host) == ["mounted", "mounted"]);
    assert_eq!(keeper("shares"), Some(first));
    // The server ends: nobody in the machine waits for it, and the next command brings another one.
    let line =
        "cd /work && echo begun > held; exec 5>>held; read -r _; echo more >&5; timeout 60 ls /work; echo $?";
    let mut session = host.mvm_command(&["exec", "-i", "shares", "--", "bash", "-c", line]);
    let mut session =
        session.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("the file", || {
        fs_err::read_to_string(around.join("src/held")).is_ok_and(|text| text == "begun\n")
    });
    kill("KILL", first);
    wait_until("the server's end", || !lives(first));
    drop(session.stdin.take());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut session.stdout.take().unwrap(), &mut said).unwrap();
    session.wait().unwrap();
    assert!(!said.contains("124"), "it hangs: {said}");
    host.ok(&["exec", "shares", "--", "true"]);
    wait_until("another server", || keeper("shares").is_some_and(|pid| pid != first));
    wait_until("the mounts", || states(host) == ["mounted", "mounted"]);
    assert_eq!(host.inside("shares", "cat /work/held"), "begun\n");
    a_late_end(host);
    // The machine ends without a word.
    host.inside("shares", "echo written > /work/last");
    let second = keeper("shares").unwrap();
    kill("KILL", host.pid("shares", "vmm"));
    wait_until("the keeper's end", || !lives(second));
    assert_eq!(fs_err::read_to_string(around.join("src/last")).unwrap(), "written\n");
    assert_eq!(states(host), ["stopped", "stopped"]);
    assert_eq!(keeper("shares"), None);
}
