// SPDX-License-Identifier: Apache-2.0

//! One batch: proposals that become durable together.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use knarr_types::Revision;
use slatedb::WriteBatch;

use crate::keys;
use crate::prepare::{PreparedChange, Write};
use crate::proposal::{Applied, Committed};
use crate::record::{Commit, Record};
use crate::shared::{Refusal, Reply};
use crate::value::Sealed;
use crate::view::Root;

/// A volatile write that is visible but not yet durable: its name, and its value or `None` where
/// the object is gone.
pub(crate) type VolatileWrite = (Bytes, (Revision, Option<Bytes>));

/// What is written together, and what is to be done once it is durable.
pub(crate) struct Batch {
    pub(crate) writes: WriteBatch,
    /// Whether there is anything to write.
    pub(crate) is_empty: bool,
    pub(crate) commits: Vec<Arc<Commit>>,
    pub(crate) replies: Vec<(Reply, Result<Committed, Refusal>)>,
    /// Volatile writes that ride along: they go back where they came from if the batch fails.
    pub(crate) volatile: Vec<VolatileWrite>,
    /// The ceiling that this batch makes durable.
    pub(crate) ceiling: Option<Revision>,
    /// The state after it.
    pub(crate) root: Option<Root>,
    pub(crate) begun: Instant,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            writes: WriteBatch::new(),
            is_empty: true,
            commits: Vec::new(),
            replies: Vec::new(),
            volatile: Vec::new(),
            ceiling: None,
            root: None,
            begun: Instant::now(),
        }
    }

    pub(crate) fn put(&mut self, name: Bytes, value: Bytes) {
        self.is_empty = false;
        self.writes.put_bytes(name, value);
    }

    pub(crate) fn delete(&mut self, name: &[u8]) {
        self.is_empty = false;
        self.writes.delete(name);
    }

    /// Adds the stored form of a commit; gives its size.
    pub(crate) fn put_commit(&mut self, commit: &Commit, value: Sealed) -> u64 {
        let bytes = value.len() as u64;
        self.put(keys::commit(commit.revision), value.at(commit.revision));
        self.put(keys::history(&commit.key, commit.revision), Sealed::clear(b"").at(commit.revision));
        bytes
    }
}

/// A change that got its revision.
pub(crate) struct Numbered {
    pub(crate) commit: Arc<Commit>,
    pub(crate) applied: Applied,
    /// What to do to `o/`: name, and value or `None` to delete.
    pub(crate) stored: Option<(Bytes, Option<Bytes>)>,
    pub(crate) history: Option<Sealed>,
}

/// Gives a change its revision.
pub(crate) fn number(change: PreparedChange, revision: Revision, before: Option<Arc<Record>>) -> Numbered {
    let PreparedChange { key, write, commit: history, .. } = change;
    let (after, stored) = match write {
        Write::Put { state, api_version, stored } => {
            let record = state.into_record(key.clone(), revision, api_version);
            (Some(Arc::new(record)), stored.map(|(name, value)| (name, Some(value.at(revision)))))
        }
        Write::Delete { stored } => (None, stored.map(|name| (name, None))),
    };
    let commit = Arc::new(Commit::new(revision, key, before, after));
    let record = commit.after.as_ref().or(commit.deleted.as_ref()).map(Arc::clone);
    let record = record.expect("the sequencer checked that what is deleted is there");
    Numbered { applied: Applied { revision, record }, commit, stored, history }
}
