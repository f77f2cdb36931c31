//! Images of registries, and of archives in the same form.

pub mod credentials;
mod manifest;
mod pull;
mod reference;
mod registry;

pub use manifest::{Digest, ImageConfig, Manifest, Parsed, parse, parse_config};
pub use pull::layers;
pub use reference::{Reference, Version};
pub use registry::{Described, PullError, Registry};

/// Free space that an image of a registry needs, in bytes, as long as its size is not known.
pub const SPACE_NEEDED: u64 = 512 << 20;
