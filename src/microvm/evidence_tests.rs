use super::*;
use crate::image::ImageFile;
use crate::microvm::sample_spec;

const ANSWER: &str = "::mvm::
RUNS=yes
NS=user own user:[1]
NS=mnt own mnt:[2]
NS=net own net:[3]
NS=pid own pid:[4]
NS=ipc own ipc:[5]
NS=uts own uts:[6]
STATUS=CapInh: 0000000000000000
STATUS=CapPrm: 0000000000000000
STATUS=CapEff: 0000000000000000
STATUS=CapBnd: 0000000000000000
STATUS=CapAmb: 0000000000000000
STATUS=NoNewPrivs: 1
STATUS=Seccomp: 2
LIMIT=Max core file size        0                    0                    bytes
LIMIT=Max processes             1024                 1024                 processes
LIMIT=Max open files            2048                 2048                 files
LIMIT=Max address space         9126805504           9126805504           bytes
SCOPE=memory.max 3221225472
SCOPE=pids.max 1024
MOUNT=ro /
MOUNT=ro /usr
MOUNT=ro /images/abc
MOUNT=rw /dev/kvm
MOUNT=rw /machines/web/disk.img
MOUNT=rw /machines/web/run/out
MOUNT=ro /machines/web/run/initrd
LISTEN=tcp 0100007F:1F90 perl
FILE=kernel aaaa
VMM=/usr/bin/qemu-system-x86_64 0123456789abcdef
PACKAGE=qemu-system-x86 1:7.2 unchanged
LOOPBACK=4321 mvm-loopback
TRIED=172.16.0.1 4321 exit 1
TRIED=192.0.2.1 4321 exit 1
TRIED=169.254.169.254 80 exit 1
TRIED=192.0.2.1 80 exit 1
RULE=		ct original ip daddr { 0.0.0.0/8 } goto refuse
RULE=		goto refuse
REFUSED=192.0.2.1 . tcp . 80
SECRET=TOKEN
";

fn judged(answer: &str) -> Vec<Finding> {
    let mut spec = sample_spec();
    spec.net = "allow=example.org".parse().unwrap();
    spec.ports = vec!["8080:80".parse().unwrap()];
    let file = |digits: &str| ImageFile { sha256: digits.repeat(64).parse().ok(), bytes: 1 };
    let image = Image { kernel: file("a"), base: file("b"), initrd: file("c"), ..Image::default() };
    let files: String = [("kernel", "a"), ("base", "b"), ("initrd", "c")]
        .iter()
        .map(|(name, digit)| format!("FILE={name} {}\n", digit.repeat(64)))
        .collect();
    let answer = answer.replace("FILE=kernel aaaa\n", &files);
    judge(&spec.name, &read(&Answer::parse(&answer).unwrap()).unwrap(), &spec, Some(&image))
}

#[test]
fn a_machine_that_is_as_promised_passes_each_probe() {
    let findings = judged(ANSWER);
    assert!(findings.iter().all(|finding| finding.ok == Some(true)), "{findings:#?}");
    assert!(findings.len() >= 12);
    let ports = findings.iter().find(|finding| finding.probe == "ports").unwrap();
    assert!(ports.evidence.contains("127.0.0.1:8080/tcp by perl"), "{ports:?}");
}

