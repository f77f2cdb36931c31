//! The plan as tables: a state, a goal, the steps.

use super::*;
use crate::error::Kind;
use crate::image::{Image, ImageFile};
use crate::microvm::observed::{Device, HostFacts, Probed, Program, Running};
use crate::microvm::sample_machine;

/// A host where everything is there, with the image, and no machine.
fn ready() -> Observed {
    let file = ImageFile { bytes: 1, sha256: None };
    let image = Image {
        version: 1,
        id: "abc".into(),
        name: "debian".into(),
        suite: "bookworm".into(),
        arch: "x86_64".into(),
        created: 1,
        kernel: file,
        base: file,
        initrd: file,
        ..Image::default()
    };
    let tool = |tool: &&str| ((*tool).to_owned(), format!("/usr/bin/{tool}"));
    Observed {
        host: HostFacts {
            arch: "x86_64".into(),
            home: "/home/dev/mvm".into(),
            user: "dev".into(),
            memory_mib: 8192,
            free_bytes: 100 << 30,
            kvm: Kvm::Missing,
            tun: Device::Usable,
            tools: doctor::TOOLS.iter().map(tool).collect(),
            qemu: Some(Program { path: "/usr/bin/qemu-system-x86_64".into(), version: "7.2.22".into() }),
            tsc_khz: Some(2_000_000),
            probed: Some(Probed {
                has_subids: true,
                has_debian_keyring: true,
                has_apt: true,
                next_subid: 100_000,
                user_namespaces: UserNamespaces::Allowed,
            }),
            ..HostFacts::default()
        },
        images: vec![ImageState::Usable(Box::new(image))],
        machines: Vec::new(),
    }
}

fn named(name: &str, suite: &str) -> ImageState {
    let ImageState::Usable(image) = ready().images.remove(0) else { panic!() };
    ImageState::Usable(Box::new(Image { name: name.into(), suite: suite.into(), ..*image }))
}

fn with_machine(state: State) -> Observed {
    Observed { machines: vec![sample_machine(state)], ..ready() }
}

fn running() -> Running {
    Running { pid: 7, uptime: 1, vmm: "qemu".into(), accelerated: false }
}

fn try_plan(observed: &Observed, goal: Goal, changes: Changes) -> Result<Vec<Step>> {
    let name = "web".parse().unwrap();
    plan(observed, &Wanted::new(goal, &name, changes, &MachineDefaults::default()))
}

/// The steps by name alone.
fn words(observed: &Observed, goal: Goal) -> Vec<&'static str> {
    try_plan(observed, goal, Changes::default()).unwrap().iter().map(word).collect()
}

fn word(step: &Step) -> &'static str {
    match step {
        Step::Admin(_) => "admin",
        Step::BuildImage(_) => "image",
        Step::InstallFirecracker { asked: true, .. } => "firecracker!",
        Step::InstallFirecracker { asked: false, .. } => "firecracker",
        Step::End { .. } => "end",
        Step::Restrict(_) => "restrict",
        Step::Publish(_) => "publish",
        Step::Create(_) => "create",
        Step::Start { .. } => "start",
    }
}

fn refusal(observed: &Observed, goal: Goal, changes: Changes) -> (Kind, String) {
    let error = try_plan(observed, goal, changes).unwrap_err();
    assert!(!error.hints.is_empty(), "every refusal says what to do next: {error:?}");
    (error.kind, format!("{} | {}", error.source, error.hints.join(" | ")))
}

#[test]
fn a_new_machine_has_no_more_processors_than_help() {
    for (kvm, processors, expected) in [(Kvm::Usable, 8, 2), (Kvm::Usable, 1, 1), (Kvm::Missing, 8, 1)] {
        let mut observed = ready();
        (observed.host.kvm, observed.host.cpus) = (kvm, processors);
        let qemu = Changes { vmm: Some(VmmChoice::Qemu), ..Changes::default() };
        let steps = try_plan(&observed, Goal::Dev, qemu).unwrap();
        let [Step::Create(spec), ..] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(spec.cpus, expected, "{processors}");
    }
}

