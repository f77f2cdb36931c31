//! What the two VMMs have in common: which one is taken, and the command line that starts it.
//!
//! A VMM is started in its machine's folder, so its paths are relative: short, and the same for every machine.

mod firecracker;
pub mod memory;
mod qemu;
pub mod release;

pub use release::Release;

use crate::bootstrap::Task;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::microvm::{HostFacts, Kvm, Program, Spec, VmmChoice};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Firecracker,
    Qemu,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
        }
    }

    /// The kind of that word.
    pub fn read(word: &str) -> Option<Self> {
        [Self::Firecracker, Self::Qemu].into_iter().find(|kind| kind.word() == word)
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Firecracker => "Firecracker",
            Self::Qemu => "QEMU",
        }
    }
}

/// The VMM that was taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vmm {
    pub kind: Kind,
    pub program: Program,
    /// With KVM, or in software.
    pub accelerated: bool,
    /// One line for the user.
    pub why: String,
}

/// An image's files, as the VMM sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Of kernel and base, from the machine's folder.
    pub folder: String,
    /// Whether there are tools for an image of others: a third drive.
    pub tools: bool,
    /// Whether the kernel is the user's, so that the initrd's modules may not be its own.
    pub own_kernel: bool,
}

impl Files {
    pub fn of(image: &Image) -> Self {
        Self {
            folder: format!("../../images/{}", image.id),
            tools: image.tools.is_some(),
            own_kernel: image.own_kernel,
        }
    }
}

/// How a machine's VMM is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub argv: Vec<String>,
    /// The content of `run/vmm.json`, which Firecracker reads.
    pub config: Option<String>,
    /// A guest's power-off leaves the VMM running, so the console has to be watched for it.
    pub watch_halt: bool,
}

impl Vmm {
    /// Takes the best VMM that the host can run, or the one asked for.
    pub fn choose(choice: VmmChoice, host: &HostFacts) -> Result<Self> {
        match choice {
            VmmChoice::Firecracker => Self::firecracker(host).map_err(|why| {
                let message = format!("Firecracker cannot run here: {why}");
                let error = match host.kvm {
                    Kvm::Usable => Error::not_set_up(message),
                    Kvm::Denied => Error::needs_admin(message),
                    Kvm::Missing | Kvm::NoCpuSupport => Error::failure(message),
                };
                error.hint(firecracker_remedy(host))
            }),
            VmmChoice::Qemu => Self::qemu(host, "as asked for"),
            VmmChoice::Auto => match Self::firecracker(host) {
                Ok(vmm) => Ok(vmm),
                Err(why) => Self::qemu(host, &why),
            },
        }
    }

    fn firecracker(host: &HostFacts) -> std::result::Result<Self, String> {
        kvm_trouble(host.kvm).map_or(Ok(()), Err)?;
        let program = host.firecracker.as_ref().ok_or("Firecracker is not installed")?;
        let version = release::supported(program).ok_or_else(|| {
            format!("Firecracker {} is not supported (mvm needs {})", program.version, release::SUPPORTED)
        })?;
        Ok(Self {
            kind: Kind::Firecracker,
            program: program.clone(),
            accelerated: true,
            why: format!("Firecracker {version} with KVM"),
        })
    }

    fn qemu(host: &HostFacts, why: &str) -> Result<Self> {
        let program = host.qemu.clone().ok_or_else(|| {
            Error::not_set_up(format!("`qemu-system-{}` is not installed", host.arch)).hint("run `mvm setup`")
        })?;
        let accelerated = host.kvm == Kvm::Usable;
        let how = if accelerated { "with KVM" } else { "in software emulation" };
        Ok(Self {
            kind: Kind::Qemu,
            why: format!("QEMU {} {how}: {why}", program.version),
            program,
            accelerated,
        })
    }

    /// The VMM of a machine that goes on from a memory, which no other can read.
    pub(crate) fn resuming(kind: Kind, program: &Program, host: &HostFacts) -> Self {
        Self {
            kind,
            program: program.clone(),
            accelerated: host.kvm == Kvm::Usable,
            why: format!("{} {} goes on from the memory", kind.title(), program.version),
        }
    }

    /// What starts the machine `spec` from the image in `image`, a path as seen from the machine's folder.
    pub fn launch(&self, spec: &Spec, host: &HostFacts, image: &Files, epoch: u64) -> Launch {
        match self.kind {
            Kind::Firecracker => firecracker::launch(self, spec, host, image, epoch),
            Kind::Qemu => qemu::launch(self, spec, host, image, epoch),
        }
    }
}

/// Why KVM is of no use here; nothing when it is.
pub fn kvm_trouble(kvm: Kvm) -> Option<String> {
    let why = match kvm {
        Kvm::Usable => return None,
        Kvm::Missing => "this host has no /dev/kvm",
        Kvm::Denied => "this user may not open /dev/kvm",
        Kvm::NoCpuSupport => "/dev/kvm opens, but the CPU shows neither vmx nor svm",
    };
    Some(why.to_owned())
}

