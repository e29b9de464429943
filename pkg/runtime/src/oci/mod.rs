// SPDX-License-Identifier: Apache-2.0

//! The OCI runtime: one shim process a pod, containers through libcontainer.

pub(crate) mod client;
mod runtime;
pub mod stream;

use std::path::{Path, PathBuf};

pub use runtime::{OciRuntime, Options, cleanup_all};

/// The log file of one run of a container; older parts of it are beside it, with `.1` to `.4`
/// after the name, `.1` the youngest.
pub fn log_path(log_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    log_dir.join(container).join(format!("{attempt}.log"))
}
