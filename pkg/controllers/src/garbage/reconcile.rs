// SPDX-License-Identifier: Apache-2.0
//! The collector at work: follows the metadata of everything, deletes what nobody owns any more.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_client::Client;
use knarr_client::cache::{Cache, Change, ObjectRef, Selection};
use knarr_types::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use parking_lot::Mutex;

use super::graph::{Action, Graph, Node, Place};
use crate::controller::{ReconcileError, is_status, unless};
use crate::queue::Queue;

/// A kind of object whose owners and dependents are followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// How it is reached.
    pub api: ApiResource,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
}

/// Deletes what lost its owners. The keys of its queue are uids.
pub struct Collector {
    client: Client,
    resources: Vec<Followed>,
    graph: Arc<Mutex<Graph>>,
    /// Keeps the followers alive.
    _caches: Vec<Cache<(String, Node)>>,
}

impl Collector {
    /// Follows `resources`, and puts the uids that need a look into `queue`, and the namespaces in which
    /// something went into `emptied`. Comes back when all were seen once: until then an owner that is
    /// merely not yet seen would count as gone.
    pub async fn start(client: Client, resources: Vec<Followed>, queue: &Queue, emptied: &Queue) -> Self {
        let graph = Arc::new(Mutex::new(Graph::default()));
        let mut caches = Vec::new();
        for (index, resource) in resources.iter().enumerate() {
            caches.push(follow(&client, index, resource, &graph, [queue, emptied]));
        }
        for cache in &caches {
            cache.synced().await;
        }
        Self { client, resources, graph, _caches: caches }
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
            Action::DeleteDependents(dependents) => {
                for dependent in dependents {
                    let place = self.graph.lock().get(&dependent).map(|n| n.place.clone());
                    if let Some(place) = place {
                        self.delete(&dependent, &place, &DeleteParams::foreground()).await?;
                    }
                }
                Ok(())
            }
            Action::Finish => self.drop_finalizer(&uid, &node.place, FINALIZER_FOREGROUND).await,
            Action::CheckOwners(gone) => self.check_owners(&uid, &node, &gone).await,
        }
    }

    /// Looks at the owners that the graph does not know, and deletes the object if none is left.
    async fn check_owners(&self, uid: &str, node: &Node, unknown: &[OwnerReference]) -> Result<(), ReconcileError> {
        let mut gone = Vec::new();
        for owner in unknown {
            if !self.exists(owner, &node.place.namespace).await? {
                gone.push(owner.uid.clone());
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        if gone.len() == node.owners.len() {
            return self.delete(uid, &node.place, &DeleteParams::background()).await;
        }
        self.drop_references(uid, &gone).await
    }

    /// Whether the owner is there, by a look at the API. Kinds that nobody follows count as there: what
    /// cannot be checked is not deleted.
    async fn exists(&self, owner: &OwnerReference, namespace: &str) -> Result<bool, ReconcileError> {
        let group_of = |api_version: &str| api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let group = group_of(&owner.api_version);
        let index = self.resources.iter().position(|r| r.api.kind == owner.kind && r.api.group == group);
        let Some(index) = index else { return Ok(true) };
        let namespace = if self.resources[index].namespaced { namespace } else { "" };
        let place = Place { resource: index, namespace: namespace.to_owned(), name: owner.name.clone() };
        match self.api(&place).get_metadata(&owner.name).await {
            Ok(found) => Ok(found.metadata.uid.as_deref() == Some(owner.uid.as_str())),
            Err(error) if is_status(&error, 404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, uid: &str, place: &Place, params: &DeleteParams) -> Result<(), ReconcileError> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..params.clone() };
        unless(self.api(place).delete(&place.name, &params).await, &[404, 409])
    }

    /// Takes the references to these owners out of the object.
    async fn drop_references(&self, uid: &str, owners: &[String]) -> Result<(), ReconcileError> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        let left: Vec<_> = node.owners.iter().filter(|o| !owners.contains(&o.uid)).collect();
        self.patch(uid, &node.place, &serde_json::json!({"ownerReferences": left})).await
    }

    async fn drop_finalizer(&self, uid: &str, place: &Place, finalizer: &str) -> Result<(), ReconcileError> {
        let current = match self.api(place).get_metadata(&place.name).await {
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
        let result = self.api(place).patch_metadata(&place.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        unless(result, &[404])
    }

    fn api(&self, place: &Place) -> Api<DynamicObject> {
        let resource = &self.resources[place.resource];
        if resource.namespaced {
            Api::namespaced_with(self.client.clone(), &place.namespace, &resource.api)
        } else {
            Api::all_with(self.client.clone(), &resource.api)
        }
    }
}

/// Follows the metadata of one resource into the graph.
fn follow(
    client: &Client,
    index: usize,
    resource: &Followed,
    graph: &Arc<Mutex<Graph>>,
    [queue, emptied]: [&Queue; 2],
) -> Cache<(String, Node)> {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client.clone(), &resource.api);
    let project = move |object: &PartialObjectMeta<DynamicObject>| {
        let meta = &object.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let place = Place { resource: index, namespace, name: meta.name.clone().unwrap_or_default() };
        (meta.uid.clone().unwrap_or_default(), Node::of(place, meta))
    };
    let (graph, queue, emptied) = (Arc::clone(graph), queue.clone(), emptied.clone());
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
    Cache::start(api, Selection::default(), project, tell)
}
