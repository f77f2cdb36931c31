//! Every script is checked, and none is forgotten.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{install, skipped, which};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn sources() -> String {
    let texts = files(&root().join("src")).into_iter().map(|file| fs_err::read_to_string(file).unwrap());
    texts.collect()
}

/// `script!("a/b" with ["lib"], …)`: the script's name and its libraries, for each script in the sources.
pub(crate) fn uses(source: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for part in source.split("script!(\"").skip(1) {
        let Some((name, rest)) = part.split_once('"') else {
            continue;
        };
        let libs = rest.trim_start().strip_prefix("with [").and_then(|rest| rest.split_once(']'));
        let libs = libs
            .map_or(Vec::new(), |(list, _)| list.split('"').skip(1).step_by(2).map(str::to_owned).collect());
        found.push((name.to_owned(), libs));
    }
    found
}

#[test]
fn no_script_is_forgotten() {
    let sources = sources();
    let scripts = root().join("resources/scripts");
    for file in files(&scripts) {
        let name = file.strip_prefix(&scripts).unwrap().with_extension("");
        let name = name.to_str().unwrap();
        let used = sources.contains(&format!("\"{name}\""))
            || sources
                .contains(&format!("resources/scripts/{}", file.strip_prefix(&scripts).unwrap().display()));
        assert!(used, "{name} is sent by nobody");
    }
}

/// Each script as it is sent: the prelude, its libraries, itself.
#[test]
fn shellcheck_finds_nothing() {
    install(&[("shellcheck", "shellcheck")]);
    let Some(shellcheck) = which("shellcheck") else {
        return skipped("the scripts were not checked: shellcheck is not installed");
    };
    let read = |name: &str| {
        fs_err::read_to_string(root().join("resources/scripts").join(format!("{name}.sh"))).unwrap()
    };
    let mut texts: Vec<(String, String)> = Vec::new();
    for (name, libs) in uses(&sources()) {
        if !root().join(format!("resources/scripts/{name}.sh")).exists() {
            continue;
        }
        let parts: Vec<String> = std::iter::once(read("prelude"))
            .chain(libs.iter().map(|lib| read(lib)))
            .chain([read(&name)])
            .collect();
        texts.push((name, format!("# shellcheck shell=bash\n{}", parts.concat())));
    }
    assert!(texts.len() >= 8, "the scripts were not found in the sources");
    // Those without a prelude.
    for names in [
        &["cell/cell"][..],
        &["cell/shut", "cell/inside"],
        &["cell/shut", "cell/resolver"],
        &["cell/lib", "microvm/lib", "microvm/enter"],
        &["cell/lib", "microvm/lib", "microvm/proxy"],
        &["microvm/relay"],
        &["cell/lib", "microvm/console"],
        &["cell/lib", "microvm/logs"],
    ] {
        let text: String = names.iter().map(|name| read(name)).collect();
        texts.push((names.join(" + "), format!("# shellcheck shell=bash\n{text}")));
    }
    let mut others = files(&root().join("resources/guest"));
    others.retain(|file| !file.ends_with("sshd_config"));
    others.extend(files(&root().join(".ci")));
    others.push(root().join("install.sh"));
    others.extend(files(&root().join("packaging")));
    others.retain(|file| file.extension().is_none_or(|e| e != "in"));
    others.extend(files(&root().join("testing/fakes")));
    others.push(root().join("testing/neighbourhood.sh"));
    others.extend(
        files(&root().join("benches")).into_iter().filter(|file| file.extension().is_some_and(|e| e == "sh")),
    );
    let mut found = String::new();
    for (name, text) in texts {
        found.push_str(&check(&name, Command::new(&shellcheck).arg("-"), &text));
    }
    for file in others {
        // With what it sources.
        let mut command = Command::new(&shellcheck);
        command.arg("--external-sources").arg(&file).current_dir(root());
        found.push_str(&check(&file.display().to_string(), &mut command, ""));
    }
    assert!(found.is_empty(), "{found}");
}

/// What shellcheck finds, if anything.
fn check(name: &str, command: &mut Command, text: &str) -> String {
    let mut child =
        command.arg("--color=never").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return String::new();
    }
    format!("{name}:\n{}\n", String::from_utf8_lossy(&output.stdout))
}
