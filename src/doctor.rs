//! What mvm needs on the Linux side: one table, from which `doctor` reports and `setup` installs.

use serde::Serialize;

use crate::microvm::{Device, HostFacts, Kvm, Probed, UserNamespaces};
use crate::{bootstrap::Task, vmm};

/// Every program that a look asks for.
pub const TOOLS: &[&str] = &[
    "ip",
    "nft",
    "pasta",
    "dnsmasq",
    "unshare",
    "nsenter",
    "setpriv",
    "flock",
    "perl",
    "ssh",
    "mke2fs",
    "e2fsck",
    "resize2fs",
    "mmdebstrap",
    "mksquashfs",
    "newuidmap",
    "xz",
    "lz4",
    "zstd",
    "sudo",
];

/// A program, the Debian package that brings it, and what it is for.
struct Need {
    tool: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const fn need(tool: &'static str, package: &'static str, purpose: &'static str) -> Need {
    Need { tool, package, purpose }
}

const NEEDS: &[Need] = &[
    need("ip", "iproute2", "sets up a cell's network"),
    need("nft", "nftables", "the NAT in a cell"),
    need("pasta", "passt", "connects a cell to the network without root"),
    need("unshare", "util-linux", "makes the namespaces of a cell"),
    need("nsenter", "util-linux", "reaches into a cell"),
    need("setpriv", "util-linux", "ties a cell's processes together"),
    need("flock", "util-linux", "keeps two mvm commands from one machine"),
    need("perl", "perl-base", "shuts VMMs in, speaks to them, carries what comes to published ports"),
    need("ssh", "openssh-client", "enters a machine"),
    need("mke2fs", "e2fsprogs", "makes a machine's disk"),
    need("mmdebstrap", "mmdebstrap", "builds the image `debian`"),
    need("mksquashfs", "squashfs-tools", "packs an image's root filesystem"),
    need("newuidmap", "uidmap", "builds an image without root"),
    need("xz", "xz-utils", "unpacks an image's kernel"),
    need("lz4", "lz4", "unpacks an image's kernel"),
    need("zstd", "zstd", "unpacks an image's kernel"),
];

/// What only machines need whose network policy goes by names.
const RESOLVER: Need =
    need("dnsmasq", "dnsmasq-base", "names in a machine's network policy (`--net allow=NAME`, `learn`)");

/// What may let a user make namespaces where the kernel does not.
pub const NAMESPACES_REMEDY: &str = "allow user namespaces: `sudo sysctl -w user.max_user_namespaces=28633`, and where the kernel \
     has it `kernel.unprivileged_userns_clone=1`; a container or a chroot has to be started so that it may use them";

/// One line of `mvm doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// Whether mvm cannot do without it.
    pub needed: bool,
    /// What was found: a path, a version, a state.
    pub found: String,
    pub purpose: String,
    /// What mends it; empty when nothing is to be done.
    pub remedy: String,
}

/// Everything mvm needs or can use, found or not. `host` must have been probed.
pub fn checks(host: &HostFacts) -> Vec<Check> {
    let mut checks = vec![kvm(host), firecracker(host), qemu(host), tun(host)];
    checks.extend(namespaces(host));
    let all = NEEDS.iter().map(|need| (need, true)).chain([(&RESOLVER, false)]);
    checks.extend(all.map(|(need, needed)| {
        let path = host.tools.get(need.tool);
        Check {
            name: need.tool.to_owned(),
            ok: path.is_some(),
            needed,
            found: path.cloned().unwrap_or_default(),
            purpose: need.purpose.to_owned(),
            remedy: if path.is_some() { String::new() } else { install(need.package) },
        }
    }));
    checks
}

/// What an administrator has to do before machines can run, those with a resolver of their own where it `resolves`; empty when all is there.
pub fn tasks(host: &HostFacts, resolves: bool) -> Vec<Task> {
    let mut packages: Vec<String> = Vec::new();
    let mut add = |package: &str| {
        if !packages.iter().any(|other| other == package) {
            packages.push(package.to_owned());
        }
    };
    for need in
        NEEDS.iter().chain(resolves.then_some(&RESOLVER)).filter(|need| !host.tools.contains_key(need.tool))
    {
        add(need.package);
    }
    if host.qemu.is_none() {
        add(qemu_package(host));
    }
    let probed = host.probed.as_ref();
    if probed.is_some_and(|probed| !probed.has_debian_keyring) {
        add("debian-archive-keyring");
    }
    let mut tasks = Vec::new();
    if !packages.is_empty() {
        tasks.push(Task::Packages { packages, suite: None });
    }
    if host.tun != Device::Usable {
        tasks.push(Task::OpenTun);
    }
    if let Some(probed) = probed {
        if !probed.has_subids {
            tasks.push(Task::Subids { user: host.user.clone(), first: probed.next_subid });
        }
        if probed.user_namespaces == UserNamespaces::AppArmor {
            tasks.push(Task::AllowUserNamespaces);
        }
    }
    tasks
}

/// What a Linux side of mvm's own, a new VM, is given by its provisioning: everything.
pub fn provisioning(arch: &str) -> Vec<Task> {
    let host = HostFacts {
        arch: arch.to_owned(),
        tun: Device::Usable,
        probed: Some(Probed {
            user_namespaces: UserNamespaces::AppArmor,
            has_subids: true,
            ..Probed::default()
        }),
        ..HostFacts::default()
    };
    tasks(&host, true)
}

fn install(package: &str) -> String {
    format!("sudo apt-get install -y --no-install-recommends {package}")
}

fn qemu_package(host: &HostFacts) -> &'static str {
    if host.arch == "aarch64" { "qemu-system-arm" } else { "qemu-system-x86" }
}