#[test]
fn dev_does_what_is_missing_in_every_state() {
    let bare = Observed {
        host: HostFacts { tools: [].into(), qemu: None, ..ready().host },
        images: Vec::new(),
        machines: Vec::new(),
    };
    assert_eq!(words(&bare, Goal::Dev), ["admin", "image", "create"]);
    assert_eq!(words(&Observed { images: Vec::new(), ..ready() }, Goal::Dev), ["image", "create", "start"]);
    assert_eq!(words(&ready(), Goal::Dev), ["create", "start"]);
    for (state, steps) in [
        (State::Stopped(None), &["start"][..]),
        (State::Stopped(Some("killed by SIGKILL".into())), &["start"]),
        (State::Booting(running()), &["start"]),
        (State::Running(running()), &[]),
        (State::Stuck(running()), &["end", "start"]),
    ] {
        assert_eq!(words(&with_machine(state.clone()), Goal::Dev), steps, "{state:?}");
    }
}

#[test]
fn setup_stops_short_of_a_machine() {
    assert_eq!(words(&ready(), Goal::Setup), [""; 0]);
    assert_eq!(words(&Observed { images: Vec::new(), ..ready() }, Goal::Setup), ["image"]);
    let closed = Observed { host: HostFacts { tun: Device::Denied, ..ready().host }, ..ready() };
    assert_eq!(words(&closed, Goal::Setup), ["admin"]);
}

#[test]
fn firecracker_is_installed_where_it_is_of_use() {
    let with = |kvm: Kvm, version: Option<&str>| {
        let program =
            |version: &str| Program { path: "/usr/bin/firecracker".into(), version: version.into() };
        Observed { host: HostFacts { kvm, firecracker: version.map(program), ..ready().host }, ..ready() }
    };
    let default = MachineDefaults::default();
    let name = "web".parse().unwrap();
    let steps = |observed: &Observed, goal, vmm, lacking| -> Vec<&str> {
        let changes = Changes { vmm, ..Changes::default() };
        let wanted = Wanted {
            lacking: Lacking { firecracker: lacking, ..Lacking::default() },
            ..Wanted::new(goal, &name, changes, &default)
        };
        plan(observed, &wanted).unwrap().iter().map(word).filter(|step| step.starts_with("fire")).collect()
    };
    for (kvm, version, goal, vmm, lacking, expected) in [
        (Kvm::Usable, None, Goal::Setup, None, false, &["firecracker"][..]),
        (Kvm::Usable, None, Goal::Dev, None, false, &["firecracker"]),
        // QEMU serves when it is not to be had.
        (Kvm::Usable, None, Goal::Dev, None, true, &[]),
        (Kvm::Usable, None, Goal::Start, None, false, &[]),
        (Kvm::Usable, Some("1.16.0"), Goal::Dev, None, false, &[]),
        (Kvm::Usable, Some("1.4.0"), Goal::Dev, None, false, &["firecracker"]),
        (Kvm::Usable, None, Goal::Dev, Some(VmmChoice::Qemu), false, &[]),
        (Kvm::Usable, None, Goal::Setup, Some(VmmChoice::Firecracker), false, &["firecracker!"]),
        (Kvm::Missing, None, Goal::Setup, None, false, &[]),
    ] {
        assert_eq!(
            steps(&with(kvm, version), goal, vmm, lacking),
            expected,
            "{kvm:?} {version:?} {goal:?} {vmm:?}"
        );
    }
    // A machine that has run with QEMU is not kept waiting for a download; one that wants Firecracker is.
    let stopped = |vmm| {
        let mut observed = with_machine(State::Stopped(None));
        observed.host.kvm = Kvm::Usable;
        observed.machines[0].spec.as_mut().unwrap().vmm = vmm;
        observed
    };
    assert_eq!(steps(&stopped(VmmChoice::Auto), Goal::Dev, None, false), [""; 0]);
    assert_eq!(steps(&stopped(VmmChoice::Firecracker), Goal::Dev, None, false), ["firecracker!"]);
}

