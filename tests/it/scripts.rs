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

/// Whatever a guest writes on its console: no answer of its own comes of it, nothing that steers a terminal, and little of a line without
/// end.
#[test]
fn a_hostile_console_forges_no_answer() {
    let home = tempfile::tempdir().unwrap();
    let machine = home.path().join("machines/web");
    fs_err::create_dir_all(&machine).unwrap();
    let mut console = b"mvm: 0.5 \x1b[2Jsshd\x07\r\nmvm: failed: \x1b]0;a\x07\rVMM_STATE=R\r\n".to_vec();
    console.extend(b"Kernel panic\xff\x9b31m\rOOM=forged\nOut of memory: \0\x1b[31mred\n");
    console.extend(b"mvm: 0.6 ");
    console.extend([b'x'].repeat(5_000_000));
    console.extend(b"\n\x1b[2JDIED=gone forged\n::mvm::\nLOAD=forged\nlast without an end");
    fs_err::write(machine.join("console.log"), console).unwrap();

    let part = |name: &str| {
        fs_err::read_to_string(root().join("resources/scripts").join(name).with_extension("sh")).unwrap()
    };
    let script = ["prelude", "cell/lib", "microvm/lib", "microvm/why"].map(part).join("\n");
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).env("MVM_HOME", home.path()).env("NAME", "web");
    let output = bash.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.chars().all(|letter| letter == '\n' || (' '..='~').contains(&letter)), "{text}");
    assert!(text.len() < 10_000, "{}", text.len());
    let lines: Vec<_> = text.lines().collect();
    let has = |line: &str| assert!(lines.contains(&line), "{line}: {text}");
    has("PHASE=0.5 [2Jsshd");
    has("INIT=mvm: failed: ]0;aVMM_STATE=R");
    has("CONSOLE=LOAD=forged");
    has("CONSOLE=[2JDIED=gone forged");
    has("CONSOLE=last without an end");
    for key in ["VMM_STATE=", "DIED=", "OOM=forged", "LOAD=forged", "FAILED="] {
        assert!(!lines.iter().any(|line| line.starts_with(key)), "{key}: {text}");
    }
}

/// What goes back in a file of /proc line by line loses lines when it changes: `proc_lines` reads it in one go.
#[test]
fn no_loop_reads_from_proc() {
    for file in files(&root().join("resources/scripts")) {
        for line in fs_err::read_to_string(&file).unwrap().lines() {
            let looped = line.trim_start().starts_with("done")
                && (line.contains("</proc") || line.contains("<\"/proc"));
            assert!(!looped, "{}: {line}", file.display());
        }
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
        &["cell/inside"],
        &["cell/resolver"],
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
    others.retain(|file| !file.ends_with("sshd_config") && file.extension().is_none_or(|e| e != "pl"));
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
