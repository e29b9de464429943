// SPDX-License-Identifier: Apache-2.0
//! Quotas are charged in the same commit as the object: both or neither.
//!
//! Writers of one namespace take turns, so that those who come at once do not find out by failing; the
//! condition on the quota's revision is what keeps the count right.

use std::collections::HashMap;
use std::sync::Arc;

use knarr_admission::{Request, quota};
use knarr_schema::managed_fields::{Manager, OneVersion, track_update};
use knarr_schema::normalize;
use knarr_store::{Change, Precondition, Scope};
use knarr_types::{Key, Object, ResourceId, Revision, Status};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Write;
use super::terms::Terms;
use crate::serve_object;

/// The plural of quotas.
pub(super) const RESOURCE: &str = "resourcequotas";
/// Who owns the numbers that are written here.
const MANAGER: &str = "kube-apiserver";

/// Whose turn it is, by namespace. Only namespaces with quotas have an entry while somebody waits.
#[derive(Debug, Default)]
pub struct Turns(parking_lot::Mutex<HashMap<String, Arc<Mutex<()>>>>);

impl Turns {
    async fn take(&self, namespace: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(namespace.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

/// Waits for the turn of a write that may be charged: of objects that are there only few kinds are.
pub(super) async fn turn(write: &Write<'_>, is_new: bool) -> Option<OwnedMutexGuard<()>> {
    let namespace = &write.context.info.namespace;
    let grows = matches!(&*write.kind.kind, "Service" | "PersistentVolumeClaim") || write.subresource == "resize";
    if !write.kind.namespaced || write.options.dry_run || !(is_new || grows) {
        return None;
    }
    let quotas = write.app.store.snapshot(&ResourceId::new("", RESOURCE));
    quotas.list(&Scope::Namespace(namespace.as_str().into()), None).next()?;
    Some(write.app.quota_turns.take(namespace).await)
}

/// Charges the quotas of the namespace for a write.
pub(super) fn charge(write: &Write<'_>, request: &Request<'_>, object: &Object) -> Result<Terms, Status> {
    let mut terms = Terms::default();
    let quotas = quota::charge(request, object, write.app)?;
    if quotas.is_empty() || write.options.dry_run {
        return Ok(terms);
    }
    let registry = write.app.registry.load();
    let kind = registry.by_resource("", "v1", RESOURCE).ok_or_else(|| Status::internal("quotas are not served"))?;
    for mut quota in quotas {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let key = Key::new(kind.storage.clone(), &write.context.info.namespace, name);
        let revision = quota["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok()).map(Revision);
        let (Some(record), Some(revision)) = (write.app.store.get(&key), revision) else { continue };
        let old = serve_object::stored_tree(kind, &record);
        normalize(&mut quota, kind.ty.get());
        let api_version = kind.api_version();
        let manager = Manager {
            name: MANAGER,
            api_version: &api_version,
            subresource: "status",
            reset: &[],
            others: &OneVersion,
        };
        track_update(Some(&old), &mut quota, kind.ty.get(), &manager, write.now);
        terms.preconditions.push(Precondition::At(key.clone(), revision));
        terms.changes.push(Change::Put(key, serve_object::draft(kind, &quota)));
    }
    Ok(terms)
}
