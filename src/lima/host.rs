//! This host, as far as Lima is concerned. Asked of programs, so that it is the same code everywhere, and testable.

use std::num::NonZero;
use std::time::Duration;

use crate::shell::{self, Call, Patience};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Os {
    /// With its version, such as 15.1.
    MacOs(u32, u32),
    #[default]
    Linux,
}

/// Whether microVMs in the Lima VM can have KVM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Nested {
    #[default]
    Yes,
    /// The Lima VM itself is emulated in software, with a processor that has AMD's SVM: its /dev/kvm works, slowly.
    Emulated,
    /// Why not.
    No(String),
}

/// Facts of this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    pub os: Os,
    /// As Linux calls it: `aarch64`, `x86_64`.
    pub arch: String,
    /// Apple's name of the processor.
    pub chip: Option<String>,
    pub cpus: u64,
    pub memory_mib: u64,
    pub nested: Nested,
}

/// What Lima may do on this host. `None` where it is neither macOS nor Linux.
pub fn look() -> Option<Host> {
    let words = text(&["uname", "-sm"])?;
    let (system, machine) = words.split_once(' ')?;
    match system {
        "Darwin" => Some(mac(machine)),
        "Linux" => Some(linux(machine)),
        _ => None,
    }
}

fn mac(machine: &str) -> Host {
    // One that a Mac does not have is left out, with a complaint on stderr.
    let answer = text(&[
        "sysctl",
        "hw.memsize",
        "hw.ncpu",
        "machdep.cpu.brand_string",
        "sysctl.proc_translated",
        "kern.hv_support",
    ]);
    let version = text(&["sw_vers", "-productVersion"]);
    read_mac(machine, version.as_deref().unwrap_or_default(), answer.as_deref().unwrap_or_default())
}

fn read_mac(machine: &str, version: &str, sysctl: &str) -> Host {
    let value = |key: &str| {
        sysctl.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::to_owned)
    };
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    // Under Rosetta `uname` tells the processor that is played.
    let arm = machine == "arm64" || value("sysctl.proc_translated").as_deref() == Some("1");
    let chip = value("machdep.cpu.brand_string");
    let nested = mac_nested(arm, chip.as_deref(), version, value("kern.hv_support").as_deref() == Some("0"));
    Host {
        os: Os::MacOs(version.0, version.1),
        arch: if arm { "aarch64" } else { "x86_64" }.to_owned(),
        chip,
        cpus: value("hw.ncpu").and_then(|text| text.parse().ok()).unwrap_or(4),
        memory_mib: value("hw.memsize").and_then(|text| text.parse::<u64>().ok()).unwrap_or(8 << 30) >> 20,
        nested,
    }
}

/// Apple's Virtualization framework nests from M3 and macOS 15 on (Lima: `vm_darwin.go`).
fn mac_nested(arm: bool, chip: Option<&str>, version: (u32, u32), no_hypervisor: bool) -> Nested {
    let consequence = "Machines run all the same, on QEMU in software, slower.";
    let no = |why: &str| Nested::No(format!("{why}, so there is no KVM in the Lima VM. {consequence}"));
    let chip = chip.unwrap_or("this processor");
    if no_hypervisor {
        no("This macOS has no hypervisor of its own, as inside another VM")
    } else if !arm {
        no("Intel Macs have no nested virtualization")
    } else if ["Apple M1", "Apple M2"].iter().any(|old| chip.starts_with(old)) {
        no(&format!("{chip} has no nested virtualization (M3 and later have)"))
    } else if version < (15, 0) {
        no(&format!("macOS {}.{} has no nested virtualization (15 and later have)", version.0, version.1))
    } else {
        Nested::Yes
    }
}

