//! The bucket of Firecracker's CI: what it lists, and which of it is the newest.
//!
//! Its layout has moved: `firecracker-ci/v1.15/ARCH/…` with every release, since 2026 `firecracker-ci/20260801-…/ARCH/…`
//! every week.

/// One page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub keys: Vec<String>,
    pub prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

impl Page {
    /// Reads S3's `ListObjectsV2`. It is that simple: no attributes, no nesting of what matters.
    pub(super) fn parse(xml: &str) -> Self {
        // The prefix that was asked for stands outside of `CommonPrefixes`.
        let folders = all(xml, "CommonPrefixes");
        Self {
            keys: all(xml, "Key").map(unescape).collect(),
            prefixes: folders.filter_map(|folder| all(folder, "Prefix").next()).map(unescape).collect(),
            next: all(xml, "NextContinuationToken").next().map(unescape),
        }
    }
}

fn all<'a>(xml: &'a str, tag: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open.as_str())?;
        let (text, after) = after.split_once(close.as_str())?;
        rest = after;
        Some(text)
    })
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&#39;", "'").replace("&amp;", "&")
}

/// The folders that may hold what is wanted, the most promising first: by date, then by release.
pub(super) fn folders(prefixes: &[String]) -> Vec<&str> {
    let mut dated = Vec::new();
    let mut released = Vec::new();
    for prefix in prefixes {
        let Some(name) = prefix.trim_end_matches('/').strip_prefix("firecracker-ci/") else { continue };
        if let Some(version) = name.strip_prefix('v').and_then(numbers) {
            released.push((version, prefix.as_str()));
        } else if name.split_once('-').is_some_and(|(date, _)| date.len() == 8 && numbers(date).is_some()) {
            dated.push((name, prefix.as_str()));
        }
    }
    dated.sort_unstable_by(|one, other| other.cmp(one));
    released.sort_unstable_by(|one, other| other.cmp(one));
    dated
        .into_iter()
        .map(|(_, prefix)| prefix)
        .chain(released.into_iter().map(|(_, prefix)| prefix))
        .collect()
}

/// The newest of `keys` whose last part is `BEFORE` a version of so many numbers `AFTER`, and that version.
pub(super) fn newest<'a>(
    keys: &'a [String],
    before: &str,
    count: usize,
    after: &str,
) -> Option<(&'a str, &'a str)> {
    let named = keys.iter().filter_map(|key| {
        let name = key.rsplit('/').next()?;
        let version = name.strip_prefix(before)?.strip_suffix(after)?;
        let order = numbers(version).filter(|numbers| numbers.len() == count)?;
        Some((order, key.as_str(), version))
    });
    named.max().map(|(_, key, version)| (key, version))
}

/// `6.1.155` as numbers; nothing when there is anything else in it.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').map(|part| digits(part).then(|| part.parse().ok()).flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_listing_is_read() {
        let page = Page::parse(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>spec.ccfc.min</Name>
<Prefix>firecracker-ci/</Prefix><NextContinuationToken>1a/b=&amp;</NextContinuationToken><KeyCount>3</KeyCount>
<IsTruncated>true</IsTruncated><Contents><Key>firecracker-ci/a&amp;b</Key><Size>7</Size></Contents>
<CommonPrefixes><Prefix>firecracker-ci/v1.15/</Prefix></CommonPrefixes></ListBucketResult>"#,
        );
        assert_eq!(
            page,
            Page {
                keys: strings(&["firecracker-ci/a&b"]),
                prefixes: strings(&["firecracker-ci/v1.15/"]),
                next: Some("1a/b=&".into())
            }
        );
        for odd in ["", "<html>no</html>", "<Key>", "<Key></Ke", "<Error><Code>AccessDenied</Code></Error>"] {
            assert_eq!(Page::parse(odd), Page::default(), "{odd}");
        }
    }

    #[test]
    fn dated_folders_come_before_releases_and_each_newest_first() {
        let prefixes = strings(&[
            "firecracker-ci/20260601-aa/",
            "firecracker-ci/20260722-b/",
            "firecracker-ci/v1.9/",
            "firecracker-ci/v1.15/",
            "firecracker-ci/2026-x/",
            "firecracker-ci/latest/",
            "elsewhere/v1.20/",
        ]);
        assert_eq!(
            folders(&prefixes),
            [
                "firecracker-ci/20260722-b/",
                "firecracker-ci/20260601-aa/",
                "firecracker-ci/v1.15/",
                "firecracker-ci/v1.9/"
            ]
        );
    }

    #[test]
    fn the_newest_is_found_by_version_and_not_by_letters() {
        let keys = strings(&[
            "p/vmlinux-5.10.239",
            "p/vmlinux-6.1.99",
            "p/vmlinux-6.1.155",
            "p/vmlinux-6.1.155.config",
            "p/vmlinux-6.18.x",
            "p/vmlinux-6.2",
            "p/vmlinux-6.1.200-no-acpi",
        ]);
        assert_eq!(newest(&keys, "vmlinux-", 3, ""), Some(("p/vmlinux-6.1.155", "6.1.155")));
        let keys = strings(&["p/ubuntu-22.04.squashfs", "p/ubuntu-24.04.squashfs", "p/ubuntu-26.04.ext4"]);
        assert_eq!(newest(&keys, "ubuntu-", 2, ".squashfs"), Some(("p/ubuntu-24.04.squashfs", "24.04")));
        assert_eq!(newest(&[], "vmlinux-", 3, ""), None);
    }
}
