//! Start, stop, change, and several machines at once.

use crate::host::{Who, any_host, host};

fn a_disk_survives(who: Who) {
    let Some(host) = host(who) else { return };
    host.forget("keeps");
    host.ok(&["start", "keeps", "-d"]);
    host.inside("keeps", "echo precious > /root/file");
    let seen = host.ok(&["stop", "keeps", "--timeout", "60"]);
    assert!(seen.stderr.contains("is stopped"), "{seen}");
    assert_eq!(host.status("keeps")["state"], "stopped");
    let seen = host.mvm(&["ssh", "keeps"]);
    assert!(seen.code == 4 && seen.stderr.contains("mvm start keeps"), "{seen}");
    host.ok(&["start", "keeps", "-d"]);
    assert_eq!(host.inside("keeps", "cat /root/file"), "precious\n");
    // By force: what was synced is there all the same.
    host.inside("keeps", "echo synced > /root/file; sync");
    let seen = host.ok(&["stop", "keeps", "--timeout", "0"]);
    assert!(seen.stderr.contains("by force"), "{seen}");
    host.ok(&["start", "keeps", "-d"]);
    assert_eq!(host.inside("keeps", "cat /root/file"), "synced\n");
    host.ok(&["destroy", "keeps", "--yes"]);
    assert!(!host.machine("keeps").exists());
}

#[test]
fn a_disk_survives_a_stop_as_root() {
    a_disk_survives(Who::Root);
}

#[test]
fn a_disk_survives_a_stop_as_an_ordinary_user() {
    a_disk_survives(Who::User);
}

#[test]
fn machines_run_at_once_and_look_alike_inside() {
    let host = any_host();
    for name in ["a", "b"] {
        host.forget(name);
    }
    let mut both: Vec<_> =
        ["a", "b"].map(|name| host.mvm_command(&["start", name, "-d", "--quiet"]).spawn().unwrap()).into();
    for child in &mut both {
        assert!(child.wait().unwrap().success());
    }
    for name in ["a", "b"] {
        assert_eq!(
            host.inside(name, "hostname; ip -4 -o addr show eth0 | grep -o 172.16.0.2"),
            format!("{name}\n172.16.0.2\n")
        );
        assert_eq!(host.status(name)["address"], "172.16.0.2");
    }
    // Their keys differ, and each is pinned.
    let key = |name: &str| fs_err::read_to_string(host.machine(name).join("keys/known_hosts")).unwrap();
    assert_ne!(key("a").split(' ').nth(2), key("b").split(' ').nth(2));
    for name in ["a", "b"] {
        host.ok(&["destroy", name, "--yes"]);
    }
}

#[test]
fn two_starts_of_one_machine_start_it_once() {
    let host = any_host();
    host.forget("twice");
    let both: Vec<_> = (0..2)
        .map(|_| {
            host.mvm_command(&["dev", "twice", "--", "cat", "/proc/sys/kernel/random/boot_id"])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let boots: Vec<_> = both.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(boots.iter().all(|output| output.status.success()), "{boots:?}");
    assert_eq!(boots[0].stdout, boots[1].stdout, "both are in the same machine, booted once");
    host.ok(&["destroy", "twice", "--yes"]);
}

#[test]
fn a_machine_takes_on_new_values_when_stopped() {
    let host = any_host();
    host.forget("grows");
    host.ok(&["start", "grows", "-d", "--disk", "1G", "--cpus", "1", "--memory", "512M"]);
    let seen = host.mvm(&["start", "grows", "-d", "--disk", "2G", "--cpus", "2"]);
    assert!(
        seen.code == 1 && seen.stderr.contains("mvm stop grows && mvm start grows --cpus 2 --disk 2G"),
        "{seen}"
    );
    // The disk at once, all else at the next start.
    let seen = host.ok(&["set", "grows", "--memory", "640M", "--disk", "1536M"]);
    assert!(
        seen.stderr.contains("disk: 1 GiB → 1.50 GiB, now\n")
            && seen.stderr.contains("from its next start on"),
        "{seen}"
    );
    let listed = host.ok(&["ls"]).stdout;
    assert!(listed.contains("`grows` at its next start: memory: 512 MiB → 640 MiB"), "{listed}");
    let size = host.inside("grows", "df --output=size -BM / | tail -n 1 | tr -d ' M'");
    assert!(size.trim().parse::<u32>().unwrap() > 1350, "{size}");
    host.inside("grows", "echo here > /root/file; sync");
    let seen = host.mvm(&["rename", "grows", "grown"]);
    assert!(seen.code == 1 && seen.stderr.contains("mvm stop grows && mvm rename grows grown"), "{seen}");
    host.ok(&["stop", "grows", "--timeout", "60"]);
    let seen = host.mvm(&["start", "grows", "-d", "--disk", "512M"]);
    assert!(seen.code == 2 && seen.stderr.contains("cannot") | seen.stderr.contains("not shrink"), "{seen}");
    let seen = host.ok(&["start", "grows", "-d", "--disk", "2G", "--cpus", "2"]);
    assert!(seen.stderr.contains("disk: 1.50 GiB → 2 GiB") && seen.stderr.contains("cpus: 1 → 2"), "{seen}");
    let inside =
        host.inside("grows", "cat /root/file; nproc; df --output=size -BM / | tail -n 1 | tr -d ' M'");
    let lines: Vec<_> = inside.lines().collect();
    assert_eq!(lines[..2], ["here", "2"]);
    assert!(lines[2].parse::<u32>().unwrap() > 1800, "{inside}");
    // Remembered.
    let status = host.status("grows");
    assert_eq!((&status["disk_size_bytes"], &status["memory_mib"]), (&(2_u64 << 30).into(), &640.into()));
    host.ok(&["stop", "grows", "--timeout", "60"]);

    // Under another name it is the same one, and knows its name.
    host.forget("grown");
    host.ok(&["rename", "grows", "grown"]);
    host.ok(&["start", "grown", "-d"]);
    assert_eq!(host.inside("grown", "hostname; cat /etc/hostname /root/file"), "grown\ngrown\nhere\n");
    let seen = host.ok(&["reset", "grown", "--yes"]);
    assert!(seen.stderr.contains("is empty"), "{seen}");
    assert_eq!(host.status("grown")["state"], "stopped");
    host.ok(&["start", "grown", "-d"]);
    host.inside("grown", "test ! -e /root/file && test $(nproc) = 2");
    host.ok(&["destroy", "grown", "--yes"]);
}

#[test]
fn a_guest_that_powers_off_is_stopped_and_one_that_restarts_as_well() {
    let host = any_host();
    host.forget("off");
    for command in ["poweroff", "reboot"] {
        host.ok(&["start", "off", "-d"]);
        // A shell is there before systemd is ready for it.
        host.mvm(&[
            "ssh",
            "off",
            "--",
            "sh",
            "-c",
            &format!("until systemctl {command}; do sleep 0.2; done"),
        ]);
        crate::host::wait_until("a clean end of the VMM", || host.status("off")["ended"] == "clean");
    }
    host.ok(&["destroy", "off", "--yes"]);
}

/// Its systemd may be just beginning, and is not there to be asked.
#[test]
fn a_machine_that_is_stopped_as_soon_as_it_is_up_shuts_down() {
    let host = any_host();
    host.forget("hasty");
    for _ in 0..3 {
        host.ok(&["start", "hasty", "-d", "--image", "debian"]);
        let seen = host.ok(&["stop", "hasty", "--timeout", "60"]);
        assert!(!seen.stderr.contains("by force"), "{seen}");
        host.ok(&["destroy", "hasty", "--yes"]);
    }
}
