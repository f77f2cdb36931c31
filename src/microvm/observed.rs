//! What is there: the facts that one look at the Linux side brings.

use std::collections::BTreeMap;

use super::frozen::Frozen;
use super::publish::{self, PortStates};
use super::spec::{MachineName, Spec};
use crate::image::{Image, ImageName, seed::Keys};
use crate::script;
use crate::shell::{Answer, AnswerError, Script};
use crate::vmm::release;

/// How wide to look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// This machine only; all of them when none is named.
    pub machine: Option<&'a MachineName>,
    /// Try what setup needs to know as well: namespaces, sudo, subordinate ids.
    pub probe: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    pub host: HostFacts,
    pub images: Vec<ImageState>,
    pub machines: Vec<Machine>,
}

/// What the Linux side is and has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// As `uname -m` says it.
    pub arch: String,
    pub os: String,
    pub kernel: String,
    pub user: String,
    pub uid: u32,
    /// MVM_HOME.
    pub home: String,
    pub memory_mib: u64,
    pub cpus: u32,
    /// Free for mvm in the file system of MVM_HOME, in bytes.
    pub free_bytes: u64,
    pub kvm: Kvm,
    pub tun: Device,
    /// The programs that were found, and where.
    pub tools: BTreeMap<String, String>,
    /// The one to take, if there is any.
    pub firecracker: Option<Program>,
    pub qemu: Option<Program>,
    /// The processor, as it calls itself.
    pub cpu: String,
    /// The TSC's frequency in kHz, where the host's kernel tells it reliably.
    pub tsc_khz: Option<u32>,
    /// The Linux side's clock, in unix seconds.
    pub now: u64,
    /// Of which generation a VM's provisioning is; nothing where the Linux side is none of mvm's VMs.
    pub provisioned: Option<u32>,
    /// Whether that has to be followed by a restart.
    pub wants_restart: bool,
    /// Found by a probe only.
    pub probed: Option<Probed>,
}

/// What only a probe finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probed {
    pub user_namespaces: UserNamespaces,
    /// Whether the user has subordinate ids, or is root and needs none.
    pub has_subids: bool,
    /// The first id that no user has as a subordinate one.
    pub next_subid: u32,
    /// A file that says Debian's keys are there.
    pub has_debian_keyring: bool,
    pub has_apt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserNamespaces {
    #[default]
    Allowed,
    /// Ubuntu's AppArmor restriction (23.10 and later).
    AppArmor,
    /// Switched off in the kernel, or by a container's own rules.
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kvm {
    Usable,
    #[default]
    Missing,
    /// It is there, but this user may not open it.
    Denied,
    /// It opens, but the CPU shows neither vmx nor svm: no guest would boot.
    NoCpuSupport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    Usable,
    #[default]
    Missing,
    Denied,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: String,
    /// `10.0.2`; empty when it does not say.
    pub version: String,
}

/// An image as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    Usable(Box<Image>),
    /// Its folder's name, and what is wrong.
    Broken(String, String),
}

/// A machine as it is on disk and in the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub name: MachineName,
    /// What was asked for, or why that cannot be read.
    pub spec: Result<Spec, String>,
    pub state: State,
    /// The image that it is made of, also where nothing else in its vm.json can be read.
    pub image_id: Option<String>,
    /// What it was started with, where it runs.
    pub started_with: Option<Spec>,
    /// Present only when one machine was looked at.
    pub keys: Option<Keys>,
    /// What the disk takes on the host, in bytes.
    pub disk_used: u64,
    /// The size of the disk as the guest sees it, in bytes.
    pub disk_size: u64,
    /// What the VMM takes of the host's memory, in bytes; 0 while it does not run.
    pub memory_used: u64,
    /// Those that it publishes while it runs.
    pub ports: PortStates,
    /// Whether it was about to be suspended when that was cut off: it lives, and may be paused.
    pub half_suspended: bool,
    /// How many snapshots of it there are.
    pub snapshots: usize,
    /// Whether its first command came by what waited for that (microvm/first.pl).
    pub began: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// How its VMM ended, when that was not a clean stop.
    Stopped(Option<String>),
    /// Its memory is on the disk.
    Suspended(Box<Frozen>),
    /// The VMM runs, and SSH has not been up yet.
    Booting(Running),
    /// SSH answers.
    Running(Running),
    /// SSH was up and does not answer now.
    Stuck(Running),
}

/// The processes of a running machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The VMM's process, which holds the cell's namespaces.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime: u64,
    /// What it was started as: `qemu` or `firecracker`.
    pub vmm: String,
    /// Whether with KVM.
    pub accelerated: bool,
}

