//! docs/security.md: each promise names a test that there is.

use std::path::Path;

#[test]
fn each_promise_names_a_test_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(root.join("docs/security.md")).unwrap();
    let mut named = 0;
    for (file, test) in text.split('`').filter_map(|word| word.split_once(".rs: ")) {
        let source = fs_err::read_to_string(root.join(format!("{file}.rs"))).unwrap();
        assert!(source.contains(&format!("fn {test}(")), "there is no `{test}` in {file}.rs");
        named += 1;
    }
    // Below each kind of attacker there is one at least.
    for section in text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap();
        assert!(section.contains(".rs: "), "no promise against {title:?} names its test");
    }
    assert!(named >= 10, "{named}");
}