#[test]
fn each_probe_fails_by_what_it_is_there_for() {
    let firecracker = "VMM=/h/bin/firecracker-v1.16.1 0123456789abcdef\nRECORDED=ffff";
    for (from, to, probe, why) in [
        ("NS=net own net:[3]", "NS=net host net:[3]", "namespaces", "the host's: net"),
        ("CapEff: 0000000000000000", "CapEff: 0000000000001000", "rights", "CapEff 0000000000001000"),
        ("NoNewPrivs: 1", "NoNewPrivs: 0", "rights", "NoNewPrivs 0"),
        (
            "bytes\nLIMIT=Max processes             1024                 1024",
            "bytes\nLIMIT=Max processes             unlimited            unlimited",
            "limits",
            "processes unlimited",
        ),
        ("9126805504           bytes", "9126805505           bytes", "limits", "not 9126805504"),
        ("MOUNT=ro /usr\n", "MOUNT=ro /usr\nMOUNT=ro /home\n", "files it sees", "/home (ro)"),
        (
            "MOUNT=ro /machines/web/run/initrd",
            "MOUNT=rw /machines/web/run/initrd",
            "files it sees",
            "run/initrd (rw)",
        ),
        (
            "LISTEN=tcp 0100007F:1F90 perl",
            "LISTEN=tcp 00000000:1F90 pasta",
            "ports",
            "0.0.0.0:8080/tcp by pasta",
        ),
        ("RUNS=yes", "RUNS=yes\nOPEN=644 ./keys/id_ed25519", "modes", "644 ./keys/id_ed25519"),
        ("FILE=kernel aaaa\n", "FILE=kernel wrong\n", "image", "kernel is wrong instead of"),
        ("1:7.2 unchanged", "1:7.2 changed", "VMM's binary", "is not what the package"),
        (
            "VMM=/usr/bin/qemu-system-x86_64 0123456789abcdef",
            firecracker,
            "VMM's binary",
            "installed with ffff",
        ),
        (
            "192.0.2.1 4321 exit 1",
            "192.0.2.1 4321 mvm-loopback",
            "host's loopback",
            "192.0.2.1 4321 mvm-loopback",
        ),
        ("192.0.2.1 4321 exit 1", "192.0.2.1 4321 exit 0", "host's loopback", "reaches"),
        ("169.254.169.254 80 exit 1", "169.254.169.254 80 HTTP/1.0 401", "metadata", "HTTP/1.0 401"),
        ("192.0.2.1 80 exit 1", "192.0.2.1 80 exit 0", "network policy", "reaches 192.0.2.1"),
        ("REFUSED=192.0.2.1 ", "REFUSED=192.0.2.10 ", "network policy", "did not refuse it"),
        ("RULE=\t\tgoto refuse", "RULE=\t\tgoto pass", "network policy", "end with `goto pass`"),
        ("SECRET=TOKEN", "SECRET=TOKEN\nLEAK=vm.json", "secrets", "stands in vm.json"),
    ] {
        assert!(ANSWER.contains(from), "{from}");
        let findings = judged(&ANSWER.replace(from, to));
        let failed: Vec<_> = findings.iter().filter(|finding| finding.ok == Some(false)).collect();
        let [failed] = failed[..] else { panic!("{to}: {findings:#?}") };
        assert!(failed.probe == probe && failed.evidence.contains(why), "{to}: {failed:?}");
    }
}

#[test]
fn what_cannot_be_seen_is_not_taken_for_granted() {
    for (from, to, probe) in [
        ("NS=net own net:[3]", "NS=net own unreadable", "namespaces"),
        ("Seccomp: 2", "Seccomp: 0", "system calls"),
        ("LOOPBACK=4321 mvm-loopback\n", "", "host's loopback"),
        ("TRIED=169.254.169.254 80 exit 1\n", "", "metadata"),
        ("TRIED=192.0.2.1 80 exit 1\n", "", "network policy"),
        ("RULE=", "OTHER=", "network policy"),
        ("PACKAGE=qemu-system-x86 1:7.2 unchanged\n", "", "VMM's binary"),
    ] {
        let findings = judged(&ANSWER.replace(from, to));
        let unknown: Vec<_> = findings.iter().filter(|finding| finding.ok != Some(true)).collect();
        assert!(matches!(unknown[..], [one] if one.probe == probe && one.ok.is_none()), "{to}: {unknown:?}");
    }
    // Where Firecracker has no filter, something is wrong.
    let firecracker =
        ANSWER.replace("Seccomp: 2", "Seccomp: 0").replace("/usr/bin/qemu-system-x86_64", "/h/firecracker");
    assert!(
        judged(&firecracker)
            .iter()
            .any(|finding| finding.probe == "system calls" && finding.ok == Some(false))
    );
    assert!(judged("::mvm::\nRUNS=no\n").iter().all(|finding| finding.ok.is_none()));
}

#[test]
fn addresses_of_proc_net() {
    assert_eq!(address("0100007F:0050"), "127.0.0.1:80".parse().ok());
    assert_eq!(address("00000000000000000000000001000000:1F90"), "[::1]:8080".parse().ok());
    for bad in ["", "0100007F", "01007F:0050", "ü:1"] {
        assert_eq!(address(bad), None, "{bad}");
    }
}

#[test]
fn a_home_that_others_may_enter_is_told() {
    let seen = HostSeen {
        mode: Some("755".into()),
        open: vec!["755 ./bin".into()],
        strays: vec!["7 pasta of web".into()],
    };
    assert!(judge_host(&seen, "/h").iter().all(|finding| finding.ok == Some(false)));
    let seen = HostSeen { mode: Some("700".into()), strays: Vec::new(), ..seen };
    assert!(judge_host(&seen, "/h").iter().all(|finding| finding.ok == Some(true)));
}

#[test]
fn a_guest_that_nobody_can_ask_leaves_the_other_evidence() {
    let without: String = ANSWER
        .lines()
        .filter(|line| ["TRIED", "SECRET", "REFUSED"].iter().all(|key| !line.starts_with(key)))
        .fold(String::new(), |text, line| text + line + "\n");
    let findings = judged(&(without + "UNREACHABLE=yes\n"));
    let not_told: Vec<_> =
        findings.iter().filter(|finding| finding.ok.is_none()).map(|finding| finding.probe).collect();
    assert_eq!(not_told, ["host's loopback", "metadata", "network policy", "secrets", "guest"]);
    assert!(findings.iter().all(|finding| finding.ok != Some(false)), "{findings:?}");
}