impl Machine {
    /// What it runs with, which `mvm set` does not change; of one that does not run, what it is to have.
    pub fn started_as(&self) -> Option<&Spec> {
        self.started_with.as_ref().or(self.spec.as_ref().ok())
    }
}

impl State {
    pub fn running(&self) -> Option<&Running> {
        match self {
            Self::Stopped(_) | Self::Suspended(_) => None,
            Self::Booting(running) | Self::Running(running) | Self::Stuck(running) => Some(running),
        }
    }

    /// The memory of a machine that is suspended.
    pub fn suspended(&self) -> Option<&Frozen> {
        match self {
            Self::Suspended(frozen) => Some(frozen),
            _ => None,
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Stopped(_) => "stopped",
            Self::Suspended(_) => "suspended",
            Self::Booting(_) => "booting",
            Self::Running(_) => "running",
            Self::Stuck(_) => "not answering",
        }
    }
}

impl Observed {
    pub fn machine(&self, name: &MachineName) -> Option<&Machine> {
        self.machines.iter().find(|machine| &machine.name == name)
    }

    /// The newest usable image of that name.
    pub fn image(&self, name: &ImageName) -> Option<&Image> {
        let name = name.to_string();
        self.usable_images()
            .filter(|image| image.label() == name && image.arch == self.host.arch)
            .max_by_key(|image| image.created)
    }

    /// The image whose kernel and tools others are made with: the newest `debian:bookworm`. From 9.8 on OpenSSH starts further
    /// programs for each session by their place in its own root, which the tools are not.
    pub fn tools(&self) -> Option<&Image> {
        self.usable_images()
            .filter(|image| image.label() == ImageName::default().to_string() && image.arch == self.host.arch)
            .max_by_key(|image| image.created)
    }

    pub fn usable_images(&self) -> impl Iterator<Item = &Image> {
        self.images.iter().filter_map(|image| match image {
            ImageState::Usable(image) => Some(&**image),
            ImageState::Broken(..) => None,
        })
    }

    pub fn image_by_id(&self, id: &str) -> Option<&ImageState> {
        self.images.iter().find(|image| match image {
            ImageState::Usable(image) => image.id == id,
            ImageState::Broken(folder, _) => folder == id,
        })
    }
}

/// Looks at the Linux side; changes nothing.
pub fn look(scope: Scope<'_>) -> Script<Observed> {
    script!("look" with ["cell/lib", "microvm/lib"], read)
        .input("ONLY", scope.machine.map_or("", MachineName::as_str))
        .input("PROBE", if scope.probe { "yes" } else { "no" })
        .input("TOOLS", crate::doctor::TOOLS.join(" "))
}

fn read(answer: &Answer) -> Result<Observed, AnswerError> {
    let mut images: Vec<ImageState> = answer.all("IMAGE").filter_map(read_image).collect();
    images.sort_by_key(|image| match image {
        ImageState::Usable(image) => image.id.clone(),
        ImageState::Broken(folder, _) => folder.clone(),
    });
    let mut machines = Vec::new();
    for name in answer.all("MACHINE") {
        // A folder that is no machine's is not mvm's business.
        if let Ok(name) = name.parse::<MachineName>() {
            machines.push(read_machine(name, answer)?);
        }
    }
    Ok(Observed { host: read_host(answer)?, images, machines })
}

