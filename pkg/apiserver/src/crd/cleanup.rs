// SPDX-License-Identifier: Apache-2.0
//! The end of a definition: its instances are deleted, then its finalizer goes.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use knarr_store::{Scope, WatchEvent};
use knarr_types::{Object, ResourceId};

use super::{plan, put_status};
use crate::app::App;
use crate::loopback::send;

/// Removes the instances of a definition and waits until they are gone, finalizers of theirs included.
pub(super) async fn run(app: &Arc<App>, mut definition: Object) {
    let text = |value: &knarr_types::tree::Value| value.as_str().unwrap_or_default().to_owned();
    let (name, uid) = (text(&definition["metadata"]["name"]), text(&definition["metadata"]["uid"]));
    let plural = text(&definition["spec"]["names"]["plural"]);
    let id = ResourceId::new(definition["spec"]["group"].as_str().unwrap_or_default(), &plural);
    let snapshot = app.store.snapshot(&id);
    // A definition that never got its names has no instances of its own.
    let owns = definition["status"]["acceptedNames"]["plural"] == plural.as_str();
    if owns && snapshot.list(&Scope::All, None).next().is_some() {
        put_status(app, &plan::cleaning_up(&definition, Timestamp::now())).await;
        delete_instances(app, &id, &definition).await;
        if !wait_until_gone(app, &id).await {
            return;
        }
    }
    // Somebody may have changed the definition meanwhile.
    for _ in 0..16 {
        let Some(newest) = newest(app, &name).filter(|newest| newest["metadata"]["uid"] == uid.as_str()) else {
            return;
        };
        definition = newest;
        if put_status(app, &plan::cleaned_up(&definition, Timestamp::now())).await {
            return;
        }
    }
    tracing::warn!(definition = name, "the definition keeps its finalizer: it changed all the time");
}

fn newest(app: &App, name: &str) -> Option<Object> {
    let registry = app.registry.load();
    app.object(registry.by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")?, "", name)
}

async fn delete_instances(app: &Arc<App>, id: &ResourceId, definition: &Object) {
    let registry = app.registry.load_full();
    let kinds = || registry.iter().filter(|kind| kind.storage == *id);
    // Nobody needs to convert what is deleted in the version that it is stored in.
    let stored = kinds().find(|kind| kind.api_version() == *kind.storage_version);
    let Some(kind) = stored.or_else(|| kinds().next()) else { return };
    let snapshot = app.store.snapshot(id);
    let keys: Vec<_> = snapshot.list(&Scope::All, None).map(|record| record.key.clone()).collect();
    for key in keys {
        let folder = if kind.namespaced { format!("/namespaces/{}", key.namespace) } else { String::new() };
        let path = format!("/apis/{}{folder}/{}/{}", kind.api_version(), kind.resource, key.name);
        let (code, why) = send(app, Method::DELETE, &path, &Object::Null).await;
        if code >= 400 && code != 404 {
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            tracing::warn!(definition = name, path, code, why, "an instance was not deleted");
        }
    }
}

/// Whether all instances went before the server ends.
async fn wait_until_gone(app: &App, id: &ResourceId) -> bool {
    loop {
        let snapshot = app.store.snapshot(id);
        if snapshot.list(&Scope::All, None).next().is_none() {
            return true;
        }
        let mut watcher = app.store.watch(id, snapshot.revision(), Scope::All);
        tokio::select! {
            () = app.stopping.cancelled() => return false,
            event = watcher.next() => if matches!(event, WatchEvent::Closed) { return false },
        }
    }
}
