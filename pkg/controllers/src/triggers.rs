// SPDX-License-Identifier: Apache-2.0
//! What makes controllers look again: for each kind of change, the keys that it puts into a queue.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_client::cache::{Cache, ObjectRef};

use crate::endpointslice::Unseen;
use crate::queue::Queue;
use crate::views::{Handler, PodView, selects};
use crate::volume_protection::Protected;
use crate::{endpoints, endpointslice};

/// A cache that is started after those whose changes are looked up in it.
pub(crate) type Later<P> = Arc<OnceLock<Cache<P>>>;

/// The object that changed.
pub(crate) fn own<P>(queue: &Queue) -> Handler<P> {
    let queue = queue.clone();
    Box::new(move |change| queue.add(change.object.clone()))
}

/// An object that is no more.
pub(crate) fn gone<P: 'static>(queue: &Queue) -> Handler<P> {
    let queue = queue.clone();
    Box::new(move |change| {
        if change.after.is_none() {
            queue.add(change.object.clone());
        }
    })
}

/// That something changed, whatever it is: for a controller that looks at all objects at once.
pub(crate) fn any<P>(queue: &Queue) -> Handler<P> {
    let queue = queue.clone();
    Box::new(move |_| queue.add(ObjectRef::new("", "")))
}

/// The namespace of what changed.
pub(crate) fn within<P>(queue: &Queue) -> Handler<P> {
    let queue = queue.clone();
    Box::new(move |change| queue.add(ObjectRef::new("", change.object.namespace.clone())))
}

/// A pod that ended gives back what it used.
pub(crate) fn quotas_of_ended(queue: &Queue) -> Handler<PodView> {
    let queue = queue.clone();
    let ended = |p: &PodView| p.phase == "Succeeded" || p.phase == "Failed";
    Box::new(move |change| {
        let before = change.before.as_deref().is_some_and(ended);
        if !before && change.after.as_deref().is_some_and(ended) {
            queue.add(ObjectRef::new("", change.object.namespace.clone()));
        }
    })
}

/// A pod that is gone gives back its claims.
pub(crate) fn claims_of_gone(queue: &Queue) -> Handler<PodView> {
    let queue = queue.clone();
    Box::new(move |change| {
        let Some(pod) = change.before.as_ref().filter(|_| change.after.is_none()) else { return };
        pod.claims.iter().for_each(|claim| queue.add(ObjectRef::new(&change.object.namespace, claim)));
    })
}

/// What used an attribute class and does so no longer.
pub(crate) fn classes_of_former(queue: &Queue) -> Handler<Protected> {
    let queue = queue.clone();
    Box::new(move |change| {
        let now = change.after.iter().flat_map(|user| &user.classes).collect::<Vec<_>>();
        let before = change.before.iter().flat_map(|user| &user.classes);
        before.filter(|class| !now.contains(class)).for_each(|class| queue.add(ObjectRef::new("", class)));
    })
}

/// The object's controller, if it is of this kind.
pub(crate) fn owner<P: 'static>(kind: &'static str, queue: &Queue, of: fn(&P) -> Option<OwnerReference>) -> Handler<P> {
    let queue = queue.clone();
    Box::new(move |change| {
        for owner in change.before.iter().chain(&change.after).filter_map(|p| of(p)) {
            if owner.kind == kind {
                queue.add(ObjectRef::new(&change.object.namespace, owner.name));
            }
        }
    })
}

/// A pod that ended may let a Recreate go on.
pub(crate) fn deployment_of_pod(deployments: &Queue) -> Handler<PodView> {
    let deployments = deployments.clone();
    Box::new(move |change| {
        let ended = change.after.as_ref().is_none_or(|p| !p.is_active());
        let Some(pod) = change.before.as_ref().or(change.after.as_ref()).filter(|_| ended) else { return };
        let Some(owner) = pod.controller.as_ref().filter(|o| o.kind == "ReplicaSet") else { return };
        // A Deployment's sets are named after it and the hash of their template.
        if let Some((deployment, _)) = owner.name.rsplit_once('-') {
            deployments.add(ObjectRef::new(&change.object.namespace, deployment));
        }
    })
}

/// The sets that may adopt a pod that nobody controls.
pub(crate) fn sets_of_orphan(sets: Later<ReplicaSet>, queue: &Queue) -> Handler<PodView> {
    let queue = queue.clone();
    Box::new(move |change| {
        let Some(pod) = change.after.as_ref().filter(|p| p.controller.is_none() && p.is_active()) else { return };
        let fits = |set: &ReplicaSet| set.spec.as_ref().is_some_and(|spec| selects(&spec.selector, &pod.labels));
        let all = sets.get().into_iter().flat_map(|sets| sets.list_namespace(&change.object.namespace));
        all.filter(|(_, set)| fits(set)).for_each(|(key, _)| queue.add(key));
    })
}

/// The Services that select a pod, or did.
pub(crate) fn services_of_pod(services: Later<Service>, slices: &Queue, objects: &Queue) -> Handler<PodView> {
    let (slices, objects) = (slices.clone(), objects.clone());
    Box::new(move |change| {
        let Some(services) = services.get() else { return };
        let pods = [change.before.as_ref(), change.after.as_ref()];
        for key in endpoints::services_for(services, &change.object.namespace, &pods) {
            slices.add(key.clone());
            objects.add(key);
        }
    })
}

/// The node that a pod was bound to.
pub(crate) fn node_of_pod(queue: &Queue) -> Handler<PodView> {
    let queue = queue.clone();
    Box::new(move |change| {
        let before = change.before.as_ref().map_or("", |p| p.node.as_str());
        if let Some(pod) = change.after.as_ref().filter(|p| p.node != before) {
            queue.add(ObjectRef::new("", pod.node.clone()));
        }
    })
}

/// The Service whose slice changed, which is then no longer `unseen`.
pub(crate) fn service_of_slice(unseen: &Unseen, queue: &Queue) -> Handler<EndpointSlice> {
    let (unseen, queue) = (unseen.clone(), queue.clone());
    Box::new(move |change| {
        unseen.forget(&change.object);
        for slice in change.before.iter().chain(&change.after) {
            if let Some(service) = endpointslice::service_of(slice) {
                queue.add(ObjectRef::new(&change.object.namespace, service));
            }
        }
    })
}
