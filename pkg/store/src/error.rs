// SPDX-License-Identifier: Apache-2.0

//! What goes wrong in the store, and what to do about it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use knarr_types::{Key, ResourceId, Revision};

use crate::record::Record;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the data directory.
    #[error("data directory {} is in use by another server: stop that one, or give another --data-dir", .0.display())]
    InUse(PathBuf),
    /// The store belongs to another cluster.
    #[error(
        "the store belongs to cluster {found}, but this data directory to cluster {expected}: give the data directory of {found}, or an empty one"
    )]
    OtherCluster {
        /// Whose store was expected.
        expected: String,
        /// Whose it is.
        found: String,
    },
    /// The store was written by a newer release.
    #[error(
        "the store has format {oldest_reader} or newer, this release reads up to {ours}: use the newer release again"
    )]
    TooNew {
        /// The oldest format that a reader must know.
        oldest_reader: u16,
        /// What this release knows.
        ours: u16,
    },
    /// The store was written before the first release.
    #[error("{} is the log of a store from before the first release: start with an empty data directory", .0.display())]
    OldLog(PathBuf),
    /// A value could not be read.
    #[error("stored value {key} cannot be read: {why}")]
    Corrupt {
        /// The storage key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key ring could not be read or written.
    #[error("key ring {}: {why}", .path.display())]
    KeyRing {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file system refused.
    #[error("data directory {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its answer.
        source: std::io::Error,
    },
    /// SlateDB refused.
    #[error("cannot open the database: {0}")]
    Database(String),
}

/// Why a proposal was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// The object is there already.
    #[error("{} already exists", .0.key)]
    AlreadyExists(Arc<Record>),
    /// The object is not there.
    #[error("{0} not found")]
    NotFound(Key),
    /// The object is at another revision.
    #[error("{} is at revision {}", .0.key, .0.revision)]
    Conflict(Arc<Record>),
    /// The collection was written since the list that the writer decided on.
    #[error("{0} changed since revision {1}")]
    Changed(ResourceId, Revision),
    /// The queue is full.
    #[error("too many writes are waiting: try again in {} s", .retry_after.as_secs())]
    TooManyRequests {
        /// When to come back.
        retry_after: Duration,
    },
    /// The deadline passed before the write began: it was not and will not be applied.
    #[error("the write waited too long and was dropped")]
    Timeout,
    /// The deadline passed, or the store failed, while the write was under way: it may be applied.
    #[error("the outcome of the write is unknown: read before writing again")]
    Unknown,
    /// The store takes no writes now.
    #[error("the store is not ready for writes: {why}")]
    Unavailable {
        /// What it waits for.
        why: Arc<str>,
        /// When to come back.
        retry_after: Duration,
    },
    /// The proposal cannot be right.
    #[error("invalid proposal: {0}")]
    Invalid(&'static str),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why an update was not acknowledged.
#[derive(Debug)]
pub enum UpdateError<E> {
    /// What the caller's function said.
    Refused(E),
    /// What the store said.
    Store(ProposeError),
}

impl<E> From<ProposeError> for UpdateError<E> {
    fn from(error: ProposeError) -> Self {
        Self::Store(error)
    }
}

/// Why a state cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The state at this revision is no longer kept.
    #[error("the state at revision {requested} is no longer kept (oldest {oldest})")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest that could be.
        oldest: Revision,
    },
    /// The revision has not been reached.
    #[error("Too large resource version: {requested}, current: {current}")]
    TooLarge {
        /// What was asked for.
        requested: Revision,
        /// Where the store is.
        current: Revision,
    },
    /// A stored value could not be read.
    #[error("the stored value cannot be read: {0}")]
    Storage(String),
}
