use super::*;

fn instance(status: Status) -> Instance {
    Instance {
        status,
        dir: "/nowhere".into(),
        vm_type: "qemu".into(),
        cpus: 4,
        memory: 8 << 30,
        disk: 100 << 30,
        ssh_port: 60022,
        lima_version: "2.2.0".into(),
        user: "dev".into(),
        errors: vec!["host agent is running but driver is not".into()],
    }
}

fn observed(installed: Installed, instance: Option<Instance>) -> Observed {
    Observed {
        host: Host::default(),
        installed,
        instance,
        lima_home: "/home/dev/.lima".into(),
        how: How::Homebrew,
    }
}

const GOALS: [Goal; 4] = [Goal::Enter, Goal::Start, Goal::Setup, Goal::Everything];

/// What each goal's plan is, in a word a step; an error is its hint.
fn table(observed: &Observed) -> [String; 4] {
    GOALS.map(|goal| match plan(observed, goal) {
        Ok(steps) => {
            let words: Vec<_> = steps
                .iter()
                .map(|step| match step {
                    Step::Install(_) => "install",
                    Step::Create => "create",
                    Step::Start { .. } => "start",
                    Step::Repair { .. } => "repair",
                    Step::Restore => "restore",
                })
                .collect();
            words.join(" ")
        }
        Err(error) => format!("! {}", error.hints.join(" ")),
    })
}

fn usable() -> Installed {
    Installed::Usable(Some(semver::Version::new(2, 2, 0)))
}

#[test]
fn without_lima_only_dev_and_bootstrap_go_on() {
    let [enter, start, setup, everything] = table(&observed(Installed::Missing, None));
    assert_eq!(everything, "install create start");
    for refused in [enter, start, setup] {
        assert!(refused.contains("mvm bootstrap"), "{refused}");
    }
}

#[test]
fn a_lima_that_cannot_be_used_is_explained() {
    let old = table(&observed(Installed::TooOld(semver::Version::new(1, 2, 1)), None));
    assert!(old.iter().all(|cell| cell.contains("brew upgrade lima")), "{old:?}");
    for (said, remedy) in [
        ("limactl: must not run as the root user", "ordinary user"),
        ("limactl is running under rosetta, please reinstall lima with native arch", "/opt/homebrew"),
        ("Bad CPU type in executable", "reinstall"),
    ] {
        let cells = table(&observed(Installed::Refuses(said.into()), None));
        assert!(cells.iter().all(|cell| cell.contains(remedy)), "{cells:?}");
    }
}

#[test]
fn every_status_of_lima_has_its_plan() {
    let cells = |status| table(&observed(usable(), Some(instance(status))));
    assert_eq!(cells(Status::Running), ["", "", "", ""]);
    let [enter, start, ..] = table(&observed(usable(), None));
    assert!(enter.contains("mvm setup") && start.contains("mvm setup"));
    let [.., setup, everything] = table(&observed(usable(), None));
    assert_eq!([setup.as_str(), everything.as_str()], ["create start"; 2]);
    // Its folder has no disk: the creation was cut off.
    let [enter, start, setup, everything] = cells(Status::Stopped);
    assert!(enter.contains("goes on") && start.contains("goes on"));
    assert_eq!([setup, everything], ["start", "start"]);
    let [enter, start, setup, everything] = cells(Status::Broken);
    assert!(enter.contains("mvm dev"), "{enter}");
    assert_eq!([start, setup, everything], ["repair"; 3]);
    let unknown = cells(Status::Unknown(String::new()));
    assert!(unknown.iter().all(|cell| cell.contains("lima.yaml")), "{unknown:?}");
}

#[test]
fn a_stopped_vm_is_started_but_not_for_a_look_inside() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["disk", "lima.yaml"] {
        fs_err::write(dir.path().join(name), "").unwrap();
    }
    let stopped = Instance { dir: dir.path().into(), ..instance(Status::Stopped) };
    let [enter, start, setup, everything] = table(&observed(usable(), Some(stopped)));
    assert!(enter.contains("mvm start"), "{enter}");
    assert_eq!([start, setup, everything], ["start"; 3]);
}

#[test]
fn a_vm_without_its_file_gets_it_again() {
    let dir = tempfile::tempdir().unwrap();
    for status in [Status::Broken, Status::Unknown(String::new())] {
        let lost = Instance { dir: dir.path().into(), ..instance(status) };
        let [enter, start, setup, everything] = table(&observed(usable(), Some(lost)));
        assert!(enter.contains("mvm dev"), "{enter}");
        assert_eq!([start, setup, everything], ["restore start"; 3]);
    }
}

#[test]
fn a_long_lima_home_is_refused_before_anything_is_made() {
    let long = Observed { lima_home: "x".repeat(90).into(), ..observed(usable(), None) };
    assert!(plan(&long, Goal::Setup).unwrap_err().hints[0].contains("LIMA_HOME"));
}