#[test]
fn the_image_where_none_was_asked_for() {
    let (debian, trixie, ubuntu) =
        (named("debian", "bookworm"), named("debian", "trixie"), named("ubuntu", ""));
    let name = "web".parse().unwrap();
    let default = MachineDefaults::default();
    for (images, lacking, expected) in [
        (vec![], false, "build the image ubuntu"),
        (vec![], true, "build the image debian:bookworm"),
        // Others are there because they were asked for by name.
        (vec![trixie.clone()], false, "build the image ubuntu"),
        (vec![debian.clone()], false, ""),
        (vec![ubuntu.clone()], false, ""),
        (vec![debian, trixie, ubuntu], false, ""),
    ] {
        let observed = Observed { images, ..ready() };
        let lacking = Lacking { ubuntu: lacking, ..Lacking::default() };
        let wanted = Wanted { lacking, ..Wanted::new(Goal::Setup, &name, Changes::default(), &default) };
        let steps = plan(&observed, &wanted).unwrap();
        assert_eq!(steps.iter().map(Step::describe).collect::<String>(), expected, "{:?}", observed.images);
    }
}

#[test]
fn an_image_of_an_older_mvm_is_built_anew_where_that_is_asked_for() {
    let (name, default) = ("web".parse().unwrap(), MachineDefaults::default());
    for (recipe, goal, renew, expected) in [
        (0, Goal::Setup, true, 1),
        (0, Goal::Setup, false, 0),
        (crate::image::debian::RECIPE, Goal::Setup, true, 0),
    ] {
        let mut observed = ready();
        if let ImageState::Usable(image) = &mut observed.images[0] {
            image.recipe = recipe;
        }
        let wanted = Wanted { renew, ..Wanted::new(goal, &name, Changes::default(), &default) };
        let steps = plan(&observed, &wanted).unwrap();
        let builds =
            steps.iter().filter(|step| matches!(step, Step::BuildImage(ImageName::Debian(_)))).count();
        assert_eq!((builds, steps.len()), (expected, expected), "{recipe} {renew}");
    }
}

#[test]
fn a_release_that_is_named_is_installed_whatever_is_on_path() {
    let name = "web".parse().unwrap();
    let default = MachineDefaults::default();
    let release = "v1.15.1".parse().unwrap();
    let wanted = Wanted {
        firecracker: Some(&release),
        ..Wanted::new(Goal::Setup, &name, Changes::default(), &default)
    };
    let mut observed = ready();
    assert_eq!(plan(&observed, &wanted).unwrap().iter().map(word).collect::<Vec<_>>(), ["firecracker!"]);
    observed.host.firecracker =
        Some(Program { path: release.path("/home/dev/mvm"), version: "1.15.1".into() });
    assert_eq!(plan(&observed, &wanted).unwrap(), []);
}

#[test]
fn a_running_machine_is_entered_even_when_the_host_has_lost_a_package() {
    let observed = with_machine(State::Running(running()));
    let observed = Observed { host: HostFacts { tools: [].into(), ..observed.host }, ..observed };
    assert_eq!(words(&observed, Goal::Dev), [""; 0]);
}

#[test]
fn start_says_what_is_missing() {
    let no_image = Observed { images: Vec::new(), ..ready() };
    assert!(refusal(&no_image, Goal::Start, Changes::default()).1.contains("mvm setup"));
    let no_tools = Observed { host: HostFacts { tools: [].into(), ..ready().host }, ..ready() };
    let (_, text) = refusal(&no_tools, Goal::Start, Changes::default());
    assert!(text.contains("passt") && text.contains("mvm setup"), "{text}");
    let (_, text) = refusal(&with_machine(State::Stuck(running())), Goal::Start, Changes::default());
    assert!(text.contains("mvm dev web"), "{text}");
}

