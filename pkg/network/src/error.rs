// SPDX-License-Identifier: Apache-2.0

//! What can go wrong on the way to the kernel.

use std::net::IpAddr;
use std::path::PathBuf;

/// An error of the node's network, named after the thing that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node's ranges have no free address left.
    #[error("no free pod address left in {range}: the node runs as many pods as its range holds")]
    Exhausted {
        /// The exhausted range.
        range: ipnet::IpNet,
    },
    /// A file of ours could not be read or written.
    #[error("{action} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The record of assigned addresses does not parse.
    #[error("{path} is not a record of pod addresses ({source}): move it away to start afresh", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The kernel refused a netlink request.
    #[error("{action}: {source}")]
    Netlink {
        /// What was tried, with the link's or route's name.
        action: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A system call about namespaces failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// `nft` could not be run or refused the transaction.
    #[error("nft refused the ruleset of table {table}: {message}")]
    Nft {
        /// The table.
        table: String,
        /// What `nft` said, or why it could not be started.
        message: String,
    },
    /// An address of a family that was not asked for, or no address at all.
    #[error("pod has no usable address (got {0:?})")]
    NoAddress(Vec<IpAddr>),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }

    pub(crate) fn netlink(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let action = action.into();
        move |source| Self::Netlink { action, source }
    }
}
