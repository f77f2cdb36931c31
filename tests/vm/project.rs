//! The machines of a project, as its mvm.toml says.

use crate::host::{Host, any_host};

struct Project {
    host: Host,
    folder: tempfile::TempDir,
}

impl Project {
    fn new(host: Host) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // For the ordinary user to enter.
        fs_err::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { host, folder }
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.folder.path().join(name), text).unwrap();
    }

    fn mvm(&self, args: &[&str]) -> crate::host::Seen {
        let mut command = self.host.mvm_command(args);
        crate::host::Seen::new(args, command.current_dir(self.folder.path()).output().unwrap())
    }

    fn ok(&self, args: &[&str]) -> crate::host::Seen {
        let seen = self.mvm(args);
        assert_eq!(seen.code, 0, "{seen}");
        seen
    }
}

#[test]
fn a_project_comes_up_is_provisioned_once_and_goes_down() {
    let project = Project::new(any_host());
    for name in ["p-web", "p-db"] {
        project.host.forget(name);
    }
    let file = |memory: &str| {
        format!(
            r#"
            default = "p-web"
            [machines.p-web]
            image = "debian"
            memory = "{memory}"
            env = {{ GREETING = "say \"hi\" \\ ä", TOKEN = "s3cr3t-value" }}
            user = "me"
            depends_on = ["p-db"]
            provision = [
                "echo first >> /root/ran; id -un; echo $GREETING",
                {{ file = "setup.sh", user = "me" }},
                "test -e /home/me/file && echo third >> /root/ran",
            ]
            [machines.p-db]
            image = "debian"
            memory = "256M"
            "#
        )
    };
    project.write("mvm.toml", &file("512M"));
    project.write("setup.sh", "#!/bin/bash\necho ${BASH_VERSION:0:1}; id -un; exit 7\n");
    // The second step fails, and says so.
    let seen = project.mvm(&["up"]);
    assert_eq!(seen.code, 1, "{seen}");
    for text in [
        "root\nsay \"hi\" \\ ä\n",
        "\n5\nme\n",
        "step 2 of 3",
        "exit code 7",
        "mvm logs p-web --provision",
        "`p-db` runs",
    ] {
        assert!(seen.stderr.contains(text), "{text}: {seen}");
    }
    let place = |text: &str| seen.stderr.find(text).unwrap();
    assert!(place("Starting p-db") < place("Starting p-web"), "{seen}");
    // Mended, it goes on from there, and is not done again; the first step is not run twice.
    project.write("setup.sh", "touch ~/file\n");
    let seen = project.ok(&["up"]);
    assert!(!seen.stderr.contains("(1 of 3)") && seen.stderr.contains("(2 of 3)"), "{seen}");
    assert!(!project.ok(&["up"]).stderr.contains("Provisioning"));
    // In the project's folder the machine needs no name; sessions are its user's, with its variables.
    let seen = project.ok(&["exec", "--", "sh", "-c", "sudo cat /root/ran; id -un; echo $TOKEN"]);
    assert_eq!(seen.stdout, "first\nthird\nme\ns3cr3t-value\n", "{seen}");
    let log = project.ok(&["logs", "--provision"]).stdout;
    assert!(log.contains("step 2 of 3\n5\nme\n") && log.contains("say \"hi\""), "{log}");

    // The file against the machines.
    assert_eq!(
        project.ok(&["diff"]).stdout,
        "p-db: as the file says (running)\np-web: as the file says (running)\n"
    );
    project.write("mvm.toml", &file("600M").replace("echo third", "echo fourth"));
    let seen = project.mvm(&["diff", "p-web"]);
    assert_eq!(seen.code, 5, "{seen}");
    assert!(seen.stdout.contains("memory: 512 MiB → 600 MiB (from its next start on)"), "{seen}");
    assert!(seen.stdout.contains("provision: not done: test -e /home/me/file && echo fourth"), "{seen}");
    let seen = project.ok(&["dev", "--", "true"]);
    assert!(
        seen.stderr.contains("runs with other values than mvm.toml") && seen.stderr.contains("--provision"),
        "{seen}"
    );
    let seen = project.ok(&["dev", "--provision", "--", "sudo tail -n 1 /root/ran"]);
    assert_eq!(seen.stdout, "fourth\n", "{seen}");

    // Down in the other order; and an empty disk is provisioned anew, with the new values.
    let seen = project.ok(&["down", "--timeout", "60"]);
    assert!(seen.stderr.find("`p-web` is stopped") < seen.stderr.find("`p-db` is stopped"), "{seen}");
    project.ok(&["reset", "p-web", "--yes"]);
    let seen = project.ok(&["start", "-d"]);
    assert!(seen.stderr.contains("memory: 512 MiB → 600 MiB") && seen.stderr.contains("(1 of 3)"), "{seen}");
    assert_eq!(project.ok(&["diff", "p-web"]).stdout, "p-web: as the file says (running)\n");
    for name in ["p-web", "p-db"] {
        project.ok(&["destroy", name, "--yes"]);
    }
}