fn read_host(answer: &Answer) -> Result<HostFacts, AnswerError> {
    let device = |key| match answer.text(key) {
        Some("usable") => Device::Usable,
        Some("denied") => Device::Denied,
        _ => Device::Missing,
    };
    let program = |key| {
        let (version, path) = answer.text(key)?.split_once(' ')?;
        Some(Program { path: path.to_owned(), version: version.to_owned() })
    };
    // `CHOSEN VERSION PATH`
    let installed = answer.all("INSTALLED").filter_map(|line| {
        let (chosen, rest) = line.split_once(' ')?;
        let (version, path) = rest.split_once(' ')?;
        Some((Program { path: path.to_owned(), version: version.to_owned() }, chosen == "yes"))
    });
    let installed = installed.collect();
    let tools = answer.all("TOOL").filter_map(|line| line.split_once(' '));
    let probed = match answer.text("USERNS") {
        None => None,
        Some(word) => Some(Probed {
            user_namespaces: match word {
                "allowed" => UserNamespaces::Allowed,
                "apparmor" => UserNamespaces::AppArmor,
                _ => UserNamespaces::Off,
            },
            has_subids: answer.text("SUBIDS") == Some("yes"),
            next_subid: answer.get("NEXT_SUBID")?,
            has_debian_keyring: answer.text("KEYRING") == Some("yes"),
            has_apt: answer.text("APT") == Some("yes"),
        }),
    };
    Ok(HostFacts {
        arch: answer.get("ARCH")?,
        os: answer.get("OS")?,
        kernel: answer.get("KERNEL")?,
        user: answer.get("LOGIN")?,
        uid: answer.get("ID")?,
        home: answer.get("HOME")?,
        memory_mib: answer.get::<u64>("MEMORY_KIB")? / 1024,
        cpus: answer.get("CPUS")?,
        free_bytes: answer.get("FREE_BYTES")?,
        kvm: match answer.text("KVM") {
            Some("usable") => Kvm::Usable,
            Some("denied") => Kvm::Denied,
            Some("no-cpu-support") => Kvm::NoCpuSupport,
            _ => Kvm::Missing,
        },
        tun: device("TUN"),
        tools: tools.map(|(name, path)| (name.to_owned(), path.to_owned())).collect(),
        firecracker: release::preferred(program("FIRECRACKER"), installed),
        qemu: program("QEMU"),
        cpu: answer.text("CPU").unwrap_or_default().to_owned(),
        tsc_khz: answer.optional("TSC_KHZ")?,
        now: answer.get("NOW")?,
        provisioned: answer.optional("PROVISIONED")?,
        wants_restart: answer.text("RESTART") == Some("yes"),
        probed,
    })
}

/// `FOLDER KERNEL BASE INITRD JSON`, the three being the files' sizes.
fn read_image(line: &str) -> Option<ImageState> {
    let mut words = line.splitn(5, ' ');
    let folder = words.next()?.to_owned();
    let sizes: Vec<u64> = words.by_ref().take(3).map(|size| size.parse().unwrap_or(0)).collect();
    let image = match Image::parse(words.next().unwrap_or_default()) {
        Ok(image) => image,
        Err(why) => return Some(ImageState::Broken(folder, why)),
    };
    let files = [("kernel", image.kernel.bytes), ("base", image.base.bytes), ("initrd", image.initrd.bytes)];
    for ((name, wanted), size) in files.into_iter().zip(sizes) {
        if size == 0 {
            return Some(ImageState::Broken(folder, format!("its file `{name}` is missing")));
        } else if size != wanted {
            return Some(ImageState::Broken(
                folder,
                format!("its file `{name}` has {size} bytes instead of {wanted}"),
            ));
        }
    }
    Some(ImageState::Usable(Box::new(image)))
}

fn read_machine(name: MachineName, answer: &Answer) -> Result<Machine, AnswerError> {
    let of = |fact: &str| format!("{fact}.{name}");
    let spec = match answer.text(&of("SPEC")) {
        None => Err("its vm.json is missing".to_owned()),
        // A machine's folder is its name; a rename that was cut off may have left another one in the file.
        Some(text) => Spec::parse(text).map(|spec| Spec { name: name.clone(), ..spec }),
    };
    let image_id = spec
        .as_ref()
        .map_or_else(|_| answer.text(&of("SPEC")).and_then(image_of), |spec| Some(spec.image_id.clone()));
    let state = match answer.text(&of("CELL")) {
        None => match answer.text(&of("FROZEN")) {
            Some(meta) => {
                let now = answer.text(&of("FROZEN_NOW")).unwrap_or_default();
                State::Suspended(Box::new(Frozen::read(meta.split('\t'), now)))
            }
            None => State::Stopped(answer.text(&of("ENDED")).map(str::to_owned)),
        },
        Some(cell) => {
            let running = read_running(cell)
                .ok_or_else(|| AnswerError::Invalid { key: of("CELL"), value: cell.to_owned() })?;
            match answer.text(&of("SSHD")) {
                Some("answers") => State::Running(running),
                Some(_) => State::Stuck(running),
                None => State::Booting(running),
            }
        }
    };
    let mut started_with = answer.text(&of("RUNS")).and_then(|text| Spec::parse(text).ok());
    // What a machine may reach changes at once, and only where that is written down as well.
    if let (Some(runs), Ok(spec)) = (&mut started_with, &spec) {
        runs.net = spec.net.clone();
    }
    let keys = keys(answer, name.as_str());
    let (disk_used, disk_size) = answer
        .text(&of("DISK"))
        .and_then(|text| text.split_once(' '))
        .map_or((0, 0), |(used, size)| (used.parse().unwrap_or(0), size.parse().unwrap_or(0)));
    let memory_used = answer.optional(&of("MEMORY"))?.unwrap_or(0);
    let half_suspended = answer.text(&of("HALF")).is_some();
    let snapshots = answer.optional(&of("SNAPSHOTS"))?.unwrap_or(0);
    let ports = publish::read(answer, &of("PORT"));
    let began = answer.text(&of("BEGAN")).is_some();
    Ok(Machine {
        name,
        spec,
        state,
        image_id,
        started_with,
        keys,
        disk_used,
        disk_size,
        memory_used,
        ports,
        half_suspended,
        snapshots,
        began,
    })
}

