//! What goes wrong in a guest or on the host: it is seen, explained, and got out of.

use std::process::Stdio;

use crate::host::{Host, any_host, kill, lives, wait_until};

/// What vm.json says.
fn spec(host: &Host, machine: &str) -> serde_json::Value {
    serde_json::from_str(&fs_err::read_to_string(host.machine(machine).join("vm.json")).unwrap()).unwrap()
}

#[test]
fn a_machine_that_does_not_answer_is_restarted_with_the_reason() {
    let host = any_host();
    host.forget("stuck");
    host.ok(&["start", "stuck", "-d"]);
    host.inside("stuck", "echo kept > /root/file; sync");
    let vmm = host.pid("stuck", "vmm");
    kill("STOP", vmm);
    assert_eq!(host.status("stuck")["state"], "not answering");
    for (command, code) in [("ssh", 4), ("start", 1)] {
        let seen = host.mvm(&[command, "stuck"]);
        assert!(seen.code == code && seen.stderr.contains("mvm dev stuck"), "{seen}");
    }
    let seen = host.ok(&["dev", "stuck", "--", "cat", "/root/file"]);
    assert_eq!(seen.stdout, "kept\n");
    assert!(
        seen.stderr.contains("does not answer on its SSH port")
            && seen.stderr.contains("console's last lines"),
        "{seen}"
    );
    assert!(!lives(vmm));
    host.ok(&["destroy", "stuck", "--yes"]);
}

