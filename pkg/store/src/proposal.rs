// SPDX-License-Identifier: Apache-2.0

//! What a writer asks for: preconditions and changes, committed whole or not at all.

use std::sync::Arc;
use std::time::Instant;

use knarr_types::{Key, ResourceId, Revision};

use crate::record::{Draft, Record};

/// What must hold in the newest state, writes in flight included, for a proposal to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no such object.
    Absent(Key),
    /// The object is there, at exactly this revision.
    At(Key, Revision),
    /// The object is there, at any revision: a namespace that must exist.
    Present(Key),
    /// No object of the resource (and namespace) was written since this revision.
    Unchanged {
        /// The collection.
        resource: ResourceId,
        /// All namespaces where `None`.
        namespace: Option<Arc<str>>,
        /// The revision of the list that the writer decided on.
        since: Revision,
    },
}

/// One write.
#[derive(Clone, Debug)]
pub enum Change {
    /// Create or replace.
    Put(Key, Draft),
    /// Remove; the object must be there.
    Delete(Key),
}

impl Change {
    /// The object it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Who writes: kept in the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The user's name.
    pub user: Arc<str>,
    /// The field manager; may be empty.
    pub manager: Arc<str>,
    /// The request's verb: `create`, `update`, `patch`, `delete`.
    pub verb: Arc<str>,
}

/// Which queue a proposal waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// Reserved for what keeps the cluster alive: node status, leader election, bindings.
    System,
    /// Everybody else.
    #[default]
    Normal,
}

/// How a write is carried out, whatever it writes.
#[derive(Clone, Debug)]
pub struct WriteContext {
    /// Who writes.
    pub author: Author,
    /// Which queue.
    pub lane: Lane,
    /// Whose turn within the queue: flows of a lane take turns.
    pub flow: Arc<str>,
    /// When the writer stops waiting.
    pub deadline: Instant,
}

/// A set of changes under a set of conditions.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// What must hold.
    pub preconditions: Vec<Precondition>,
    /// What to write: one revision each. No key twice.
    pub changes: Vec<Change>,
    /// The revision from which the new states were computed, where that is not the newest: becomes
    /// a second parent of the commits.
    pub based_on: Option<Revision>,
    /// How.
    pub context: WriteContext,
}

/// One change, committed.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its revision.
    pub revision: Revision,
    /// The object after it; of a deletion the last state, carrying the revision of the deletion.
    pub record: Arc<Record>,
}

/// A proposal, committed, durable and visible.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The revision of the last change.
    pub revision: Revision,
    /// What came of each change, in the proposal's order.
    pub applied: Vec<Applied>,
}

/// What an update decided about an object.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Create or replace it.
    Put(Draft),
    /// Remove it.
    Delete,
    /// Leave it as it is.
    Keep,
    /// Write it, and other objects with it, under further conditions.
    With {
        /// The object itself; `None` removes it.
        draft: Option<Draft>,
        /// What else must hold.
        preconditions: Vec<Precondition>,
        /// What else to write.
        changes: Vec<Change>,
    },
}
