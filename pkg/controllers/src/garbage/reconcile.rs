// SPDX-License-Identifier: Apache-2.0
//! The collector at work: follows the metadata of everything, deletes what nobody owns any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_client::Client;
use knarr_client::cache::{Cache, Change, ObjectRef, Selection};
use knarr_types::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use parking_lot::{Mutex, RwLock};

use super::graph::{Action, Fate, Graph, Node, Owners, Place, group_of};
use crate::controller::{ReconcileError, is_status, unless};
use crate::queue::Queue;
use crate::resources::{Followed, Resources};

/// Deletes what lost its owners. The keys of its queue are uids.
pub struct Collector {
    client: Client,
    resources: Resources,
    graph: Arc<Mutex<Graph>>,
    queue: Queue,
    emptied: Queue,
    /// Those that are followed, in the order in which they came; `None` where one went.
    followed: RwLock<Vec<Option<Followed>>>,
    caches: Mutex<Vec<Option<Follower>>>,
    /// Where in these lists each definition's resource is.
    defined: Mutex<HashMap<String, usize>>,
}

/// How long it may take to see the objects of a new definition.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows one resource into the graph, by uid.
type Follower = Cache<(String, Node)>;

impl Collector {
    /// Follows `resources`, and puts the uids that need a look into `queue`, and the namespaces in which
    /// something went into `emptied`. Comes back when all built-in ones were seen once: until then an owner that is
    /// merely not yet seen would cost a look.
    pub async fn start(client: Client, resources: Resources, queue: &Queue, emptied: &Queue) -> Self {
        let collector = Self {
            client,
            graph: Arc::new(Mutex::new(Graph::default())),
            queue: queue.clone(),
            emptied: emptied.clone(),
            followed: RwLock::default(),
            caches: Mutex::default(),
            defined: Mutex::default(),
            resources: resources.clone(),
        };
        // Events own nothing and are owned by nothing.
        let tied = resources.builtin().iter().filter(|r| r.api.kind != "Event");
        let caches: Vec<_> = tied.map(|resource| collector.follow(resource.clone()).1).collect();
        for cache in &caches {
            cache.synced().await;
        }
        collector
    }

    /// Follows what the definition of this name makes, or no longer what it made.
    pub fn follow_definition(&self, name: &str) {
        let now = self.resources.defined(name);
        let index = self.defined.lock().get(name).copied();
        let before = index.and_then(|index| self.followed.read()[index].clone());
        if before == now {
            return;
        }
        if let Some(index) = index {
            self.defined.lock().remove(name);
            self.followed.write()[index] = None;
            self.caches.lock()[index] = None;
            let affected = self.graph.lock().remove_resource(index);
            affected.into_iter().for_each(|uid| self.queue.add(ObjectRef::new("", uid)));
        }
        if let Some(resource) = now {
            let (group, kind) = (resource.api.group.clone(), resource.api.kind.clone());
            let (index, cache) = self.follow(resource);
            self.defined.lock().insert(name.to_owned(), index);
            let (graph, queue) = (Arc::clone(&self.graph), self.queue.clone());
            tokio::spawn(async move {
                // A definition may be gone before its objects were seen.
                if tokio::time::timeout(PATIENCE, cache.synced()).await.is_ok() {
                    // Until now its objects counted as there.
                    let owned = graph.lock().owned_by_kind(&group, &kind);
                    owned.into_iter().for_each(|uid| queue.add(ObjectRef::new("", uid)));
                }
            });
        }
    }