#[test]
fn a_panic_is_named_and_the_next_start_works() {
    let host = any_host();
    host.forget("panics");
    host.ok(&["start", "panics", "-d"]);
    // The session dies with the kernel.
    let mut child = host
        .mvm_command(&["ssh", "panics", "--", "sh", "-c", "echo c > /proc/sysrq-trigger"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the end of the VMM", || host.status("panics")["ended"] == "kernel panic");
    child.kill().unwrap();
    child.wait().unwrap();
    host.ok(&["dev", "panics", "--", "true"]);
    host.ok(&["destroy", "panics", "--yes"]);
}

#[test]
fn a_base_that_cannot_be_mounted_is_explained() {
    let host = any_host();
    host.forget("broken");
    host.ok(&["start", "broken", "-d"]);
    host.ok(&["stop", "broken", "--timeout", "60"]);
    let base =
        host.home.join("images").join(spec(&host, "broken")["image_id"].as_str().unwrap()).join("base");
    let kept = base.with_extension("kept");
    fs_err::rename(&base, &kept).unwrap();

    // Missing, and shorter than it was: said before anything is started.
    let seen = host.mvm(&["start", "broken", "-d"]);
    assert!(seen.code == 1 && seen.stderr.contains("its file `base` is missing"), "{seen}");
    fs_err::write(&base, "short").unwrap();
    let seen = host.mvm(&["start", "broken", "-d"]);
    assert!(seen.code == 1 && seen.stderr.contains("has 5 bytes instead of"), "{seen}");
    // Of the right size, but no file system: the guest says it.
    let file = fs_err::File::create(&base).unwrap();
    fs_err::set_permissions(&base, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    file.set_len(fs_err::metadata(&kept).unwrap().len()).unwrap();
    let seen = host.mvm(&["start", "broken", "-d"]);
    assert!(seen.code == 1 && seen.stderr.contains("base cannot be mounted"), "{seen}");

    fs_err::rename(&kept, &base).unwrap();
    host.ok(&["dev", "broken", "--", "true"]);
    host.ok(&["destroy", "broken", "--yes"]);
}

#[test]
fn a_kernel_that_does_not_boot_is_explained() {
    let host = any_host();
    host.forget("noboot");
    host.ok(&["start", "noboot", "-d"]);
    host.ok(&["stop", "noboot", "--timeout", "60"]);
    let images = host.home.join("images");
    let image = images.join(spec(&host, "noboot")["image_id"].as_str().unwrap());
    // With an initrd of zeroes there is no program for PID 1, and the kernel panics; a kernel of zeroes is none at all.
    for (file, expected) in [("initrd", "Kernel panic"), ("kernel", "ended at once")] {
        let path = image.join(file);
        let kept = image.join("kept");
        fs_err::rename(&path, &kept).unwrap();
        fs_err::File::create(&path).unwrap().set_len(fs_err::metadata(&kept).unwrap().len()).unwrap();
        fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let seen = host.mvm(&["start", "noboot", "-d"]);
        fs_err::rename(&kept, &path).unwrap();
        assert!(
            seen.code == 1 && seen.stderr.contains(expected) && seen.stderr.contains("hint:"),
            "{file}: {seen}"
        );
    }
    host.ok(&["dev", "noboot", "--", "true"]);
    host.ok(&["destroy", "noboot", "--yes"]);
}

#[test]
fn a_stranger_with_a_recycled_pid_is_left_alone() {
    let host = any_host();
    host.forget("recycled");
    host.ok(&["start", "recycled", "-d"]);
    host.ok(&["stop", "recycled", "--timeout", "60"]);
    let mut stranger = host.command("sleep").arg("600").spawn().unwrap();
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
    let started = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().to_owned();
    let record = |text: &str| {
        let line = "mkdir -p \"$0/run\" && printf '%s\n' \"$1\" | tee \"$0/run/cell\" > \"$0/run/vmm\"";
        let status =
            host.command("sh").args(["-c", line]).arg(host.machine("recycled")).arg(text).status().unwrap();
        assert!(status.success());
    };
    // Another start time, and another boot of the host.
    for text in
        [format!("{} 1 {}", stranger.id(), boot.trim()), format!("{} {started} another-boot", stranger.id())]
    {
        record(&text);
        let status = host.status("recycled");
        assert_eq!(status["state"], "stopped", "{text}");
        let ended = if text.ends_with("another-boot") {
            "the host was restarted"
        } else {
            "its supervisor was killed"
        };
        assert_eq!(status["ended"], ended, "{text}");
        host.ok(&["stop", "recycled"]);
        record(&text);
        host.ok(&["dev", "recycled", "--", "true"]);
        host.ok(&["stop", "recycled", "--timeout", "60"]);
    }
    assert!(lives(stranger.id()), "a stranger's process was ended");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    host.ok(&["destroy", "recycled", "--yes"]);
}

#[test]
fn what_is_in_the_way_of_the_socket_goes_or_is_named() {
    let host = any_host();
    host.forget("socket");
    host.ok(&["start", "socket", "-d"]);
    host.ok(&["stop", "socket", "--timeout", "60"]);
    let socket = host.machine("socket").join("api.sock");
    fs_err::write(&socket, "in the way").unwrap();
    host.ok(&["dev", "socket", "--", "true"]);
    host.ok(&["destroy", "socket", "--yes"]);
}

/// As one whose kernel was interrupted when it measured its timer, on a busy host.
#[test]
fn a_guest_without_a_timer_is_started_once_more() {
    let host = any_host();
    host.forget("timeless");
    // The first boot of a disk only; ext4 leaves its first bytes alone.
    let qemu = format!("qemu-system-{}", std::env::consts::ARCH);
    let script = format!(
        "#!/bin/bash\n[[ $* == *disk.img* && $(head -c 1 disk.img | tr -d '\\0') != x ]] || exec /usr/bin/{qemu} \"$@\"\n\
         printf x | dd of=disk.img bs=1 conv=notrunc 2>/dev/null\n\
         exec /usr/bin/{qemu} \"${{@/ quiet / quiet nolapic_timer }}\"\n"
    );
    let args = ["start", "timeless", "-d", "--vmm", "qemu", "--image", "debian"];
    let seen = host.mvm_with(&qemu, &script, &args);
    assert_eq!((seen.code, seen.stderr.matches("once more").count()), (0, 1), "{seen}");
    assert_eq!(host.inside("timeless", "sleep 0.1; echo slept"), "slept\n");
    host.ok(&["destroy", "timeless", "--yes"]);
}
