//! What a command in a machine gets is what was given, whatever it is made of.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::host::Host;

/// What shells, ssh and scripts may trip over, and bytes of any kind but NUL, which no argument holds.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let awkward = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\t",
        "'",
        "\"",
        "\\",
        "$",
        "`",
        "!",
        "*",
        "?",
        "~",
        "#",
        "-",
        "--",
        "-n",
        "-e",
        "=",
        "a=b",
        "%s",
        "\\n",
        "$(id)",
        "${HOME}",
        "&&",
        ";",
        "|",
        "<",
        ">",
        "\r",
        "\u{7f}",
        "ä",
        "日本",
        "\u{1f600}",
        "\x1b[31m",
    ]);
    let parts = vec(awkward, 1..6).prop_map(|parts| parts.concat().into_bytes());
    prop_oneof![2 => parts, 1 => vec(1..=u8::MAX, 0..64)]
}

/// Many words at a time, since a start of a process takes long in emulation.
pub(crate) fn arguments_arrive_as_given(host: &Host, machine: &str) {
    let config = Config { cases: 12, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let property = |(variable, words): (Vec<u8>, Vec<Vec<u8>>)| {
        let mut pair = b"VARIABLE=".to_vec();
        pair.extend(&variable);
        let mut command = host.mvm_command(&["exec", "-e"]);
        command.arg(OsString::from_vec(pair));
        command.args([machine, "--", "sh", "-c", r#"printf '%s\0' "$VARIABLE" "$@""#, "sh"]);
        command.args(words.iter().cloned().map(OsString::from_vec));
        let output = command.output().unwrap();
        let expected: Vec<u8> = std::iter::once(&variable)
            .chain(&words)
            .flat_map(|word| [word.as_slice(), b"\0"].concat())
            .collect();
        prop_assert!(
            output.status.success() && output.stdout == expected,
            "{:?} came back as {:?}",
            expected.escape_ascii().to_string(),
            output.stdout.escape_ascii().to_string()
        );
        Ok(())
    };
    runner.run(&(word(), vec(word(), 0..60)), property).unwrap();
}
