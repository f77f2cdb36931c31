//! What a script uses of its libraries: the rest is not sent, since bash reads what it gets anew for each script.

use std::collections::HashSet;

/// The script's text after those parts of its libraries that it uses, by themselves or through others. A library is bash whose functions
/// begin and end in the first column; what stands between them is always kept.
pub fn with_used(libraries: &[&str], script: &str) -> String {
    let pieces: Vec<Piece<'_>> = libraries.iter().flat_map(|library| pieces(library)).collect();
    let mut named = HashSet::new();
    let mut kept: Vec<bool> = pieces.iter().map(|piece| piece.function.is_none()).collect();
    named.extend(words(script));
    named.extend(pieces.iter().filter(|piece| piece.function.is_none()).flat_map(|piece| words(piece.text)));
    // What a function names may stand before it.
    loop {
        let found: Vec<usize> = (0..pieces.len())
            .filter(|&at| !kept[at] && pieces[at].function.is_some_and(|name| named.contains(name)))
            .collect();
        if found.is_empty() {
            break;
        }
        for at in found {
            kept[at] = true;
            named.extend(words(pieces[at].text));
        }
    }
    let used = pieces.iter().zip(kept).filter(|(_, kept)| *kept).map(|(piece, _)| piece.text);
    used.chain([script]).collect()
}

/// A function with the comment before it, or what stands between two of them.
struct Piece<'a> {
    function: Option<&'a str>,
    text: &'a str,
}

fn pieces(library: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    // Where the piece begins, and the comment that may be the next function's.
    let (mut start, mut comment, mut at) = (0, None, 0);
    let mut open: Option<(&str, &str)> = None;
    for line in library.split_inclusive('\n') {
        let (begin, text) = (at, line.trim_end());
        at += line.len();
        if let Some((name, end)) = open {
            if text == end {
                pieces.push(Piece { function: Some(name), text: &library[start..at] });
                (start, open) = (at, None);
            }
        } else if let Some((name, body)) = text.split_once("() ").filter(|(name, _)| is_name(name)) {
            let from = comment.take().unwrap_or(begin);
            pieces.push(Piece { function: None, text: &library[start..from] });
            start = from;
            let end = if body.starts_with('{') { "}" } else { ")" };
            if body.len() > 1 && body.ends_with(end) {
                pieces.push(Piece { function: Some(name), text: &library[start..at] });
                start = at;
            } else {
                open = Some((name, end));
            }
        } else if text.starts_with('#') {
            comment = comment.or(Some(begin));
        } else {
            comment = None;
        }
    }
    pieces.push(Piece { function: None, text: &library[start..] });
    pieces
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Those of comments call nothing.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str = "# A library.\n\n# one: says 1.\none() {\n  echo 1\n}\n\n# two: says 2, and what one does.\n# At length.\ntwo() {\n  one\n}\nNAME='a\nthree'\n# a comment of NAME's\n\nthree() { echo 3; }\n# four: apart\nfour() (\n  five\n)\nfive() {\n  echo 5 # }\n}\n";

    #[test]
    fn what_is_used_is_kept_and_nothing_else() {
        let sent = with_used(&[LIBRARY], "two\n");
        assert_eq!(
            sent,
            "# A library.\n\n# one: says 1.\none() {\n  echo 1\n}\n\n# two: says 2, and what one does.\n# At length.\n\
             two() {\n  one\n}\nNAME='a\nthree'\n# a comment of NAME's\n\nthree() { echo 3; }\ntwo\n"
        );
        assert!(!with_used(&[LIBRARY], "  # as five does\n").contains("five()"));
        let sent = with_used(&[LIBRARY], "trap four EXIT");
        assert!(sent.contains("five()") && sent.contains("# four: apart\nfour() (\n  five\n)\n"), "{sent}");
        assert!(!sent.contains("one()"), "{sent}");
    }

    #[test]
    fn all_that_is_named_is_all_there_is() {
        let names = "one two three four five";
        assert_eq!(with_used(&[LIBRARY], names), format!("{LIBRARY}{names}"));
    }
}