    /// Does what the graph says about one object.
    ///
    /// # Errors
    /// The API's, when a write failed; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let uid = key.name;
        let (action, node) = {
            let graph = self.graph.lock();
            (graph.decide(&uid), graph.get(&uid).cloned())
        };
        let Some(node) = node else { return Ok(()) };
        match action {
            Action::Leave => Ok(()),
            Action::Orphan(dependents) => {
                for dependent in dependents {
                    self.drop_references(&dependent, std::slice::from_ref(&uid)).await?;
                }
                self.drop_finalizer(&uid, &node.place, FINALIZER_ORPHAN).await
            }
            Action::LookAt(dependents) => {
                dependents.into_iter().for_each(|uid| self.queue.add(ObjectRef::new("", uid)));
                Ok(())
            }
            Action::Finish => self.drop_finalizer(&uid, &node.place, FINALIZER_FOREGROUND).await,
            Action::Judge(owners) => self.judge(&uid, &node, &owners).await,
        }
    }

    /// Looks at the owners that the graph does not know, and does what follows for the object.
    async fn judge(&self, uid: &str, node: &Node, owners: &Owners) -> Result<(), ReconcileError> {
        let mut gone = Vec::new();
        for owner in &owners.unknown {
            if !self.exists(owner, &node.place.namespace).await? {
                gone.push(owner.uid.clone());
            }
        }
        let fate = self.graph.lock().fate(uid, owners, &gone);
        match fate {
            Fate::Stays => Ok(()),
            Fate::LetsGo(lost) => self.drop_references(uid, &lost).await,
            // Nobody has asked for another way: who does, deletes it.
            Fate::Goes => self.delete(uid, &node.place, &DeleteParams::background()).await,
            Fate::GoesAfterDependents { circle } => {
                if circle {
                    self.unblock(uid, node).await?;
                }
                self.delete(uid, &node.place, &DeleteParams::foreground()).await
            }
        }
    }

    /// Whether the owner is there, by a look at the API. Kinds that nobody follows count as there: what
    /// cannot be checked is not deleted.
    async fn exists(&self, owner: &OwnerReference, namespace: &str) -> Result<bool, ReconcileError> {
        let group = group_of(&owner.api_version);
        let found = self.followed.read().iter().position(|r| r.as_ref().is_some_and(|r| r.is(group, &owner.kind)));
        let Some(index) = found else { return Ok(true) };
        let place =
            |namespace: &str| Place { resource: index, namespace: namespace.to_owned(), name: owner.name.clone() };
        let namespaced = self.followed.read()[index].as_ref().is_some_and(|r| r.namespaced);
        let Some(api) = self.api(&place(if namespaced { namespace } else { "" })) else { return Ok(true) };
        match api.get_metadata(&owner.name).await {
            Ok(found) => Ok(found.metadata.uid.as_deref() == Some(owner.uid.as_str())),
            Err(error) if is_status(&error, 404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, uid: &str, place: &Place, params: &DeleteParams) -> Result<(), ReconcileError> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..params.clone() };
        let Some(api) = self.api(place) else { return Ok(()) };
        unless(api.delete(&place.name, &params).await, &[404, 409])
    }

    /// Takes the references to these owners out of the object.
    async fn drop_references(&self, uid: &str, owners: &[String]) -> Result<(), ReconcileError> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        let left: Vec<_> = node.owners.iter().filter(|o| !owners.contains(&o.uid)).collect();
        self.patch(uid, &node.place, &serde_json::json!({"ownerReferences": left})).await
    }

    /// Lets the owners of the object go before it.
    async fn unblock(&self, uid: &str, node: &Node) -> Result<(), ReconcileError> {
        let free = |owner: &OwnerReference| OwnerReference { block_owner_deletion: Some(false), ..owner.clone() };
        let owners: Vec<_> = node.owners.iter().map(free).collect();
        self.patch(uid, &node.place, &serde_json::json!({"ownerReferences": owners})).await
    }

    async fn drop_finalizer(&self, uid: &str, place: &Place, finalizer: &str) -> Result<(), ReconcileError> {
        let Some(api) = self.api(place) else { return Ok(()) };
        let current = match api.get_metadata(&place.name).await {
            Err(error) if is_status(&error, 404) => return Ok(()),
            other => other?.metadata,
        };
        let left: Vec<_> = current.finalizers.iter().flatten().filter(|f| *f != finalizer).collect();
        let patch = serde_json::json!({"resourceVersion": current.resource_version, "finalizers": left});
        self.patch(uid, place, &patch).await
    }

    async fn patch(&self, uid: &str, place: &Place, metadata: &serde_json::Value) -> Result<(), ReconcileError> {
        let mut patch = serde_json::json!({"metadata": metadata});
        patch["metadata"]["uid"] = uid.into();
        let Some(api) = self.api(place) else { return Ok(()) };
        unless(api.patch_metadata(&place.name, &PatchParams::default(), &Patch::Merge(patch)).await, &[404])
    }

    /// `None` where the resource is no more.
    fn api(&self, place: &Place) -> Option<Api<DynamicObject>> {
        let resource = self.followed.read()[place.resource].clone()?;
        Some(if resource.namespaced {
            Api::namespaced_with(self.client.clone(), &place.namespace, &resource.api)
        } else {
            Api::all_with(self.client.clone(), &resource.api)
        })
    }

    /// Follows the metadata of one resource into the graph; gives its place in the lists.
    fn follow(&self, resource: Followed) -> (usize, Follower) {
        let mut followed = self.followed.write();
        let index = followed.len();
        let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(self.client.clone(), &resource.api);
        followed.push(Some(resource));
        let project = move |object: &PartialObjectMeta<DynamicObject>| {
            let meta = &object.metadata;
            let namespace = meta.namespace.clone().unwrap_or_default();
            let place = Place { resource: index, namespace, name: meta.name.clone().unwrap_or_default() };
            (meta.uid.clone().unwrap_or_default(), Node::of(place, meta))
        };
        let (graph, queue, emptied) = (Arc::clone(&self.graph), self.queue.clone(), self.emptied.clone());
        let tell = move |change: &Change<(String, Node)>| {
            let mut graph = graph.lock();
            let mut affected = Vec::new();
            if let Some((uid, _)) = change.before.as_deref()
                && change.after.as_ref().is_none_or(|after| after.0 != *uid)
            {
                affected.extend(graph.remove(uid));
                if !change.object.namespace.is_empty() {
                    emptied.add(ObjectRef::new("", change.object.namespace.clone()));
                }
            }
            if let Some((uid, node)) = change.after.as_deref() {
                affected.extend(graph.put(uid, node.clone()));
            }
            affected.into_iter().for_each(|uid| queue.add(ObjectRef::new("", uid)));
        };
        let cache = Cache::start(api, Selection::default(), project, tell);
        self.caches.lock().push(Some(cache.clone()));
        (index, cache)
    }
}
