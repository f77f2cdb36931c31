//! Containers in a machine, as Docker and Podman make them.

use crate::common::{install, skipped, which};
use crate::host::any_host;

/// What Docker does for a container: an overlay under /var/lib/docker, and runc with namespaces, cgroups and seccomp.
#[test]
fn a_container_runs_in_a_machine() {
    let host = any_host();
    install(&[("runc", "runc"), ("busybox", "busybox-static")]);
    let (Some(runc), Some(busybox)) = (which("runc"), which("busybox")) else {
        return skipped("a container in a machine: runc and busybox are not installed");
    };
    host.forget("docker");
    host.ok(&["start", "docker", "-d", "--image", "debian", "--memory", "512M"]);
    for (file, to) in [(runc, "docker:/usr/local/bin/runc"), (busybox, "docker:/root/busybox")] {
        host.ok(&["cp", file.to_str().unwrap(), to]);
    }
    let said = host.inside(
        "docker",
        r#"set -e; until mountpoint -q /sys/fs/cgroup; do sleep 0.2; done
           cd /var/lib/docker; mkdir -p lower/bin upper work bundle/rootfs; cp /root/busybox lower/bin/sh
           mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay bundle/rootfs
           cd bundle; runc spec; sed -i 's/"terminal": true/"terminal": false/; s/"readonly": true/"readonly": false/' config.json
           sed -i 's/^\t\t\t"sh"$/"sh", "-c", "echo written > \/file; echo $$ in $(hostname)"/' config.json
           runc run one; cat ../upper/file; runc list -q"#,
    );
    assert_eq!(said, "1 in runc\nwritten\n");
    host.ok(&["destroy", "docker", "--yes"]);
}
