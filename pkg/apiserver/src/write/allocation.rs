// SPDX-License-Identifier: Apache-2.0
//! Service addresses and node ports, given out while a Service is written.

use knarr_admission::services::{Ranges, allocate, needs_allocation};
use knarr_schema::rules;
use knarr_store::{Precondition, Scope};
use knarr_types::{Object, Status};

use super::Write;
use crate::serve_object;

/// How often a write is tried again because what it counts on was written meanwhile: another Service, a
/// quota.
pub(super) const ATTEMPTS: usize = 64;

/// Gives a Service what it lacks; what it got holds only while no other Service is written: that is the
/// condition to commit it under.
pub(super) fn give(write: &Write<'_>, object: &mut Object, old: Option<&Object>) -> Result<Vec<Precondition>, Status> {
    let is_service = write.kind.group.is_empty() && &*write.kind.kind == "Service" && write.subresource.is_empty();
    if !is_service || !needs_allocation(object, old) {
        return Ok(Vec::new());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let errors = rules::service::settle_families(object);
    if !errors.is_empty() {
        return Err(super::invalid(write.kind, &name, &errors));
    }
    let snapshot = write.app.store.snapshot(&write.kind.storage);
    let key = write.key(&name);
    let others: Vec<_> = snapshot
        .list(&Scope::All, None)
        .filter(|record| record.key != key)
        .map(|record| serve_object::stored_tree(write.kind, record))
        .collect();
    let settings = &write.app.settings;
    let ranges = Ranges { addresses: settings.service_cidrs.clone(), ports: settings.node_ports };
    let errors = allocate(object, &others, &ranges, &mut |below| fastrand::u64(..below.max(1)));
    if !errors.is_empty() {
        return Err(super::invalid(write.kind, &name, &errors));
    }
    Ok(vec![Precondition::Unchanged {
        resource: write.kind.storage.clone(),
        namespace: None,
        since: snapshot.revision(),
    }])
}
