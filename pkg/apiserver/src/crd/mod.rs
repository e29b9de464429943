// SPDX-License-Identifier: Apache-2.0
//! The kinds that CustomResourceDefinitions add while the server runs.
//!
//! One task follows the definitions: it settles their names and conditions, keeps [`App::registry`]
//! and the store's options in step, and removes the instances of deleted ones. What it decides is in
//! [`plan`]; what it writes goes through the API like everybody's.

mod cleanup;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use knarr_schema::crd::{condition, kinds_of};
use knarr_schema::{Kind, Registry};
use knarr_store::{ResourceOptions, Scope, WatchEvent};
use knarr_types::tree::Value;
use knarr_types::{Object, ResourceId, Revision};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::loopback::send;
use crate::{api_services, serve_object};

pub use plan::begin_deletion;

/// The kind of definitions.
#[must_use]
pub fn is_definition(kind: &Kind) -> bool {
    &*kind.kind == "CustomResourceDefinition" && &*kind.group == "apiextensions.k8s.io"
}

fn definitions_id() -> ResourceId {
    ResourceId::new("apiextensions.k8s.io", "customresourcedefinitions")
}

/// What the kinds of a definition depend on.
type Shape = (Value, Value, Value, bool, bool);

/// Follows the definitions of a server.
pub struct Definitions {
    app: Arc<App>,
    /// The definitions as they were last read, by name.
    read: BTreeMap<String, (Revision, Object)>,
    made: BTreeMap<String, (Shape, Vec<Arc<Kind>>)>,
    /// The groups and versions that are to have an APIService.
    published: watch::Sender<BTreeSet<api_services::Served>>,
    /// By the uid of the definition.
    cleaning: BTreeSet<String>,
    cleanups: JoinSet<String>,
}

impl Definitions {
    /// Serves the kinds of the definitions that the store has, before any request is answered.
    pub async fn load(app: Arc<App>) -> Self {
        let mut definitions = Self {
            app,
            read: BTreeMap::new(),
            made: BTreeMap::new(),
            published: watch::Sender::new(BTreeSet::new()),
            cleaning: BTreeSet::new(),
            cleanups: JoinSet::new(),
        };
        let all = definitions.all();
        definitions.serve(&all).await;
        definitions
    }

    /// Follows the definitions until the server ends.
    pub async fn run(mut self) {
        let stopping = self.app.stopping.clone();
        let mut publishing = JoinSet::new();
        publishing.spawn(api_services::follow(Arc::clone(&self.app), self.published.subscribe()));
        loop {
            let from = self.app.store.snapshot(&definitions_id()).revision();
            let mut watcher = self.app.store.watch(&definitions_id(), from, Scope::All);
            self.settle().await;
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    Some(done) = self.cleanups.join_next() => {
                        if let Ok(uid) = done {
                            self.cleaning.remove(&uid);
                        }
                    }
                    event = watcher.next() => match event {
                        WatchEvent::Commits(_) => self.settle().await,
                        WatchEvent::Expired => break,
                        WatchEvent::Closed => return,
                    }
                }
            }
        }
    }

    /// The definitions that the store has. Of those that did not change the tree is kept: many are
    /// made at once when operators are installed, and each of them brings us here.
    fn all(&mut self) -> Vec<Object> {
        let registry = self.app.registry.load();
        let id = definitions_id();
        let Some(kind) = registry.by_resource(&id.group, "v1", &id.resource) else { return Vec::new() };
        let snapshot = self.app.store.snapshot(&id);
        let mut before = std::mem::take(&mut self.read);
        for record in snapshot.list(&Scope::All, None) {
            let kept = before.remove(&*record.key.name).filter(|(revision, _)| *revision == record.revision);
            let read = kept.unwrap_or_else(|| (record.revision, serve_object::tree(kind, record)));
            self.read.insert(record.key.name.to_string(), read);
        }
        self.read.values().map(|(_, definition)| definition.clone()).collect()
    }

    async fn settle(&mut self) {
        let mut all = self.all();
        let changed = plan::settle_names(&all, Timestamp::now());
        for definition in &mut all {
            let name = &definition["metadata"]["name"];
            if let Some(settled) = changed.iter().find(|settled| settled["metadata"]["name"] == *name) {
                *definition = settled.clone();
            }
        }
        // Served first, said second: who reads that a definition is established can use it.
        self.serve(&all).await;
        futures::future::join_all(changed.iter().map(|definition| put_status(&self.app, definition))).await;
        self.published.send_replace(api_services::of_definitions(&all));
        for definition in all.iter().filter(|definition| plan::is_to_clean_up(definition)) {
            let uid = definition["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            if self.cleaning.insert(uid.clone()) {
                let (app, definition) = (Arc::clone(&self.app), definition.clone());
                self.cleanups.spawn(async move {
                    cleanup::run(&app, definition).await;
                    uid
                });
            }
        }
    }

    /// Makes the kinds of the definitions the ones that are served. A definition that did not change
    /// keeps its kinds, and with them its watches.
    async fn serve(&mut self, all: &[Object]) {
        let mut made = BTreeMap::new();
        let mut changed = false;
        for definition in all {
            let name = definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let shape = shape(definition);
            let kept = self.made.remove(&name).filter(|(old, _)| *old == shape);
            changed |= kept.is_none();
            made.insert(name, kept.unwrap_or_else(|| (shape, kinds_of(definition))));
        }
        changed |= !self.made.is_empty();
        self.made = made;
        if !changed {
            return;
        }
        let kinds: Vec<Arc<Kind>> = self.made.values().flat_map(|(_, kinds)| kinds).cloned().collect();
        for kind in &kinds {
            self.app.store.register(ResourceOptions::new(kind.storage.clone(), &kind.storage_version)).await;
        }
        self.app.registry.store(Arc::new(registry(kinds)));
        self.app.kinds_changed.send_modify(|count| *count += 1);
    }
}

/// Built-in kinds first, then those of the groups of definitions, by name.
fn registry(mut kinds: Vec<Arc<Kind>>) -> Registry {
    kinds.sort_by(|a, b| (&a.group, &a.resource).cmp(&(&b.group, &b.resource)));
    Registry::builtin().with(kinds)
}

fn shape(definition: &Object) -> Shape {
    (
        definition["metadata"]["uid"].clone(),
        definition["metadata"]["generation"].clone(),
        definition["status"]["acceptedNames"].clone(),
        condition(definition, "Established"),
        condition(definition, "Terminating"),
    )
}

/// Writes a definition's status; where somebody else was faster, the change that they made brings us
/// back.
async fn put_status(app: &Arc<App>, definition: &Object) -> bool {
    let name = definition["metadata"]["name"].as_str().unwrap_or_default();
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}/status");
    let (code, why) = send(app, Method::PUT, &path, definition).await;
    if code != 200 && code != 404 && code != 409 {
        tracing::warn!(definition = name, code, why, "the status of a definition was not written");
    }
    code == 200
}