fn kvm(host: &HostFacts) -> Check {
    Check {
        name: "kvm".to_owned(),
        ok: host.kvm == Kvm::Usable,
        needed: false,
        found: vmm::kvm_trouble(host.kvm).unwrap_or_else(|| "usable".to_owned()),
        purpose: "runs machines at full speed; without it they are emulated in software".to_owned(),
        remedy: vmm::kvm_remedy(host),
    }
}

fn firecracker(host: &HostFacts) -> Check {
    let found = host.firecracker.as_ref().map(|program| format!("{} {}", program.version, program.path));
    Check {
        name: "firecracker".to_owned(),
        ok: found.is_some(),
        needed: false,
        purpose: "the VMM where there is KVM; QEMU is taken without it".to_owned(),
        remedy: if found.is_some() {
            String::new()
        } else {
            format!("mvm setup --firecracker {}", vmm::Release::pinned())
        },
        found: found.unwrap_or_default(),
    }
}

fn qemu(host: &HostFacts) -> Check {
    let found = host.qemu.as_ref().map(|program| format!("{} {}", program.version, program.path));
    Check {
        name: format!("qemu-system-{}", host.arch),
        ok: found.is_some(),
        needed: true,
        purpose: "the VMM where Firecracker cannot run".to_owned(),
        remedy: if found.is_some() { String::new() } else { install(qemu_package(host)) },
        found: found.unwrap_or_default(),
    }
}

fn tun(host: &HostFacts) -> Check {
    let (found, remedy) = match host.tun {
        Device::Usable => ("usable", String::new()),
        Device::Denied => ("this user may not open /dev/net/tun", Task::OpenTun.shown()),
        Device::Missing => ("this host has no /dev/net/tun", Task::OpenTun.shown()),
    };
    Check {
        name: "tun".to_owned(),
        ok: host.tun == Device::Usable,
        needed: true,
        found: found.to_owned(),
        purpose: "a machine's network device".to_owned(),
        remedy,
    }
}

fn namespaces(host: &HostFacts) -> Vec<Check> {
    let Some(probed) = &host.probed else {
        return Vec::new();
    };
    let (found, remedy) = match probed.user_namespaces {
        UserNamespaces::Allowed => ("allowed", String::new()),
        UserNamespaces::AppArmor => ("restricted by AppArmor", Task::AllowUserNamespaces.shown()),
        UserNamespaces::Off => ("switched off", NAMESPACES_REMEDY.to_owned()),
    };
    let subids = Task::Subids { user: host.user.clone(), first: probed.next_subid };
    let keyring = if probed.has_debian_keyring { String::new() } else { install("debian-archive-keyring") };
    vec![
        Check {
            name: "user namespaces".to_owned(),
            ok: probed.user_namespaces == UserNamespaces::Allowed,
            needed: true,
            found: found.to_owned(),
            purpose: "a cell for each machine, without root".to_owned(),
            remedy,
        },
        Check {
            name: "subordinate ids".to_owned(),
            ok: probed.has_subids,
            needed: true,
            found: if probed.has_subids { "present" } else { "none for this user" }.to_owned(),
            purpose: "builds an image without root".to_owned(),
            remedy: if probed.has_subids { String::new() } else { subids.shown() },
        },
        Check {
            name: "Debian's keys".to_owned(),
            ok: probed.has_debian_keyring,
            needed: true,
            found: if probed.has_debian_keyring { "present" } else { "" }.to_owned(),
            purpose: "checks what the image `debian` is made of".to_owned(),
            remedy: keyring,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microvm::Program;

    fn ready() -> HostFacts {
        let tool = |tool: &&str| ((*tool).to_owned(), format!("/usr/bin/{tool}"));
        HostFacts {
            arch: "x86_64".into(),
            user: "dev".into(),
            tun: Device::Usable,
            tools: TOOLS.iter().map(tool).collect(),
            qemu: Some(Program { path: "/usr/bin/qemu-system-x86_64".into(), version: "7.2".into() }),
            probed: Some(Probed {
                has_subids: true,
                has_debian_keyring: true,
                has_apt: true,
                next_subid: 100_000,
                ..Probed::default()
            }),
            ..HostFacts::default()
        }
    }

    #[test]
    fn a_ready_host_needs_nothing() {
        assert_eq!(tasks(&ready(), true), []);
        assert!(checks(&ready()).iter().all(|check| check.ok || !check.needed));
    }

    #[test]
    fn every_needed_check_that_fails_has_a_remedy_and_a_task() {
        let bare = HostFacts {
            tun: Device::Denied,
            tools: [].into(),
            qemu: None,
            probed: Some(Probed {
                user_namespaces: UserNamespaces::AppArmor,
                next_subid: 165_536,
                ..Probed::default()
            }),
            ..ready()
        };
        let failing: Vec<_> = checks(&bare).into_iter().filter(|check| check.needed).collect();
        assert!(failing.iter().all(|check| !check.ok && !check.remedy.is_empty()), "{failing:?}");
        let without: Vec<_> = tasks(&bare, false).iter().map(Task::describe).collect();
        let tasks = tasks(&bare, true);
        assert_eq!(tasks.len(), 4);
        assert!(tasks[0].describe().contains("dnsmasq-base") && !without[0].contains("dnsmasq-base"));
        let Task::Packages { packages, .. } = &tasks[0] else { panic!("{tasks:?}") };
        assert!(packages.contains(&"qemu-system-x86".to_owned()) && packages.contains(&"passt".to_owned()));
        assert_eq!(packages.iter().filter(|name| *name == "util-linux").count(), 1);
    }

    #[test]
    fn every_need_is_looked_for() {
        assert!(NEEDS.iter().chain([&RESOLVER]).all(|need| TOOLS.contains(&need.tool)));
    }
}
