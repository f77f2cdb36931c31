//! What others give to mvm, each kind with all that reads it: the fuzzers' targets (fuzz/), and tests over their corpus. Whatever the
//! bytes, they end in an answer or an error.

use std::io;
use std::path::Path;

use crate::image::merge::{Blob, Layer, Merged};
use crate::image::{Image, ImageName, kernel, oci};
use crate::microvm::{self, MachineName, Policy, Scope, evidence};
use crate::network::traffic;
use crate::project::Project;
use crate::sftp;
use crate::shell::Answer;

/// A layer of an image.
pub fn merge(bytes: &[u8]) {
    let Ok(file) = tempfile::NamedTempFile::new() else { return };
    if fs_err::write(file.path(), bytes).is_err() {
        return;
    }
    let Ok(blob) = Blob::file(file.path().to_owned()) else { return };
    if let Ok(merged) = Merged::read(vec![Layer { blob, diff_id: None }], &mut |_| {}) {
        merged.write(&mut io::sink(), &mut |_| {}).unwrap_or_default();
    }
}

/// An image's name; what was read reads again as the same.
pub fn reference(bytes: &[u8]) {
    if let Some(name) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<ImageName>().ok()) {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}

/// A manifest, an index, or an image's configuration.
pub fn manifest(bytes: &[u8]) {
    for arch in ["x86_64", "aarch64"] {
        drop(oci::parse(bytes, arch));
        if let Ok(image) = oci::parse_config(bytes, arch) {
            // It becomes a line of sshd's settings.
            assert!(!crate::image::sshd_environment(image.config.env.iter().flatten()).contains('\n'));
            assert!(image.config.directory().is_none_or(|folder| !folder.contains('\n')));
        }
    }
}

/// `image.json`.
pub fn image_json(bytes: &[u8]) {
    if let Ok(image) = Image::parse(&String::from_utf8_lossy(bytes)) {
        let text = serde_json::to_string(&image).unwrap_or_default();
        assert_eq!(Image::parse(&text), Ok(image));
    }
}

/// A kernel: its form, what it holds packed, and its configuration.
pub fn kernel(bytes: &[u8]) {
    for arch in ["x86_64", "aarch64"] {
        drop(kernel::of_bytes(bytes.to_vec(), arch));
    }
}

/// `mvm.toml`, which may come with a project of somebody else's.
pub fn project(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(project) = Project::parse(Path::new("/home/me/web/mvm.toml"), text) else { return };
    for (index, machine) in project.machines.iter().enumerate() {
        assert!(!machine.name.as_str().is_empty());
        // Each comes after those that it needs, whatever the file says.
        assert!(
            machine
                .depends_on
                .iter()
                .all(|needed| project.machines[..index].iter().any(|before| before.name == *needed))
        );
    }
    assert_eq!(project.with_dependencies(&[]).map(|all| all.len()).ok(), Some(project.machines.len()));
}

/// What a script answers, some of which a guest or a VMM said: it steers no terminal.
pub fn answer(bytes: &[u8]) {
    let Some(answer) = Answer::parse(&String::from_utf8_lossy(bytes)) else { return };
    for key in ["PHASE", "PANIC", "CONSOLE", "NUMBER"] {
        for value in answer.all(key) {
            assert!(!value.contains(|letter: char| letter.is_control() && letter != '\t'));
        }
        drop(answer.optional::<u64>(key));
    }
}

/// What the rules of a cell counted, and, from the first line that is empty on, what its resolver noted: all that is shown of it could be
/// pasted.
pub fn traffic(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (listing, noted) = text.split_once("\n\n").unwrap_or((&text, ""));
    let Ok(flows) = traffic::read(listing, noted.lines()) else { return };
    for flow in &flows {
        let shown = flow.names.iter().chain([&flow.protocol]);
        assert!(shown.flat_map(|text| text.chars()).all(|letter| letter.is_ascii_graphic()), "{flow:?}");
    }
    let policy = traffic::learned(&flows).to_string();
    assert!(policy.parse::<crate::network::Policy>().is_ok(), "{policy}");
}

/// What scripts answer of a machine. The guest and its VMM have a part in it: the console, the resolver's names, the words of a VMM that
/// fails, the files of its disk.
pub fn answers(bytes: &[u8]) {
    let Ok(name) = "hostile".parse::<MachineName>() else { return };
    let answer = || [b"::mvm::\n", bytes].concat();
    let observed = microvm::look(Scope { machine: None, probe: true }).answered(answer());
    let remains = microvm::why(&name).answered(answer());
    if let (Ok(observed), Ok(remains)) = (&observed, &remains) {
        for machine in &observed.machines {
            microvm::stands(machine, remains);
            microvm::diagnose(observed, machine, remains);
        }
    }
    drop(microvm::timeline(&name).answered(answer()));
    drop(microvm::usage().answered(answer()));
    drop(microvm::traffic(&name).answered(answer()));
    drop(evidence::gather(&name, &Policy::default()).answered(answer()));
    if let Ok(seen) = evidence::gather_host().answered(answer()) {
        evidence::judge_host(&seen, "/home/user/.local/share/mvm");
    }
}

/// What a machine sends to the server of a shared folder: nothing around the folder is read or changed.
pub fn sftp(bytes: &[u8]) {
    const SECRET: &str = "what is outside";
    let Ok(around) = tempfile::tempdir() else { return };
    let at = |name: &str| around.path().join(name);
    let make = || -> io::Result<sftp::Folder> {
        fs_err::create_dir_all(at("in/sub"))?;
        fs_err::create_dir(at("out"))?;
        fs_err::write(at("out/secret"), SECRET)?;
        fs_err::write(at("in/file"), "content")?;
        for (link, target) in [("in/out", "../out"), ("in/up", ".."), ("in/secret", "../out/secret")] {
            fs_err::os::unix::fs::symlink(target, at(link))?;
        }
        Ok(sftp::Folder::open(&at("in"), false)?)
    };
    let Ok(folder) = make() else { return };
    let mut answers = Vec::new();
    drop(sftp::serve(&folder, bytes, &mut answers));
    assert!(!answers.windows(SECRET.len()).any(|seen| seen == SECRET.as_bytes()));
    assert_eq!(fs_err::read_to_string(at("out/secret")).ok().as_deref(), Some(SECRET));
    let count = |name: &str| fs_err::read_dir(at(name)).map_or(0, Iterator::count);
    assert_eq!((count("."), count("out")), (2, 1));
}
