//! Golden memories: those of machines that were started and have run nobody's command, from which `mvm run` goes on
//! (resources/scripts/golden).

use super::keys::NewKeys;
use super::steps::freezing;
use super::{Frozen, HostFacts, Spec, UserName, ssh};
use crate::digest::Sha256;
use crate::image::{
    Image,
    seed::{self, Keys},
};
use crate::network;
use crate::script;
use crate::shell::{Answer, Script};
use crate::vmm::{Files, Vmm};

/// The name that stands for any machine's where a key is made of it.
pub(super) const ANY: &str = "golden";

/// Which golden memory a new machine goes on from, or makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// A digest of all that it depends on.
    pub key: String,
    /// Lines of its meta.
    facts: String,
}

impl Golden {
    /// That of a machine `spec` of `image` and its `files`, run by `vmm`.
    pub fn of(
        spec: &Spec,
        image: &Image,
        files: &Files,
        vmm: &Vmm,
        host: &HostFacts,
    ) -> anyhow::Result<Self> {
        let spec = Spec { name: ANY.parse().map_err(anyhow::Error::msg)?, ..spec.clone() };
        let user = spec.user.as_ref().map(UserName::as_str);
        // mvm's own parts of the guest, and the command line of VMM and kernel.
        let seed = seed::of(&spec, image, &Keys::default(), true)?;
        let launch = vmm.launch(&spec, host, files, 0);
        // With KVM a guest sees of the host's kernel what that offers.
        let kernel = if vmm.accelerated { host.kernel.as_str() } else { "" };
        let disk = spec.disk_bytes.bytes().to_string();
        let words = [
            &Frozen::facts(host).replace(&host.kernel, kernel),
            &image.id,
            vmm.kind.word(),
            &vmm.program.version,
            &disk,
            &launch.argv.join("\0"),
            launch.config.as_deref().unwrap_or_default(),
        ];
        let bytes = [words.join("\0").as_bytes(), &seed].concat();
        let like = format!(
            "{} {} {} {disk} {} {} {}",
            spec.image,
            spec.cpus,
            spec.memory_mib.mib(),
            user.unwrap_or("root"),
            vmm.kind.word(),
            vmm.accelerated
        );
        Ok(Self {
            key: Sha256::of(&bytes).to_string()[..16].to_owned(),
            facts: format!("IMAGE={}\nLIKE={like}", image.id),
        })
    }

    /// Keeps the memory and disk of the machine `spec`, which has just been started; the answer is how long it stood still, in
    /// milliseconds, or nothing where there was one already.
    pub fn make(&self, spec: &Spec, vmm: &Vmm, host: &HostFacts) -> anyhow::Result<Script<Option<u64>>> {
        let script = script!("golden/make" with ["cell/lib", "microvm/lib", "vmm/lib", "vmm/freeze"], |answer: &Answer| {
            answer.optional("PAUSED")
        });
        Ok(freezing(script, spec, vmm.kind, host)
            .input("GOLDEN", self.key.as_str())
            .input("FACTS", self.facts.as_str())
            .input("FIRST_PORT", network::FIRST_PORT.to_string())
            .input("MASTER", ssh::master(&spec.name).join("\n"))
            .payload(NewKeys::make(ANY)?.line()))
    }
}
