//! The file that Lima makes the VM from: `resources/lima.yaml.tera`, filled in.

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera, Value};

use super::{Host, Nested, PROVISION, plan};
use crate::microvm::{DiskSize, Memory};
use crate::shell;

/// What the VM is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    pub cpus: u64,
    pub memory: Memory,
    pub disk: DiskSize,
}

impl Sizes {
    /// What is not asked for is sized to the host: its processors, half of its memory, and a disk that takes what is used.
    pub fn of(host: &Host, cpus: Option<u8>, memory: Option<Memory>, disk: Option<DiskSize>) -> Self {
        let half = u32::try_from(host.memory_mib / 2).unwrap_or(u32::MAX).clamp(2 << 10, 16 << 10);
        Self {
            cpus: cpus.map_or(host.cpus.clamp(1, 8), u64::from),
            memory: memory.unwrap_or(Memory::from_mib(half)),
            disk: disk.unwrap_or(DiskSize::from_bytes(100 << 30)),
        }
    }
}

#[derive(Debug, Serialize)]
struct Image<'a> {
    location: &'a str,
    arch: &'a str,
    digest: Option<&'a str>,
}

/// Ubuntu 24.04, as Lima 2.2's own templates pin it. Ubuntu removes dated releases after some months: then the newest is
/// taken.
const IMAGES: &[Image<'static>] = &[
    Image {
        location: "https://cloud-images.ubuntu.com/releases/noble/release-20260705/ubuntu-24.04-server-cloudimg-amd64.img",
        arch: "x86_64",
        digest: Some("sha256:ffe6203da54deeb6db5d2a98a83f9ec8e55f149d3f7ba622e1abe5fa966ee3d6"),
    },
    Image {
        location: "https://cloud-images.ubuntu.com/releases/noble/release-20260705/ubuntu-24.04-server-cloudimg-arm64.img",
        arch: "aarch64",
        digest: Some("sha256:7df0201546f75b8bcc1044594c806c35749421ad3c9bc1be2a3ab806cfae39cc"),
    },
    Image {
        location: "https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-amd64.img",
        arch: "x86_64",
        digest: None,
    },
    Image {
        location: "https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-arm64.img",
        arch: "aarch64",
        digest: None,
    },
];

/// The script that provisions the VM, whole.
const SCRIPT: &str = concat!(
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/scripts/prelude.sh")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/scripts/lima/provision.sh")),
);

const TEMPLATE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/lima.yaml.tera"));

/// Renders the file. `image` is a path or an address of the user's own; `commands` are an administrator's.
pub fn render(
    host: &Host,
    sizes: &Sizes,
    image: Option<&str>,
    commands: &[String],
) -> tera::TeraResult<String> {
    let mut tera = Tera::default();
    // JSON is valid YAML, so no value can break out of its place.
    tera.register_filter("json", |value: Value, _: Kwargs, _: &State| {
        serde_json::to_string(&value).unwrap_or_default()
    });
    let words: Vec<String> = commands
        .iter()
        .map(|command| String::from_utf8_lossy(&shell::quote(command.as_bytes())).into_owned())
        .collect();
    let mut context = Context::new();
    context.insert("vm_type", plan::vm_type(host.os));
    context.insert("nested", &(host.nested == Nested::Yes));
    context.insert("cpus", &sizes.cpus);
    context.insert("memory", &format!("{}MiB", sizes.memory.mib()));
    context.insert("disk", &format!("{}B", sizes.disk.bytes()));
    match image {
        Some(location) => context.insert("images", &[Image { location, arch: &host.arch, digest: None }]),
        None => context.insert("images", IMAGES),
    }
    context.insert("provision", &PROVISION);
    context.insert("commands", &words.join(" "));
    context.insert("script", SCRIPT);
    tera.render_str(TEMPLATE, &context, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lima::Os;
    use crate::shell::Call;

    fn rendered(host: &Host, image: Option<&str>) -> String {
        let sizes = Sizes::of(host, None, None, None);
        render(host, &sizes, image, &["sh -c 'echo \"a\"'".to_owned()]).unwrap()
    }

    fn mac() -> Host {
        Host {
            os: Os::MacOs(15, 1),
            arch: "aarch64".into(),
            chip: Some("Apple M3".into()),
            cpus: 11,
            memory_mib: 18_432,
            nested: Nested::Yes,
        }
    }

    #[test]
    fn the_file_for_a_mac() {
        let text = rendered(&mac(), None);
        let (head, script) = text.split_once("provision:").unwrap();
        insta::assert_snapshot!(head);
        assert!(script.contains("LIMA_USER={{.User}}"), "{script}");
        let line = script.lines().find(|line| line.trim().starts_with("set --")).unwrap();
        let print = Call::new(["sh".to_owned(), "-c".to_owned(), format!("{line}\nprintf %s \"$1\"")]);
        assert_eq!(shell::run(&print, &mut |_| {}).unwrap().stdout, b"sh -c 'echo \"a\"'");
    }

    #[test]
    fn linux_has_qemu_and_an_image_of_ones_own() {
        let text = rendered(
            &Host { os: Os::Linux, arch: "x86_64".into(), cpus: 2, memory_mib: 8192, ..mac() },
            Some("/a \"b\".img"),
        );
        assert!(text.contains("vmType: \"qemu\"\ncpus: 2\nmemory: \"4096MiB\""), "{text}");
        assert!(
            !text.contains("nestedVirtualization") && text.contains(r#"location: "/a \"b\".img""#),
            "{text}"
        );
    }

    #[test]
    fn lima_finds_no_expression_but_its_own_in_it() {
        let text = rendered(&mac(), None);
        let own: Vec<_> = text.match_indices("{{").map(|(at, _)| &text[at..at + 8]).collect();
        assert_eq!(own, ["{{.User}", "{{.Name}"]);
        // Lima's `list` fails above 64 KiB.
        assert!(SCRIPT.len() < 32 << 10);
    }

    #[test]
    fn a_changed_script_gets_a_new_number() {
        let script = include_bytes!("../../resources/scripts/lima/provision.sh");
        let digest = crate::digest::Sha256::of(script).to_string();
        assert_eq!(
            (PROVISION, &digest[..12]),
            (3, "d35c46a4cc80"),
            "raise PROVISION and write down the new digest"
        );
    }
}
