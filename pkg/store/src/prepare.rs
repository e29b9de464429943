// SPDX-License-Identifier: Apache-2.0

//! Everything about a write that can be done before its turn, in the writer's own task: encoding,
//! delta, compression, encryption. The sequencer then only compares, numbers and hands on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use knarr_types::{Key, Revision};

use crate::commit::{Previous, StoredCommit, WHOLE_EVERY};
use crate::error::ProposeError;
use crate::keys;
use crate::options::{ResourceOptions, Tier};
use crate::proposal::{Change, Precondition, Proposal, WriteContext};
use crate::record::{Draft, Record};
use crate::shared::Shared;
use crate::value::{Sealed, State};

/// What each change costs in a batch beside its values.
const CHANGE_BYTES: usize = 128;

/// A proposal, ready to be ordered.
pub(crate) struct Prepared {
    pub(crate) preconditions: Vec<Precondition>,
    pub(crate) changes: Vec<PreparedChange>,
    /// Visible at once, durable later.
    pub(crate) volatile: bool,
    pub(crate) bytes: usize,
}

/// A change, ready to be numbered.
pub(crate) struct PreparedChange {
    pub(crate) key: Key,
    /// The revision of the object on which deltas were computed: where it is another by now, the
    /// change must be prepared again.
    pub(crate) base: Option<Revision>,
    pub(crate) write: Write,
    /// The commit's value, where history is kept.
    pub(crate) commit: Option<Sealed>,
}

/// What a change does to `o/`.
pub(crate) enum Write {
    /// A new state; its name and value where it is stored.
    Put { state: State, api_version: Arc<str>, stored: Option<(Bytes, Sealed)> },
    /// No state; its name where it is stored.
    Delete { stored: Option<Bytes> },
}

/// The state of an object on which the caller decided.
pub(crate) struct Seen<'a> {
    pub(crate) key: &'a Key,
    pub(crate) record: Option<&'a Arc<Record>>,
}

/// Prepares a proposal against the newest states, or against the one that the caller has seen.
pub(crate) fn prepare(shared: &Shared, proposal: &Proposal, seen: Option<&Seen<'_>>) -> Result<Prepared, ProposeError> {
    check(shared, proposal)?;
    let volatile = proposal.changes.first().is_some_and(|change| shared.options(&change.key().resource).volatile);
    let mut bytes = 0;
    let mut changes = Vec::with_capacity(proposal.changes.len());
    for change in &proposal.changes {
        let key = change.key();
        let before = match seen {
            Some(seen) if seen.key == key => seen.record.cloned(),
            _ => shared.newest(key),
        };
        let change = prepare_change(shared, change, before.as_deref(), proposal);
        bytes += change.bytes();
        changes.push(change);
    }
    Ok(Prepared { preconditions: proposal.preconditions.clone(), changes, volatile, bytes })
}

fn check(shared: &Shared, proposal: &Proposal) -> Result<(), ProposeError> {
    if proposal.changes.is_empty() {
        return Err(ProposeError::Invalid("it changes nothing"));
    }
    if proposal.changes.len() > shared.limits.batch_changes {
        return Err(ProposeError::Invalid("it has more changes than a batch may have"));
    }
    let mut written = HashSet::new();
    let volatile = shared.options(&proposal.changes[0].key().resource).volatile;
    for change in &proposal.changes {
        if !keys::is_storable(change.key()) {
            return Err(ProposeError::Invalid("a name is empty or contains a slash"));
        }
        if !written.insert(change.key()) {
            return Err(ProposeError::Invalid("it changes an object twice"));
        }
        if shared.options(&change.key().resource).volatile != volatile {
            return Err(ProposeError::Invalid("it changes volatile and durable objects together"));
        }
        if let Change::Put(_, draft) = change
            && draft.revision_at > draft.json.len()
        {
            return Err(ProposeError::Invalid("the revision's place is outside the object"));
        }
    }
    Ok(())
}

fn prepare_change(shared: &Shared, change: &Change, before: Option<&Record>, proposal: &Proposal) -> PreparedChange {
    let key = change.key();
    let options = shared.options(&key.resource);
    let base = before.map(|record| record.revision);
    let in_memory = !options.volatile && (options.tier)(key) == Tier::Memory;
    let name = (!in_memory).then(|| keys::object(key));
    let (write, commit) = match change {
        Change::Put(_, draft) => put(shared, &options, key, draft, before, name, proposal),
        Change::Delete(_) => {
            let commit = (options.history && !in_memory)
                .then(|| seal_commit(shared, &options, key, before, Previous::of(before, None), true, proposal));
            (Write::Delete { stored: name }, commit)
        }
    };
    PreparedChange { key: key.clone(), base, write, commit }
}

fn put(
    shared: &Shared,
    options: &ResourceOptions,
    key: &Key,
    draft: &Draft,
    before: Option<&Record>,
    name: Option<Bytes>,
    proposal: &Proposal,
) -> (Write, Option<Sealed>) {
    let depth = before.map_or(0, |record| (record.depth + 1) % WHOLE_EVERY);
    let state = State { draft: draft.clone(), written_ms: now_ms(), depth };
    let api_version = Arc::clone(&options.storage_version);
    let Some(name) = name else { return (Write::Put { state, api_version, stored: None }, None) };
    let body = state.encode();
    let commit = options.history.then(|| {
        let previous = Previous::of(before, Some((&state, &body)));
        seal_commit(shared, options, key, before, previous, false, proposal)
    });
    let value = Sealed::new(&shared.keys, &name, &api_version, &body);
    (Write::Put { state, api_version, stored: Some((name, value)) }, commit)
}

fn seal_commit(
    shared: &Shared,
    options: &ResourceOptions,
    key: &Key,
    before: Option<&Record>,
    previous: Previous,
    deleted: bool,
    proposal: &Proposal,
) -> Sealed {
    let WriteContext { author, .. } = &proposal.context;
    let own = before.map(|record| record.revision);
    let other = proposal.based_on.filter(|based_on| Some(*based_on) != own && own.is_some());
    let parents = own.into_iter().chain(other).collect();
    let time_ms = now_ms();
    let commit = StoredCommit { key: key.clone(), author: author.clone(), time_ms, parents, deleted, previous };
    // The revision in its name is not known yet: what is authenticated is that it is a commit.
    Sealed::packed(&shared.keys, keys::COMMITS, &options.storage_version, &commit.encode())
}

impl PreparedChange {
    fn bytes(&self) -> usize {
        let object = match &self.write {
            Write::Put { stored: Some((_, value)), .. } => value.len(),
            Write::Put { state, .. } => state.draft.json.len(),
            Write::Delete { .. } => 0,
        };
        CHANGE_BYTES + object + self.commit.as_ref().map_or(0, Sealed::len)
    }
}

/// The wall clock, in milliseconds of Unix time.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
