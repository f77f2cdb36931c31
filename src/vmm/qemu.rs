//! QEMU: the machine type `microvm` where it can be, with KVM or in software; QMP for what comes after the boot.

use super::{Bus, Files, Launch, Vmm, kernel_args};
use crate::microvm::{HostFacts, Spec};
use crate::network;

pub(super) fn launch(vmm: &Vmm, spec: &Spec, host: &HostFacts, image: &Files, epoch: u64) -> Launch {
    let Files { folder, tools, .. } = image;
    let machine = Machine::choose(vmm, host);
    let (bus, device) = match machine {
        Machine::Microvm => (Bus::Mmio, "device"),
        // virt lists its mmio devices in reverse.
        Machine::Q35 | Machine::Virt => (Bus::Pci, "pci"),
    };
    let mut args = kernel_args(host, image, bus, epoch);
    if host.arch != "aarch64" {
        args.push("reboot=t".to_owned());
    }
    if let (Machine::Microvm, false, Some(khz)) = (machine, vmm.accelerated, host.tsc_khz) {
        // Without these the kernel hangs before its first line: microvm has nothing to calibrate the TSC with.
        args.push(format!("tsc_early_khz={khz} tsc=reliable"));
    }
    let mut argv: Vec<String> = vec![vmm.program.path.clone()];
    let mut add = |words: &[&str]| argv.extend(words.iter().map(|&word| word.to_owned()));
    add(&["-name", spec.name.as_str(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    add(machine.words());
    add(if vmm.accelerated {
        &["-accel", "kvm", "-cpu", "host"]
    } else {
        &["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"]
    });
    add(&["-smp", &spec.cpus.to_string(), "-m", &spec.memory_mib.mib().to_string()]);
    add(&["-kernel", &format!("{folder}/kernel"), "-initrd", "run/initrd", "-append", &args.join(" ")]);
    add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    // The guest's flushes reach the host's disk: what was fsynced survives.
    add(&["-drive", &format!("if=none,id=base,file={folder}/base,format=raw,readonly=on")]);
    add(&["-device", &format!("virtio-blk-{device},drive=base")]);
    add(&[
        "-drive",
        "if=none,id=disk,file=disk.img,format=raw,cache=writeback,discard=unmap,detect-zeroes=unmap",
    ]);
    add(&["-device", &format!("virtio-blk-{device},drive=disk")]);
    if *tools {
        add(&["-drive", &format!("if=none,id=tools,file={folder}/tools,format=raw,readonly=on")]);
        add(&["-device", &format!("virtio-blk-{device},drive=tools")]);
    }
    add(&["-netdev", &format!("tap,id=net,ifname={},script=no,downscript=no,vhost=off", network::TAP)]);
    let rom = if bus == Bus::Pci { ",romfile=" } else { "" };
    add(&["-device", &format!("virtio-net-{device},netdev=net,mac={}{rom}", network::GUEST_MAC)]);
    // Two pipes, which a script can speak through; a socket would want a program for it.
    add(&["-chardev", "pipe,id=qmp,path=run/qmp", "-mon", "chardev=qmp,mode=control"]);
    Launch { argv, config: None, watch_halt: false }
}

/// The machine type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    /// The least there is: boots fastest.
    Microvm,
    /// Where the TSC's frequency is not known: it has timers to calibrate with.
    Q35,
    /// aarch64.
    Virt,
}

impl Machine {
    fn choose(vmm: &Vmm, host: &HostFacts) -> Self {
        match (host.arch.as_str(), vmm.accelerated || host.tsc_khz.is_some()) {
            ("aarch64", _) => Self::Virt,
            (_, true) => Self::Microvm,
            (_, false) => Self::Q35,
        }
    }

    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Microvm => &["-M", "microvm,acpi=on,x-option-roms=off", "-bios", "qboot.rom"],
            Self::Q35 => &["-M", "q35,sata=off,smbus=off,usb=off,vmport=off,i8042=off"],
            Self::Virt => &["-M", "virt,gic-version=max"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{files, host};
    use super::*;
    use crate::microvm::{Kvm, VmmChoice, sample_spec};

    fn line(kvm: Kvm, tsc_khz: Option<u32>, arch: &str) -> String {
        let host = HostFacts { tsc_khz, arch: arch.to_owned(), ..host(kvm, None) };
        let vmm = Vmm::choose(VmmChoice::Qemu, &host).unwrap();
        launch(&vmm, &sample_spec(), &host, &files(), 7).argv.join(" ")
    }

    #[test]
    fn each_host_gets_its_machine_type() {
        let software = line(Kvm::Missing, Some(2_596_144), "x86_64");
        assert!(software.contains("-M microvm") && software.contains("tsc_early_khz=2596144"), "{software}");
        let unknown = line(Kvm::Missing, None, "x86_64");
        assert!(
            unknown.contains("-M q35")
                && unknown.contains("virtio-net-pci")
                && unknown.contains("mvm.bus=pci")
        );
        let kvm = line(Kvm::Usable, None, "x86_64");
        assert!(
            kvm.contains("-M microvm") && kvm.contains("-accel kvm") && !kvm.contains("tsc_early"),
            "{kvm}"
        );
        let arm = line(Kvm::Missing, None, "aarch64");
        assert!(arm.contains("-M virt") && arm.contains("console=ttyAMA0"), "{arm}");
    }
}
