// SPDX-License-Identifier: Apache-2.0

//! What can go wrong beside an answer.

use std::net::SocketAddr;
use std::path::PathBuf;

/// An error of edge or of what supervises it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or socket of ours could not be used.
    #[error("{action} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The snapshot does not parse, or is of a format that this binary does not know.
    #[error("snapshot {path}: {message}", path = path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// A listening socket could not be opened.
    #[error("listen on {address} for {name}: {source}")]
    Listen {
        /// What for.
        name: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Sockets did not arrive as the protocol says.
    #[error("hand-over of listening sockets: {0}")]
    HandOver(String),
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