#[test]
fn a_stopped_machine_takes_on_new_values_and_a_running_one_says_how() {
    let changes = Changes { cpus: Some(4), memory: Some(Memory::from_mib(2048)), ..Changes::default() };
    let steps = try_plan(&with_machine(State::Stopped(None)), Goal::Start, changes.clone()).unwrap();
    let [Step::Start { spec, changed, .. }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((spec.cpus, spec.memory_mib.mib()), (4, 2048));
    assert_eq!(changed, &["cpus: 2 → 4", "memory: 512 MiB → 2 GiB"]);

    let (kind, text) = refusal(&with_machine(State::Running(running())), Goal::Dev, changes);
    assert_eq!(kind, Kind::Failure);
    assert!(text.contains("mvm stop web && mvm dev web --cpus 4 --memory 2G"), "{text}");
    let user = Changes { user: Some("me".parse().unwrap()), ..Changes::default() };
    let steps = try_plan(&with_machine(State::Stopped(None)), Goal::Start, user.clone()).unwrap();
    let [Step::Start { spec, changed, .. }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((spec.user.as_ref(), &changed[..]), (user.user.as_ref(), &["user: root → me".to_owned()][..]));
    // What it has already is no change.
    let root = Some("root".parse().unwrap());
    let same = Changes { cpus: Some(2), user: root, ..Changes::default() };
    assert_eq!(try_plan(&with_machine(State::Running(running())), Goal::Dev, same).unwrap(), []);
}

#[test]
fn what_cannot_be_is_refused_with_the_valid_form() {
    let stopped = with_machine(State::Stopped(None));
    let smaller = Changes { disk: Some(DiskSize::from_bytes(1 << 30)), ..Changes::default() };
    assert_eq!(refusal(&stopped, Goal::Start, smaller).0, Kind::Usage);
    let trixie = Changes { image: Some("debian:trixie".parse().unwrap()), ..Changes::default() };
    assert!(refusal(&stopped, Goal::Dev, trixie).1.contains("mvm destroy web"));
    let memory = Changes { memory: Some(Memory::from_mib(9000)), ..Changes::default() };
    let (kind, text) = refusal(&ready(), Goal::Start, memory);
    assert!(kind == Kind::Usage && text.contains("8 GiB"), "{text}");
    let firecracker = Changes { vmm: Some(VmmChoice::Firecracker), ..Changes::default() };
    assert!(refusal(&ready(), Goal::Start, firecracker).1.contains("no /dev/kvm"));
}

#[test]
fn a_host_without_namespaces_is_told_so_before_anything_is_done() {
    let mut observed = ready();
    observed.host.probed.as_mut().unwrap().user_namespaces = UserNamespaces::Off;
    assert!(refusal(&observed, Goal::Dev, Changes::default()).1.contains("user.max_user_namespaces"));
}

#[test]
fn space_is_checked_before_work_begins() {
    let full = Observed {
        host: HostFacts { free_bytes: 1 << 20, ..ready().host },
        images: Vec::new(),
        machines: Vec::new(),
    };
    let (_, text) = refusal(&full, Goal::Dev, Changes::default());
    assert!(text.contains("1 MiB") && text.contains("MVM_HOME"), "{text}");
}

#[test]
fn broken_things_are_named_and_nothing_is_touched() {
    let mut observed = with_machine(State::Stopped(None));
    observed.machines[0].spec = Err("vm.json cannot be read".into());
    assert!(refusal(&observed, Goal::Dev, Changes::default()).1.contains("mvm destroy web"));
    let mut observed = with_machine(State::Stopped(None));
    observed.images = vec![ImageState::Broken("abc".into(), "its file `base` is missing".into())];
    let (_, text) = refusal(&observed, Goal::Dev, Changes::default());
    assert!(
        text.contains("its file `base` is missing") && text.contains("/home/dev/mvm/images/abc"),
        "{text}"
    );
}

#[test]
fn images_of_others_need_the_tools_of_debian() {
    let asked = |text: &str| Changes { image: Some(text.parse().unwrap()), ..Changes::default() };
    let steps = |observed: &Observed, goal| {
        let steps = try_plan(observed, goal, asked("docker.io/library/python:3.12"));
        steps.map(|steps| steps.iter().map(Step::describe).collect::<Vec<_>>())
    };
    let without = Observed { images: Vec::new(), ..ready() };
    let lines = steps(&without, Goal::Dev).unwrap();
    assert_eq!(
        lines[..2],
        ["build the image debian:bookworm", "build the image docker.io/library/python:3.12"]
    );
    assert_eq!(steps(&ready(), Goal::Dev).unwrap()[0], "build the image docker.io/library/python:3.12");
    // A newer release's SSH server does not start from outside its own root.
    let trixie = Observed { images: vec![named("debian", "trixie")], ..ready() };
    assert_eq!(steps(&trixie, Goal::Dev).unwrap()[0], "build the image debian:bookworm");
    assert!(steps(&ready(), Goal::Start).is_err());
    let error = try_plan(&ready(), Goal::Dev, asked("app")).unwrap_err();
    assert!(error.hints[0].contains("mvm image import FILE --as app"), "{error:?}");
}

/// What `start -p` does with a machine that publishes 8080:80, which is open there or not.
fn publishing(state: State, open: bool, asked: &[&str]) -> Result<Vec<Step>> {
    let mut observed = with_machine(state);
    let machine = &mut observed.machines[0];
    let port: Port = "8080:80".parse().unwrap();
    machine.spec.as_mut().unwrap().ports = vec![port];
    let fares = if open { PortState::Open } else { PortState::Closed("its forwarder ended".into()) };
    machine.ports = [(port.listen.id(), fares)].into();
    let ports = asked.iter().map(|text| text.parse().unwrap()).collect();
    try_plan(&observed, Goal::Start, Changes { ports, ..Changes::default() })
}

#[test]
fn ports_are_opened_where_they_lack() {
    let spec_of = |steps: &[Step]| match steps {
        [Step::Publish(spec) | Step::Start { spec, .. }] => {
            spec.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        steps => panic!("{steps:?}"),
    };
    let runs = || State::Running(running());
    assert_eq!(publishing(runs(), true, &[]).unwrap(), []);
    assert_eq!(publishing(runs(), true, &["8080:80"]).unwrap(), []);
    for (state, open, asked, word, ports) in [
        (runs(), false, &[][..], "publish", "8080:80"),
        (runs(), true, &["8081:81"], "publish", "8080:80 8081:81"),
        (runs(), true, &["8080:81"], "publish", "8080:81"),
        (State::Stopped(None), false, &["53/udp"], "start", "8080:80 53:53/udp"),
    ] {
        let steps = publishing(state, open, asked).unwrap();
        assert_eq!((self::word(&steps[0]), spec_of(&steps).as_str()), (word, ports), "{asked:?}");
    }
    for state in [runs(), State::Stopped(None)] {
        let error = publishing(state, true, &["0.0.0.0:8080:80"]).unwrap_err();
        assert!(error.kind == Kind::Usage && !error.hints.is_empty(), "{error:?}");
    }
}

#[test]
fn a_network_policy_holds_at_once() {
    let plan = |observed: &Observed, goal, net: &str| {
        let changes = Changes { net: Some(net.parse().unwrap()), ..Changes::default() };
        let steps = try_plan(observed, goal, changes);
        steps.map(|steps| steps.iter().map(Step::describe).collect::<Vec<_>>().join("; "))
    };
    let suspended = || State::Suspended(Box::new(crate::microvm::frozen::tests::sample()));
    for state in [State::Running(running()), suspended()] {
        let mut observed = with_machine(state);
        let done = plan(&observed, Goal::Start, "allow=a.org").unwrap();
        assert_eq!(done, "let the machine web reach: allow=a.org");
        assert!(!plan(&observed, Goal::Start, "open").unwrap().contains("reach"));
        observed.host.tools.remove("dnsmasq");
        let done = plan(&observed, Goal::Dev, "learn").unwrap();
        assert_eq!(done, "as root: install dnsmasq-base; let the machine web reach: learn");
        assert_eq!(plan(&observed, Goal::Start, "learn").unwrap_err().kind, Kind::NotSetUp);
        assert!(plan(&observed, Goal::Start, "none").is_ok());
    }
    // A new one, and one that is started.
    for mut observed in [ready(), with_machine(State::Stopped(None))] {
        let steps = try_plan(
            &observed,
            Goal::Start,
            Changes { net: Some("none".parse().unwrap()), ..Changes::default() },
        );
        let Some(Step::Start { spec, .. }) = steps.unwrap().pop() else { panic!() };
        assert_eq!(spec.net, Policy::Nothing);
        observed.host.tools.remove("dnsmasq");
        assert_eq!(plan(&observed, Goal::Start, "allow=a.org").unwrap_err().kind, Kind::NotSetUp);
        assert!(plan(&observed, Goal::Start, "allow=10.0.0.0/8").is_ok());
        assert!(
            plan(&observed, Goal::Dev, "allow=a.org").unwrap().starts_with("as root: install dnsmasq-base")
        );
    }
}

#[test]
fn mvm_toml_is_beneath_the_flags() {
    let name = "web".parse().unwrap();
    let defaults = MachineDefaults::default();
    let memory = |mib| Some(Memory::from_mib(mib));
    let file = Changes {
        cpus: Some(4),
        memory: memory(2048),
        ports: vec!["8000:80".parse().unwrap()],
        only_ports: true,
        ..Changes::default()
    };
    let wanted = |flags: Changes| Wanted::new(Goal::Dev, &name, flags, &defaults).declared(&file);
    let started = |observed: &Observed, wanted: &Wanted<'_>| match plan(observed, wanted).unwrap().pop() {
        Some(Step::Start { spec, changed, .. }) => (spec, changed.join(", ")),
        other => panic!("{other:?}"),
    };
    let (spec, _) = started(&ready(), &wanted(Changes { memory: memory(512), ..Changes::default() }));
    assert_eq!((spec.cpus, spec.memory_mib.mib(), spec.ports.len()), (4, 512, 1));

    // A machine that is stopped takes it on; a list says all there are to be.
    let mut stopped = with_machine(State::Stopped(None));
    stopped.machines[0].spec.as_mut().unwrap().ports = vec!["9000:90".parse().unwrap()];
    let (spec, changed) = started(&stopped, &wanted(Changes::default()));
    assert_eq!(spec.ports, file.ports);
    assert_eq!(changed, "cpus: 2 → 4, memory: 512 MiB → 2 GiB, publishes 8000:80, publishes 9000:90 no more");

    // One that runs is entered as it is, and its ports are as the file says; with flags it is refused.
    let running = with_machine(State::Running(running()));
    let steps = plan(&running, &wanted(Changes::default())).unwrap();
    assert!(matches!(&steps[..], [Step::Publish(spec)] if spec.ports == file.ports), "{steps:?}");
    assert_eq!(pending(&running, &wanted(Changes::default())), ["cpus: 2 → 4", "memory: 512 MiB → 2 GiB"]);
    assert_eq!(pending(&with_machine(State::Stopped(None)), &wanted(Changes::default())), [""; 0]);
    let error = plan(&running, &wanted(Changes { cpus: Some(3), ..Changes::default() })).unwrap_err();
    assert!(error.hints[0].contains("mvm stop web && mvm dev web --cpus 3`"), "{error:?}");
}

#[test]
fn a_suspended_machine_goes_on_from_its_memory_where_it_can() {
    let frozen = crate::microvm::frozen::tests::sample();
    let mut observed = with_machine(State::Suspended(Box::new(frozen)));
    let fits = crate::microvm::frozen::tests::host();
    observed.host = HostFacts {
        kvm: fits.kvm,
        cpu: fits.cpu,
        kernel: fits.kernel,
        firecracker: fits.firecracker,
        ..observed.host
    };
    let describe = |observed: &Observed| {
        let steps = try_plan(observed, Goal::Start, Changes::default()).unwrap();
        steps.iter().map(Step::describe).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(describe(&observed), "resume the machine web: Firecracker 1.16.1 goes on from the memory");
    let cpus = Changes { cpus: Some(7), ..Changes::default() };
    let error = try_plan(&observed, Goal::Dev, cpus).unwrap_err();
    assert!(error.source.to_string().contains("is suspended with other values: cpus: 2 → 7"), "{error:?}");
    assert!(error.hints[0].contains("mvm stop web && mvm dev web --cpus 7"), "{error:?}");
    observed.host.cpu = "another".into();
    assert_eq!(
        describe(&observed),
        "start the machine web from its disk (it was suspended on another processor (AMD EPYC)): \
         Firecracker 1.16.1 with KVM"
    );
}

#[test]
fn a_machine_that_was_left_paused_is_woken_and_not_ended() {
    let mut observed = with_machine(State::Stuck(running()));
    assert_eq!(words(&observed, Goal::Dev)[0], "end");
    observed.machines[0].half_suspended = true;
    for goal in [Goal::Dev, Goal::Start] {
        assert_eq!(words(&observed, goal), ["start"]);
    }
}
