// SPDX-License-Identifier: Apache-2.0
//! What an object is stored with: conditions that must hold, and other objects that change with it.

use knarr_admission::Request;
use knarr_store::{Change, Decision, Draft, Precondition, ProposeError};
use knarr_types::{Key, Object, Status};
use tokio::sync::OwnedMutexGuard;

use super::{Write, allocation, quotas};
use crate::cluster_ips;

/// Under which conditions a write is committed, and what is written with it.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub preconditions: Vec<Precondition>,
    pub changes: Vec<Change>,
    /// The turn in the namespace of a write that is charged; given back when the write is committed.
    pub turn: Option<OwnedMutexGuard<()>>,
}

impl Terms {
    /// The last step of a write: what is given out to the object, what it is charged for, what it relies on.
    pub(super) async fn of(
        write: &Write<'_>,
        request: &Request<'_>,
        object: &mut Object,
        old: Option<&Object>,
    ) -> Result<Self, Status> {
        let turn = quotas::turn(write, old.is_none()).await;
        let mut terms = Self { turn, ..quotas::charge(write, request, object)? };
        terms.preconditions.extend(knarr_admission::conditions(request, Some(object), write.app));
        let given = allocation::give(write, object, old)?;
        terms.preconditions.extend(given.preconditions);
        terms.changes.extend(given.changes);
        Ok(terms)
    }

    /// The decision to write the object on these terms.
    pub(super) fn with(self, draft: Draft) -> Decision {
        if self.preconditions.is_empty() && self.changes.is_empty() {
            return Decision::Put(draft);
        }
        Decision::With { draft: Some(draft), preconditions: self.preconditions, changes: self.changes }
    }
}

/// Whether a write of `key` failed only because something else was written since it was worked out.
pub(super) fn is_stale(error: &ProposeError, key: &Key) -> bool {
    match error {
        ProposeError::Changed(..) => true,
        // Somebody else got the address.
        ProposeError::AlreadyExists(other) => other.key != *key,
        ProposeError::Conflict(other) => other.key != *key,
        // A quota or an address that went; a namespace that went is told.
        ProposeError::NotFound(other) => {
            other != key && matches!(&*other.resource.resource, quotas::RESOURCE | cluster_ips::ADDRESSES)
        }
        _ => false,
    }
}