fn linux(machine: &str) -> Host {
    let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap_or(8 << 20);
    let nested =
        ["kvm_intel", "kvm_amd"].map(|module| read(&format!("/sys/module/{module}/parameters/nested")));
    Host {
        os: Os::Linux,
        arch: machine.to_owned(),
        chip: None,
        cpus: std::thread::available_parallelism().map_or(2, NonZero::get) as u64,
        memory_mib: kib >> 10,
        nested: linux_nested(machine, kvm_works(machine, &read("/proc/cpuinfo")), &nested),
    }
}

/// Whether guests boot on this host's KVM: on x86 the CPU must show vmx or svm, too.
fn kvm_works(machine: &str, cpuinfo: &str) -> bool {
    let opens = fs_err::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    opens && (machine != "x86_64" || flags.split(' ').any(|flag| flag == "vmx" || flag == "svm"))
}

fn linux_nested(machine: &str, kvm: bool, parameters: &[String]) -> Nested {
    if !kvm {
        return if machine == "x86_64" {
            Nested::Emulated
        } else {
            Nested::No(
                "This host has no usable KVM, so the Lima VM is emulated in software. Machines in it run on QEMU in \
                 software as well, slower."
                    .to_owned(),
            )
        };
    }
    if machine != "x86_64" || parameters.iter().any(|value| matches!(value.trim(), "Y" | "1")) {
        return Nested::Yes;
    }
    Nested::No(
        "This host's KVM does not nest (`nested=1` for the module kvm_intel or kvm_amd switches it on), so there is no \
         KVM in the Lima VM. Machines run all the same, on QEMU in software, slower."
            .to_owned(),
    )
}

/// What a program says on stdout, whatever its exit code; it is given five seconds.
fn text(words: &[&str]) -> Option<String> {
    let patience = Patience::whole(Duration::from_secs(5));
    let output = shell::run_within(&Call::new(words.iter().copied()), &patience, &mut |_| {}).ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(nested: &Nested) -> &str {
        match nested {
            Nested::No(why) => why,
            _ => "",
        }
    }

    #[test]
    fn macs() {
        let m3 = "hw.memsize: 19327352832\nhw.ncpu: 11\nmachdep.cpu.brand_string: Apple M3 Pro\n\
                  sysctl.proc_translated: 0\nkern.hv_support: 1";
        let host = read_mac("arm64", "15.1.1", m3);
        assert_eq!((host.os, host.cpus, host.memory_mib), (Os::MacOs(15, 1), 11, 18_432));
        assert_eq!((host.nested, host.arch.as_str()), (Nested::Yes, "aarch64"));

        let old = read_mac("arm64", "14.6", m3).nested;
        assert!(why(&old).contains("macOS 14.6"), "{old:?}");
        let m1 = read_mac("arm64", "15.0", &m3.replace("M3 Pro", "M1")).nested;
        assert!(why(&m1).contains("Apple M1 has no nested"), "{m1:?}");
        let rosetta = read_mac("x86_64", "15.0", &m3.replace("translated: 0", "translated: 1"));
        assert_eq!((rosetta.nested, rosetta.arch.as_str()), (Nested::Yes, "aarch64"));
        let intel = "machdep.cpu.brand_string: Intel(R) Core(TM) i7\nkern.hv_support: 1";
        let intel = read_mac("x86_64", "15.0", intel).nested;
        assert!(why(&intel).contains("Intel"), "{intel:?}");
        let inside = read_mac("arm64", "15.0", &m3.replace("hv_support: 1", "hv_support: 0")).nested;
        assert!(why(&inside).contains("inside another VM"), "{inside:?}");
    }

    #[test]
    fn linux_hosts() {
        let parameters = |value: &str| [value.to_owned(), String::new()];
        assert_eq!(linux_nested("x86_64", true, &parameters("Y\n")), Nested::Yes);
        assert!(why(&linux_nested("x86_64", true, &parameters("N\n"))).contains("does not nest"));
        assert_eq!(linux_nested("x86_64", false, &parameters("")), Nested::Emulated);
        assert!(why(&linux_nested("aarch64", false, &parameters(""))).contains("no usable KVM"));
    }
}
