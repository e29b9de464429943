// SPDX-License-Identifier: Apache-2.0

//! What can go wrong in running pods.

use std::path::PathBuf;

use crate::config::{ContainerId, PodUid};

/// Short for a result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the runtime; the text says what it concerns and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no folder of this pod.
    #[error("pod {0} is not known here")]
    PodNotFound(PodUid),
    /// The pod is there, its shim is not.
    #[error("the shim of pod {0} is gone; remove the pod and start it again")]
    ShimGone(PodUid),
    /// The pod has no such container.
    #[error("container {0} is not known here")]
    ContainerNotFound(ContainerId),
    /// Only a running container can do this.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// A name that cannot be a file's name, or a value out of its range.
    #[error("{0}")]
    Invalid(String),
    /// The shim did not come up.
    #[error("the shim of pod {pod} did not start: {reason}")]
    ShimStart {
        /// The pod.
        pod: PodUid,
        /// What it left in its log.
        reason: String,
    },
    /// The shim refused or failed; its own words.
    #[error("{0}")]
    Shim(String),
    /// The command is not in the image or cannot be executed.
    #[error("{0}")]
    CannotExecute(String),
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
    /// Something of a removed pod would not go.
    #[error("cannot clean up after pod {pod}: {left}")]
    Leftover {
        /// The pod.
        pod: PodUid,
        /// What is left.
        left: String,
    },
}

impl Error {
    /// Wraps an I/O error with what was tried on which file.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }
}
