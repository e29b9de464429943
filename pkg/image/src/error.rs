// SPDX-License-Identifier: Apache-2.0

//! What can go wrong with images.

use std::path::PathBuf;

/// Short for a result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error about an image; the text names the image and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name breaks the rules of references.
    #[error("invalid image name {name:?}: {reason}")]
    InvalidName {
        /// As given.
        name: String,
        /// Which rule.
        reason: String,
    },
    /// Policy `Never`, and not here.
    #[error("image {0:?} is not present with pull policy of Never")]
    NeverPull(String),
    /// The registry does not know it.
    #[error("image {0} not found: check its name and tag, and whether its registry needs a pull secret")]
    NotFound(String),
    /// The registry wants other credentials.
    #[error("registry refuses to give {image}: {reason}; check imagePullSecrets or registries.yaml")]
    Unauthorized {
        /// Which image.
        image: String,
        /// The registry's words.
        reason: String,
    },
    /// No registry of the list could be asked.
    #[error("cannot pull {image}: {reason}")]
    Unreachable {
        /// Which image.
        image: String,
        /// One line for each endpoint tried.
        reason: String,
    },
    /// An index without an image for this platform.
    #[error("image {image} has no variant for {platform}; it has: {available}")]
    NoPlatform {
        /// Which image.
        image: String,
        /// Which platform was wanted.
        platform: String,
        /// What the index has.
        available: String,
    },
    /// What came is not what was asked for.
    #[error("{what} does not match its digest: want {want}, got {got}; the registry or the way to it is damaged")]
    DigestMismatch {
        /// Layer, configuration or manifest, of which image.
        what: String,
        /// From the manifest.
        want: String,
        /// Computed.
        got: String,
    },
    /// A manifest, configuration or archive that cannot be read.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// Where it breaks.
        reason: String,
    },
    /// A media type from another world.
    #[error("layer {digest} has the unknown type {media_type}")]
    UnknownLayerType {
        /// The layer.
        digest: String,
        /// Its type.
        media_type: String,
    },
    /// An entry of a layer that tries to leave its folder, or that cannot exist.
    #[error("layer {digest} has a bad entry {entry:?}: {reason}")]
    BadEntry {
        /// The layer.
        digest: String,
        /// The path in it.
        entry: String,
        /// Why not.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left on device for images in {0}: free some, or run `knarr ctl image prune`")]
    NoSpace(PathBuf),
    /// The disk would be too full for what runs on the machine.
    #[error(
        "not enough disk space for images in {folder}: {available_mib} MiB are free and {reserve_mib} MiB must stay \
         free: free some, or run `knarr ctl image prune`"
    )]
    DiskReserve {
        /// Where the layer was to go.
        folder: PathBuf,
        /// What is free.
        available_mib: u64,
        /// What must stay free.
        reserve_mib: u64,
    },
    /// A call to the kernel failed.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried, as "cannot ...".
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with what was tried on which file; a full disk has its own variant.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::NoSpace(path),
            _ => Error::Io { what, path, source },
        }
    }
}
