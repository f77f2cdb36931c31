//! The golden memories that are there, and which of them no run will go on from.

use super::{Frozen, Observed};
use crate::script;
use crate::shell::{Answer, AnswerError, Script};
use crate::ui;

/// One that no run went on from for so long, in seconds, is taken not to be missed: a month.
const UNUSED: u64 = 30 * 24 * 3600;

/// A golden memory as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub key: String,
    /// The id of the image that it is of.
    pub image: String,
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
    /// When a run went on from it last, in unix seconds.
    pub used: u64,
    frozen: Option<Frozen>,
}

impl Kept {
    /// Why no run will go on from it, where none will.
    pub fn useless(&self, observed: &Observed) -> Option<String> {
        let Some(frozen) = &self.frozen else { return Some("it is not whole".to_owned()) };
        if observed.image_by_id(&self.image).is_none() {
            return Some("its image is gone".to_owned());
        }
        if let Err(why) = frozen.fits(&observed.host) {
            return Some(why);
        }
        let unused = observed.host.now.saturating_sub(self.used);
        (unused > UNUSED).then(|| format!("no run went on from it for {}", ui::duration(unused)))
    }
}

/// Those there are.
pub fn list() -> Script<Vec<Kept>> {
    script!("golden/list" with ["vmm/kept"], read)
}

fn read(answer: &Answer) -> Result<Vec<Kept>, AnswerError> {
    let one = |key: &str| {
        let of = |fact: &str| answer.text(&format!("{fact}.{key}"));
        let meta = of("FROZEN").unwrap_or_default();
        let image = meta.split('\t').find_map(|line| line.strip_prefix("IMAGE="));
        Ok(Kept {
            key: key.to_owned(),
            image: image.unwrap_or_default().to_owned(),
            bytes: answer.get(&format!("BYTES.{key}"))?,
            used: answer.get(&format!("USED.{key}"))?,
            frozen: of("FROZEN")
                .map(|meta| Frozen::read(meta.split('\t'), of("FROZEN_NOW").unwrap_or_default())),
        })
    };
    answer.all("GOLDEN").map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::frozen::tests::host;
    use super::super::{HostFacts, ImageState};
    use super::*;

    #[test]
    fn what_no_run_goes_on_from_is_of_no_use() {
        let meta = "FORMAT=1\tCPU=AMD EPYC\tKERNEL=6.1.0\tVMM_VERSION=1.16.1\tAS=firecracker kvm\tDISK=1024 7.5 abc\tMEMORY=512\tIMAGE=abc";
        let text = format!(
            "::mvm::\nGOLDEN=k\nBYTES.k=4096\nUSED.k=100\nFROZEN.k={meta}\nFROZEN_NOW.k=300 512 1024 7.5\n\
             GOLDEN=torn\nBYTES.torn=1\nUSED.torn=100\n"
        );
        let kept = read(&Answer::parse(&text).unwrap()).unwrap();
        let observed = |now, version: &str, image: &str| {
            let mut host = HostFacts { now, ..host() };
            version.clone_into(&mut host.firecracker.as_mut().unwrap().version);
            let images = vec![ImageState::Broken(image.to_owned(), String::new())];
            Observed { host, images, ..Observed::default() }
        };
        assert_eq!(kept[0].useless(&observed(200, "1.16.1", "abc")), None);
        for (seen, why) in [
            (observed(200, "1.16.1", "other"), "its image is gone"),
            (observed(200, "1.17.0", "abc"), "1.17.0 is here now"),
            (observed(100 + UNUSED + 1, "1.16.1", "abc"), "no run went on from it for"),
        ] {
            assert!(kept[0].useless(&seen).unwrap().contains(why), "{why}");
        }
        assert_eq!(kept[1].useless(&observed(200, "1.16.1", "abc")).unwrap(), "it is not whole");
    }
}
