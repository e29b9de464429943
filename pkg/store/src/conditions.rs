// SPDX-License-Identifier: Apache-2.0

//! Whether a proposal may be committed, judged against the newest state.

use std::sync::Arc;

use knarr_types::{Key, ResourceId};

use crate::error::ProposeError;
use crate::prepare::{Prepared, Write};
use crate::proposal::Precondition;
use crate::record::Record;
use crate::shared::{Refusal, Shared};
use crate::view::Root;

/// Compares preconditions, and the states on which the changes were prepared, with the newest.
pub(crate) fn check(prepared: &Prepared, shared: &Shared, head: &Root, volatile: &Root) -> Result<(), Refusal> {
    let root = |resource: &ResourceId| if shared.options(resource).volatile { volatile } else { head };
    let newest = |key: &Key| root(&key.resource).get(key);
    for precondition in &prepared.preconditions {
        let holds = match precondition {
            Precondition::Unchanged { resource, namespace, since } => {
                let changed = root(resource)
                    .views
                    .get(resource)
                    .is_some_and(|view| view.changed_since(namespace.as_deref(), *since));
                if changed { Err(ProposeError::Changed(resource.clone(), *since)) } else { Ok(()) }
            }
            Precondition::Absent(key) => newest(key).map_or(Ok(()), |record| Err(exists(record))),
            Precondition::Present(key) => newest(key).map(|_| ()).ok_or_else(|| missing(key)),
            Precondition::At(key, revision) => match newest(key) {
                Some(record) if record.revision == *revision => Ok(()),
                Some(record) => Err(ProposeError::Conflict(Arc::clone(record))),
                None => Err(missing(key)),
            },
        };
        holds.map_err(Refusal::Final)?;
    }
    for change in &prepared.changes {
        let record = newest(&change.key);
        if record.is_none() && matches!(change.write, Write::Delete { .. }) {
            return Err(Refusal::Final(missing(&change.key)));
        }
        if record.map(|record| record.revision) != change.base {
            return Err(Refusal::Rebase);
        }
    }
    Ok(())
}

fn exists(record: &Arc<Record>) -> ProposeError {
    ProposeError::AlreadyExists(Arc::clone(record))
}

fn missing(key: &Key) -> ProposeError {
    ProposeError::NotFound(key.clone())
}
