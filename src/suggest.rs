//! What someone meant who wrote something that is not there.

/// The name that `meant` is most likely a slip of.
pub fn closest<'a>(meant: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|name| (strsim::normalized_damerau_levenshtein(meant, name), name));
    scored.filter(|(score, _)| *score > 0.5).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// The key that was meant, from what serde says of an unknown one: ``unknown field `a`, expected one of `b`, `c` ``.
pub fn known_key(message: &str) -> Option<&str> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    closest(unknown, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let names = ["default", "web", "web-2", "builder"];
        for (meant, close) in [
            ("defualt", Some("default")),
            ("wbe", Some("web")),
            ("bulider", Some("builder")),
            ("web2", Some("web-2")),
            ("postgres", None),
        ] {
            assert_eq!(closest(meant, names), close, "{meant}");
        }
    }

    #[test]
    fn keys_are_recognised_in_what_serde_says() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its keys matter")]
        struct File {
            memory: Option<u8>,
            cpus: Option<u8>,
        }
        for (text, close) in
            [("memroy = 1", Some("memory")), ("gpus = 1", Some("cpus")), ("colour = 1", None)]
        {
            let error = toml::from_str::<File>(text).unwrap_err();
            assert_eq!(known_key(error.message()), close, "{error}");
        }
        assert_eq!(known_key("invalid type: string"), None);
    }
}
