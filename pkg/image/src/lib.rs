// SPDX-License-Identifier: Apache-2.0

//! Container images: pulled, verified, unpacked, kept and pruned.
//!
//! Layers are unpacked once, each in a folder named after the digest of its content, and shared by
//! all images that have them. Nothing is used before its digest is verified, and nothing half done
//! is ever seen: work happens in a temporary folder that is renamed when it is whole.

mod access;
mod config;
mod credentials;
mod digest;
mod error;
mod implied;
mod import;
mod manifest;
mod mutual_tls;
mod pull;
mod reference;
mod registries;
mod room;
mod store;
pub mod unpack;

pub use config::{ImageConfig, Platform};
pub use credentials::{Credentials, Keyring};
pub use error::{Error, Result};
pub use implied::Implied;
pub use reference::Reference;
pub use registries::Registries;
pub use room::reserve_bytes;
pub use store::ImageStore;

use std::path::PathBuf;
use std::sync::Arc;

/// When to ask the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time, for what the tag means now; layers that are there are not fetched again.
    Always,
    /// Only when no image of this name is here that the pod may use.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// When to ask the registry.
    pub policy: PullPolicy,
    /// From the pod's pull secrets; used before those of `registries`.
    pub keyring: Keyring,
    /// Mirrors and settings by registry, from `registries.yaml`.
    pub registries: Arc<Registries>,
    /// This machine's when `None`.
    pub platform: Option<Platform>,
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Digest of its configuration, `sha256:...`: its id.
    pub id: String,
    /// `name@sha256:...` for the repositories it came from; empty for imported ones.
    pub digests: Vec<String>,
    /// Its full names with tags (`docker.io/library/nginx:1.27`).
    pub names: Vec<String>,
    /// What it says about running it.
    pub config: ImageConfig,
    /// Folders of its layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Bytes of its layers as they came, compressed.
    pub size_bytes: u64,
}

/// What a pruning did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, or ids of nameless images.
    pub images: Vec<String>,
    /// Layers that no image needs any more.
    pub layers: usize,
    /// Bytes that came free, unpacked.
    pub bytes: u64,
}