/// What lets this user open /dev/kvm, where that is all that is missing.
pub fn kvm_task(host: &HostFacts) -> Option<Task> {
    (host.kvm == Kvm::Denied).then(|| Task::KvmGroup { user: host.user.clone() })
}

/// What makes KVM usable.
pub fn kvm_remedy(host: &HostFacts) -> String {
    match host.kvm {
        Kvm::Usable => String::new(),
        Kvm::Denied => {
            let task = kvm_task(host).map(|task| task.shown()).unwrap_or_default();
            format!("run `{task}` and log in again")
        }
        Kvm::Missing => {
            "load the module (`sudo modprobe kvm_intel` or `kvm_amd`), or switch on virtualization \
                         in the firmware or, in a VM, nested virtualization in its settings"
                .to_owned()
        }
        Kvm::NoCpuSupport => {
            "switch on nested virtualization in the settings of the VM that this host is".to_owned()
        }
    }
}

fn firecracker_remedy(host: &HostFacts) -> String {
    match host.kvm {
        Kvm::Usable => {
            let release = Release::pinned();
            format!("`mvm setup --firecracker {release}` installs it; or leave out `--vmm` to use QEMU")
        }
        _ => format!("{}; or leave out `--vmm` to use QEMU", kvm_remedy(host)),
    }
}

/// The bus that the guest's devices are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bus {
    Mmio,
    Pci,
}

/// What both VMMs put on the guest kernel's command line. `cryptomgr.notests` alone halves the kernel's boot
/// (ARCHITECTURE.md), and each line on the console costs an exit to the VMM. A fifth of the rest goes into finding the records of
/// weak functions that others stand for, so that tracing does not list them; left out, it does.
fn kernel_args(host: &HostFacts, image: &Files, bus: Bus, epoch: u64) -> Vec<String> {
    let console = if host.arch == "aarch64" { "ttyAMA0" } else { "ttyS0" };
    let bus = match bus {
        Bus::Mmio => "mmio",
        Bus::Pci => "pci",
    };
    [
        format!("console={console}"),
        "quiet loglevel=1 cryptomgr.notests initcall_blacklist=ftrace_check_for_weak_functions".to_owned(),
        "random.trust_cpu=on net.ifnames=0 panic=-1".to_owned(),
        format!("systemd.show_status=false mvm.bus={bus} mvm.epoch={epoch}"),
    ]
    .into_iter()
    .chain(image.tools.then(|| "mvm.tools=1".to_owned()))
    .chain(image.own_kernel.then(|| "mvm.own=1".to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn host(kvm: Kvm, firecracker: Option<&str>) -> HostFacts {
        HostFacts {
            arch: "x86_64".into(),
            user: "dev".into(),
            kvm,
            tsc_khz: Some(2_596_144),
            firecracker: firecracker.map(|v| Program { path: "/bin/firecracker".into(), version: v.into() }),
            qemu: Some(Program { path: "/usr/bin/qemu-system-x86_64".into(), version: "7.2.22".into() }),
            ..HostFacts::default()
        }
    }

    pub(super) fn files() -> Files {
        Files { folder: "../../images/abc".to_owned(), tools: false, own_kernel: false }
    }

    #[test]
    fn the_best_vmm_is_taken_and_the_reason_said() {
        for (kvm, firecracker, choice, expected) in [
            (Kvm::Usable, Some("1.16.1"), VmmChoice::Auto, "Firecracker 1.16.1 with KVM"),
            (Kvm::Usable, None, VmmChoice::Auto, "QEMU 7.2.22 with KVM: Firecracker is not installed"),
            (
                Kvm::Usable,
                Some("1.4.0"),
                VmmChoice::Auto,
                "QEMU 7.2.22 with KVM: Firecracker 1.4.0 is not supported (mvm needs >=1.11, <2)",
            ),
            (
                Kvm::NoCpuSupport,
                Some("1.16.1"),
                VmmChoice::Auto,
                "QEMU 7.2.22 in software emulation: /dev/kvm opens, but the CPU shows neither vmx nor svm",
            ),
            (Kvm::Usable, Some("1.16.1"), VmmChoice::Qemu, "QEMU 7.2.22 with KVM: as asked for"),
        ] {
            assert_eq!(Vmm::choose(choice, &host(kvm, firecracker)).unwrap().why, expected);
        }
    }

    #[test]
    fn a_vmm_that_cannot_run_is_refused_with_the_remedy() {
        let error = Vmm::choose(VmmChoice::Firecracker, &host(Kvm::Denied, Some("1.16.1"))).unwrap_err();
        assert!(error.source.to_string().contains("may not open /dev/kvm"), "{error:?}");
        assert!(error.hints[0].contains("usermod -aG kvm dev"), "{error:?}");
        let none = HostFacts { qemu: None, ..host(Kvm::Missing, None) };
        assert!(Vmm::choose(VmmChoice::Auto, &none).unwrap_err().hints[0].contains("mvm setup"));
    }
}
