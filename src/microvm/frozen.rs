//! A suspended machine's memory: what it was written by, and whether it may be resumed here and now.

use super::HostFacts;
use crate::vmm::{Kind, Vmm, memory};
use crate::{ui, version};

/// The folder's `meta`, and how it stands now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frozen {
    /// Of `meta`, as it stands there.
    version: String,
    vmm: String,
    vmm_version: String,
    accelerated: bool,
    cpu: String,
    kernel: String,
    /// When it was suspended, in unix seconds.
    pub at: u64,
    /// The disk that it belongs to: size, time of the last write, and a digest of its beginning.
    pub disk: String,
    /// The memory file's size, in bytes.
    memory: u64,
    /// What the memory takes on the host, in bytes.
    pub bytes: u64,
    memory_now: u64,
    disk_now: String,
}

/// What a start does with a memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thaw {
    /// There is none.
    Boot,
    Resume(Box<Frozen>),
    /// It cannot be resumed, and why.
    Discard(String),
}

impl Frozen {
    /// Reads the lines of `meta`, and what was seen of the files: `BYTES SIZE DISK_SIZE DISK_TIME`. What is missing is as empty.
    pub fn read<'a>(meta: impl Iterator<Item = &'a str>, now: &str) -> Self {
        let mut frozen = Self::default();
        for (key, value) in meta.filter_map(|line| line.split_once('=')) {
            match key {
                "FORMAT" => value.clone_into(&mut frozen.version),
                "VMM_VERSION" => value.clone_into(&mut frozen.vmm_version),
                "AS" => {
                    let (vmm, accelerator) = value.split_once(' ').unwrap_or_default();
                    vmm.clone_into(&mut frozen.vmm);
                    frozen.accelerated = accelerator == "kvm";
                }
                "CPU" => value.clone_into(&mut frozen.cpu),
                "KERNEL" => value.clone_into(&mut frozen.kernel),
                "AT" => frozen.at = value.parse().unwrap_or(0),
                "DISK" => value.clone_into(&mut frozen.disk),
                "MEMORY" => frozen.memory = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut words = now.splitn(3, ' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        (frozen.bytes, frozen.memory_now) = (number(), number());
        words.next().unwrap_or_default().clone_into(&mut frozen.disk_now);
        frozen
    }

    /// What is written into `meta` of the host that the machine runs on.
    pub fn facts(host: &HostFacts) -> String {
        format!("FORMAT={}\nCPU={}\nKERNEL={}", version::MEMORY.version, host.cpu, host.kernel)
    }

    /// The VMM that goes on from it; else why none can, and so only the disk is left.
    pub fn fits(&self, host: &HostFacts) -> Result<Vmm, String> {
        version::MEMORY.check_text(&self.version)?;
        if self.memory == 0 || self.memory != self.memory_now {
            let Self { memory, memory_now, .. } = self;
            return Err(format!("its memory is not whole: {memory_now} bytes instead of {memory}"));
        }
        // The third word, a digest, is compared when it is resumed.
        if self.disk_now.is_empty() || !self.disk.starts_with(&format!("{} ", self.disk_now)) {
            return Err("its disk was changed meanwhile".to_owned());
        }
        let kind = Kind::read(&self.vmm).ok_or("its memory was written by a VMM that mvm does not know")?;
        let title = kind.title();
        let Some(program) = memory::program(kind, host) else {
            return Err(format!("its memory is {title}'s, which is not installed any more"));
        };
        if program.version != self.vmm_version {
            return Err(format!(
                "its memory was written by {title} {}, and {} is here now",
                self.vmm_version, program.version
            ));
        }
        let vmm = Vmm::resuming(kind, program, host);
        if vmm.accelerated != self.accelerated {
            return Err("KVM has come or gone since".to_owned());
        }
        if self.cpu != host.cpu {
            return Err(format!("it was suspended on another processor ({})", self.cpu));
        }
        if self.accelerated && self.kernel != host.kernel {
            return Err(format!("the host's kernel was {} then, and is {} now", self.kernel, host.kernel));
        }
        Ok(vmm)
    }

    /// `for 3 hours, 105 MiB of memory`
    pub fn describe(&self, now: u64) -> String {
        format!("for {}, {} of memory", ui::duration(now.saturating_sub(self.at)), ui::size(self.bytes))
    }
}

#[cfg(test)]
pub(in crate::microvm) mod tests {
    use super::*;
    use crate::microvm::{Kvm, Program};

    const META: &str = "FORMAT=1\tCPU=AMD EPYC\tKERNEL=6.1.0\tVMM_VERSION=1.16.1\tAS=firecracker kvm\tAT=100\t\
                        DISK=1024 7.5 abc\tMEMORY=512";
    const NOW: &str = "300 512 1024 7.5";

    pub(in crate::microvm) fn sample() -> Frozen {
        Frozen::read(META.split('\t'), NOW)
    }

    pub(in crate::microvm) fn host() -> HostFacts {
        let program = Program { path: "/bin/firecracker".into(), version: "1.16.1".into() };
        HostFacts {
            kvm: Kvm::Usable,
            cpu: "AMD EPYC".into(),
            kernel: "6.1.0".into(),
            firecracker: Some(program),
            ..HostFacts::default()
        }
    }

    #[test]
    fn a_memory_is_resumed_only_where_it_belongs() {
        assert_eq!(sample().fits(&host()).unwrap().why, "Firecracker 1.16.1 goes on from the memory");
        let other = |change: &dyn Fn(&mut HostFacts)| {
            let mut host = host();
            change(&mut host);
            sample().fits(&host).unwrap_err()
        };
        assert!(other(&|host| host.cpu = "Intel".into()).contains("another processor (AMD EPYC)"));
        assert!(other(&|host| host.kernel = "6.2.0".into()).contains("is 6.2.0 now"));
        assert!(other(&|host| host.firecracker = None).contains("not installed"));
        assert!(
            other(&|host| host.firecracker.as_mut().unwrap().version = "1.17.0".into())
                .contains("1.17.0 is here now")
        );
        assert!(other(&|host| host.kvm = Kvm::Missing).contains("KVM"));
        for (from, to, why) in [
            ("FORMAT=1", "FORMAT=2", "newer mvm"),
            ("FORMAT=1", "", ""),
            ("MEMORY=512", "MEMORY=513", "512 bytes instead of 513"),
            ("DISK=1024 7.5", "DISK=1024 7.25", "disk was changed"),
            ("AS=firecracker", "AS=other", "does not know"),
            ("", "", ""),
        ] {
            let read = Frozen::read(META.replace(from, to).split('\t'), NOW);
            match read.fits(&host()) {
                Ok(_) => assert!(why.is_empty(), "{to}"),
                Err(said) => assert!(!why.is_empty() && said.contains(why), "{to}: {said}"),
            }
        }
        assert!(Frozen::read("".split('\t'), "").fits(&host()).is_err());
        // In software any kernel of the host will do.
        let meta = META.replace("firecracker kvm", "qemu tcg").replace("1.16.1", "7.2.22");
        let qemu = Some(Program { path: "/bin/qemu".into(), version: "7.2.22".into() });
        let host = HostFacts { kvm: Kvm::Missing, qemu, kernel: "6.9".into(), ..host() };
        assert!(Frozen::read(meta.split('\t'), NOW).fits(&host).is_ok());
    }
}
