//! What a script answers: `KEY=value` lines after the start mark.

use std::io::{self, BufRead, Read};
use std::str::FromStr;

/// The mark that every script prints before its first answer.
const MARK: &str = "::mvm::";
/// What a login shell may say before it, in bytes, at most.
const NOISE: u64 = 1 << 20;

/// Reads on to the start mark, where what follows is no answer but bytes.
pub fn skip_to_mark(from: &mut impl BufRead) -> io::Result<()> {
    let mut before = from.take(NOISE);
    let mut line = Vec::new();
    while before.read_until(b'\n', &mut line)? > 0 {
        if line.trim_ascii_end() == MARK.as_bytes() {
            return Ok(());
        }
        line.clear();
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnswerError {
    #[error("the answer has no {0}")]
    Missing(String),
    #[error("the answer's {key} is not what was expected: `{value}`")]
    Invalid { key: String, value: String },
}

/// The facts a script answered, in its order; a key may come more than once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer(Vec<(String, String)>);

impl Answer {
    /// Reads a script's standard output; `None` when the start mark is not there, so the script never began.
    pub fn parse(stdout: &str) -> Option<Self> {
        let mut lines = stdout.lines();
        lines.by_ref().find(|line| line.trim_end() == MARK)?;
        // Some of it a guest or a VMM said, and it is shown; tabs stand for line ends.
        let plain = |value: &str| value.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
        let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), plain(value)));
        Some(Self(lines.filter_map(pair).collect()))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub fn get<T: FromStr>(&self, key: &str) -> Result<T, AnswerError> {
        self.optional(key)?.ok_or_else(|| AnswerError::Missing(key.to_owned()))
    }

    pub fn optional<T: FromStr>(&self, key: &str) -> Result<Option<T>, AnswerError> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        let invalid = |_| AnswerError::Invalid { key: key.to_owned(), value: value.to_owned() };
        value.parse().map(Some).map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_before_the_mark_is_dropped() {
        let answer = Answer::parse("Welcome!\nMTU=1\n::mvm::\nMTU=1400\nTOOL=a\nTOOL=b=c\n").unwrap();
        assert_eq!(answer.get::<u16>("MTU"), Ok(1400));
        assert_eq!(answer.all("TOOL").collect::<Vec<_>>(), ["a", "b=c"]);
        assert_eq!(answer.get::<u16>("NONE"), Err(AnswerError::Missing("NONE".into())));
        assert!(matches!(answer.get::<u16>("TOOL"), Err(AnswerError::Invalid { .. })));
        assert_eq!(Answer::parse("Welcome!\n"), None);
    }

    #[test]
    fn what_is_answered_steers_no_terminal() {
        let answer = Answer::parse("::mvm::\nOOM=\u{1b}[2J\0a\tb\rOOM=c\u{9b}1m\u{7f}\n").unwrap();
        assert_eq!(
            answer.all("OOM").collect::<Vec<_>>(),
            ["\u{fffd}[2J\u{fffd}a\tb\u{fffd}OOM=c\u{fffd}1m\u{fffd}"]
        );
    }
}