/// What a vm.json names as its image that may be broken or a newer mvm's otherwise.
fn image_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("\"image_id\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}

/// `PID UPTIME VMM ACCELERATOR`; the last two are the machine's own file's.
fn read_running(cell: &str) -> Option<Running> {
    let mut words = cell.split(' ');
    Some(Running {
        pid: words.next()?.parse().ok()?,
        uptime: words.next()?.parse().ok()?,
        vmm: words.next().unwrap_or("unknown").to_owned(),
        accelerated: words.next() == Some("kvm"),
    })
}

/// A machine's keys, where an answer has them all: each on one line, with tabs for line ends.
pub(super) fn keys(answer: &Answer, name: &str) -> Option<Keys> {
    let key = |fact: &str| answer.text(&format!("{fact}.{name}")).map(|text| text.replace('\t', "\n"));
    Some(Keys {
        host: key("HOST_KEY")?,
        host_public: key("HOST_KEY_PUBLIC")?,
        authorized: key("AUTHORIZED")?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ANSWER: &str = r#"::mvm::
ARCH=x86_64
OS=Debian GNU/Linux 12 (bookworm)
KERNEL=6.1.0
NOW=1790000000
LOGIN=dev
ID=1000
HOME=/home/dev/.local/share/mvm
MEMORY_KIB=4194304
CPUS=2
FREE_BYTES=100000000000
KVM=denied
TUN=usable
TOOL=ip /usr/sbin/ip
QEMU=7.2.22 /usr/bin/qemu-system-x86_64
IMAGE=abc 10 20 30 {"version":1,"id":"abc","name":"debian","suite":"bookworm","arch":"x86_64","created":5,"kernel":{"bytes":10},"base":{"bytes":20},"initrd":{"bytes":30}}
IMAGE=cut 10 19 30 {"version":1,"id":"cut","name":"debian","suite":"bookworm","arch":"x86_64","created":6,"kernel":{"bytes":10},"base":{"bytes":20},"initrd":{"bytes":30}}
IMAGE=bad 0 0 0 
MACHINE=web
SPEC.web={"version":1,"name":"web","image":"debian:bookworm","image_id":"abc","cpus":2,"memory_mib":512,"disk_bytes":10737418240,"vmm":"auto","created":1}
CELL.web=4321 60 qemu tcg
SSHD.web=silent
DISK.web=4096 10737418240
MACHINE=torn
ENDED.torn=killed by SIGKILL
MACHINE=.half.new
"#;

    pub(in crate::microvm) fn sample() -> Observed {
        read(&Answer::parse(ANSWER).unwrap()).unwrap()
    }

    #[test]
    fn facts_are_read() {
        let observed = sample();
        assert_eq!(observed.host.kvm, Kvm::Denied);
        assert_eq!(observed.host.memory_mib, 4096);
        assert_eq!(observed.host.qemu.as_ref().unwrap().version, "7.2.22");
        assert_eq!(observed.machines.len(), 2);
        let web = observed.machine(&"web".parse().unwrap()).unwrap();
        assert_eq!(web.state.word(), "not answering");
        assert_eq!(web.disk_used, 4096);
        let torn = observed.machine(&"torn".parse().unwrap()).unwrap();
        assert_eq!(torn.state, State::Stopped(Some("killed by SIGKILL".into())));
        assert!(torn.spec.is_err());
    }

    #[test]
    fn a_truncated_image_is_not_used() {
        let observed = sample();
        assert_eq!(observed.image(&ImageName::default()).unwrap().id, "abc");
        let Some(ImageState::Broken(_, why)) = observed.image_by_id("cut") else { panic!() };
        assert_eq!(why, "its file `base` has 19 bytes instead of 20");
        assert!(matches!(observed.image_by_id("bad"), Some(ImageState::Broken(..))));
    }
}
