// SPDX-License-Identifier: Apache-2.0
//! ReplicaSets, and what is like them (`workload.rs`): as many pods as asked for.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/>

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use knarr_client::events::{Recorder, Severity};
use kube::Resource as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use parking_lot::Mutex;

use crate::controller::{ReconcileError, unless};
use crate::queue::Queue;
use crate::views::{PodView, selects};
use crate::workload::Workload;

/// At most so many pods are created or deleted in one go. Upstream's `BurstReplicas`.
const BURST: usize = 500;
/// How many of them at the same time.
const PARALLEL: usize = 32;

/// What is to be done for a ReplicaSet.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// How many pods to create.
    pub create: usize,
    /// The pods to delete, by name and uid.
    pub delete: Vec<(String, String)>,
    /// The status as it is now.
    pub status: ReplicaSetStatus,
    /// When a ready pod becomes available without any change.
    pub available_at: Option<Timestamp>,
}

/// What `set` needs, given its pods (those that it controls).
#[must_use]
pub fn plan(set: &ReplicaSet, pods: &[Arc<PodView>], now: Timestamp) -> Plan {
    let spec = set.spec.clone().unwrap_or_default();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let active: Vec<_> = pods.iter().filter(|p| p.is_active()).cloned().collect();
    let mut plan = Plan { status: status(set, pods, &active, min_ready, now), ..Plan::default() };
    plan.available_at = active
        .iter()
        .filter(|p| !p.is_available(min_ready, now))
        .filter_map(|p| Some(p.ready_since? + SignedDuration::from_secs(min_ready.into())))
        .min();
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if active.len() < wanted {
        plan.create = (wanted - active.len()).min(BURST);
    } else {
        let mut ranked = active;
        let surplus = (ranked.len() - wanted).min(BURST);
        ranked.sort_by_cached_key(|p| deletion_rank(p));
        plan.delete = ranked.iter().take(surplus).map(|p| (p.name.clone(), p.uid.clone())).collect();
    }
    plan
}

/// Which pods go first: without a node, pending, not ready, cheap, ready for a shorter time, with more
/// restarts, younger. Upstream's `ActivePodsWithRanks`, less the co-location rank.
fn deletion_rank(pod: &PodView) -> impl Ord + use<> {
    let phase = match pod.phase.as_str() {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    (
        !pod.node.is_empty(),
        phase,
        pod.ready_since.is_some(),
        pod.deletion_cost,
        std::cmp::Reverse(pod.ready_since),
        std::cmp::Reverse(pod.restarts),
        std::cmp::Reverse(pod.created),
        pod.name.clone(),
    )
}

fn status(
    set: &ReplicaSet,
    pods: &[Arc<PodView>],
    active: &[Arc<PodView>],
    min_ready: i32,
    now: Timestamp,
) -> ReplicaSetStatus {
    let template = set.spec.as_ref().and_then(|s| s.template.as_ref()).and_then(|t| t.metadata.as_ref());
    let labels = template.and_then(|m| m.labels.clone()).unwrap_or_default();
    let count = |test: &dyn Fn(&PodView) -> bool| i32::try_from(active.iter().filter(|p| test(p)).count()).ok();
    let terminating = pods.iter().filter(|p| p.deleting && p.phase != "Succeeded" && p.phase != "Failed").count();
    ReplicaSetStatus {
        replicas: count(&|_| true).unwrap_or_default(),
        fully_labeled_replicas: count(&|p| labels.iter().all(|(k, v)| p.labels.get(k) == Some(v))),
        ready_replicas: count(&|p| p.ready_since.is_some()),
        available_replicas: count(&|p| p.is_available(min_ready, now)),
        terminating_replicas: i32::try_from(terminating).ok(),
        observed_generation: set.metadata.generation,
        conditions: set.status.as_ref().and_then(|s| s.conditions.clone()),
    }
}

/// Reconciles ReplicaSets, or what is seen as such.
pub struct Controller {
    pub(crate) workload: Workload,
    pub(crate) client: Client,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) sets: Cache<ReplicaSet>,
    pub(crate) pods: Cache<PodView>,
    pub(crate) queue: Queue,
    pub(crate) pending: Mutex<HashMap<ObjectRef, Pending>>,
}

/// What was asked of the API and has not been seen yet: until it is, counting would be wrong.
#[derive(Debug, Default)]
pub struct Pending {
    created: HashSet<String>,
    deleted: HashSet<String>,
}

impl Controller {
    /// Brings one ReplicaSet closer to what it asks for.
    ///
    /// # Errors
    /// The API's, when a write failed; what was not done is done next time.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let Some(set) = self.sets.get(&key) else {
            self.pending.lock().remove(&key);
            return Ok(());
        };
        let owned = self.claim(&key, &set).await?;
        if !self.caught_up(&key, &owned) {
            return Ok(());
        }
        let now = Timestamp::now();
        let plan = plan(&set, &owned, now);
        if let Some(at) = plan.available_at {
            let wait = std::time::Duration::try_from(at.duration_since(now)).unwrap_or_default();
            self.queue.add_at(key.clone(), std::time::Instant::now() + wait);
        }
        let failure = self.carry_out(&key, &set, &plan).await.err();
        self.write_status(&key, &set, plan.status, failure.as_ref()).await?;
        failure.map_or(Ok(()), Err)
    }

    /// The pods that the set controls, after it adopted orphans that its selector fits and let go of
    /// pods that it no longer fits.
    async fn claim(&self, key: &ObjectRef, set: &ReplicaSet) -> Result<Vec<Arc<PodView>>, ReconcileError> {
        let Some(selector) = set.spec.as_ref().map(|s| &s.selector) else { return Ok(Vec::new()) };
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let mut owned = Vec::new();
        for (_, pod) in self.pods.list_namespace(&key.namespace) {
            let fits = selects(selector, &pod.labels);
            match &pod.controller {
                Some(owner) if owner.uid == uid && fits => owned.push(pod),
                Some(owner) if owner.uid == uid && set.metadata.deletion_timestamp.is_none() => {
                    let patch = serde_json::json!({"metadata": {"uid": pod.uid, "ownerReferences": [{"$patch": "delete", "uid": uid}]}});
                    unless(api.patch(&pod.name, &PatchParams::default(), &Patch::Strategic(patch)).await, &[404, 409])?;
                }
                None if fits && pod.is_active() && set.metadata.deletion_timestamp.is_none() => {
                    let patch = serde_json::json!({"metadata": {"uid": pod.uid, "ownerReferences": [owner_of(self.workload, set)]}});
                    unless(api.patch(&pod.name, &PatchParams::default(), &Patch::Strategic(patch)).await, &[404, 409])?;
                    owned.push(pod);
                }
                _ => {}
            }
        }
        Ok(owned)
    }

    /// Whether the cache shows all that this controller did before.
    fn caught_up(&self, key: &ObjectRef, owned: &[Arc<PodView>]) -> bool {
        let mut all = self.pending.lock();
        let Some(pending) = all.get_mut(key) else { return true };
        let known: HashMap<&str, &PodView> = owned.iter().map(|p| (p.uid.as_str(), p.as_ref())).collect();
        pending.created.retain(|uid| !known.contains_key(uid.as_str()));
        pending.deleted.retain(|uid| known.get(uid.as_str()).is_some_and(|p| !p.deleting));
        let done = pending.created.is_empty() && pending.deleted.is_empty();
        if done {
            all.remove(key);
        }
        done
    }

    async fn carry_out(&self, key: &ObjectRef, set: &ReplicaSet, plan: &Plan) -> Result<(), ReconcileError> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        // Slow start: one, then twice as many each time, so that a refusal costs few requests.
        let mut left = plan.create;
        let mut batch = 1;
        while left > 0 {
            let results: Vec<_> = futures::stream::iter(0..batch.min(left))
                .map(|_| self.create_pod(&api, key, set))
                .buffer_unordered(PARALLEL)
                .collect()
                .await;
            left -= results.len();
            batch *= 2;
            results.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
        let results: Vec<_> = futures::stream::iter(plan.delete.clone())
            .map(|(name, uid)| self.delete_pod(&api, key, set, name, uid))
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        results.into_iter().collect()
    }

    async fn create_pod(&self, api: &Api<Pod>, key: &ObjectRef, set: &ReplicaSet) -> Result<(), ReconcileError> {
        match api.create(&PostParams::default(), &pod_from_template(self.workload, set)).await {
            Ok(pod) => {
                let uid = pod.metadata.uid.unwrap_or_default();
                let name = pod.metadata.name.unwrap_or_default();
                if self.pods.get(&ObjectRef::new(&key.namespace, &name)).is_none_or(|seen| seen.uid != uid) {
                    self.pending.lock().entry(key.clone()).or_default().created.insert(uid);
                    // It may have come between the look and the note: look again after the note.
                    self.queue.add(key.clone());
                }
                self.tell(set, Severity::Normal, "SuccessfulCreate", &format!("Created pod: {name}")).await;
                Ok(())
            }
            Err(error) => {
                self.tell(set, Severity::Warning, "FailedCreate", &format!("Error creating: {error}")).await;
                Err(error)
            }
        }
    }

    async fn delete_pod(
        &self,
        api: &Api<Pod>,
        key: &ObjectRef,
        set: &ReplicaSet,
        name: String,
        uid: String,
    ) -> Result<(), ReconcileError> {
        let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        self.pending.lock().entry(key.clone()).or_default().deleted.insert(uid.clone());
        let deleted = unless(api.delete(&name, &params).await, &[404, 409]);
        if deleted.is_err() {
            self.pending.lock().entry(key.clone()).or_default().deleted.remove(&uid);
        } else {
            self.tell(set, Severity::Normal, "SuccessfulDelete", &format!("Deleted pod: {name}")).await;
        }
        deleted
    }

    async fn write_status(
        &self,
        key: &ObjectRef,
        set: &ReplicaSet,
        mut status: ReplicaSetStatus,
        failure: Option<&kube::Error>,
    ) -> Result<(), ReconcileError> {
        set_failure(&mut status, failure);
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let object = ReplicaSet { metadata: set.metadata.clone(), spec: set.spec.clone(), status: Some(status) };
        unless(self.workload.write_status(&self.client, key, object).await, &[404])
    }

    async fn tell(&self, set: &ReplicaSet, severity: Severity, reason: &str, message: &str) {
        self.recorder.record(&reference(self.workload, set), severity, reason, message).await;
    }
}

/// Notes on the set that pods could not be made, as upstream's ReplicaFailure, or that they can again.
fn set_failure(status: &mut ReplicaSetStatus, failure: Option<&kube::Error>) {
    let conditions = status.conditions.get_or_insert_default();
    match failure {
        Some(error) if !conditions.iter().any(|c| c.type_ == "ReplicaFailure") => {
            conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some("FailedCreate".into()),
                message: Some(error.to_string()),
                last_transition_time: Some(Time(Timestamp::now())),
            });
        }
        Some(_) => {}
        None => conditions.retain(|c| c.type_ != "ReplicaFailure"),
    }
    if conditions.is_empty() {
        status.conditions = None;
    }
}

fn owner_of(workload: Workload, set: &ReplicaSet) -> OwnerReference {
    OwnerReference {
        api_version: workload.api_version().into(),
        kind: workload.kind().into(),
        name: set.metadata.name.clone().unwrap_or_default(),
        uid: set.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn pod_from_template(workload: Workload, set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.metadata.name.as_deref().unwrap_or_default())),
            namespace: set.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner_of(workload, set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

fn reference(workload: Workload, set: &ReplicaSet) -> ObjectReference {
    let (api_version, kind) = (workload.api_version().into(), workload.kind().into());
    ObjectReference { api_version: Some(api_version), kind: Some(kind), ..set.object_ref(&()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": 10, "selector": {}},
        }))
        .unwrap()
    }

    fn pod(name: &str, change: impl FnOnce(&mut PodView)) -> Arc<PodView> {
        let mut pod = PodView { name: name.into(), uid: name.into(), phase: "Running".into(), ..PodView::default() };
        pod.node = "n".into();
        pod.ready_since = Some(Timestamp::UNIX_EPOCH);
        change(&mut pod);
        Arc::new(pod)
    }

    #[test]
    fn only_active_pods_count() {
        let pods = [pod("a", |_| ()), pod("b", |p| p.deleting = true), pod("c", |p| p.phase = "Failed".into())];
        let plan = plan(&set(3), &pods, Timestamp::now());
        assert_eq!((plan.create, plan.delete.len()), (2, 0));
        assert_eq!(plan.status.replicas, 1);
        assert_eq!(plan.status.terminating_replicas, Some(1));
        assert_eq!(plan.status.observed_generation, Some(3));
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60);
        let pods = [
            pod("old", |_| ()),
            pod("young", |p| p.ready_since = Some(later)),
            pod("cheap", |p| p.deletion_cost = -1),
            pod("unready", |p| p.ready_since = None),
            pod("pending", |p| p.phase = "Pending".into()),
            pod("unassigned", |p| p.node.clear()),
        ];
        let plan = plan(&set(1), &pods, Timestamp::now());
        let order: Vec<_> = plan.delete.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["unassigned", "pending", "unready", "cheap", "young"]);
    }

    #[test]
    fn a_pod_is_available_after_min_ready_seconds() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(4);
        let plan = plan(&set(1), &[pod("a", |_| ())], now);
        assert_eq!((plan.status.ready_replicas, plan.status.available_replicas), (Some(1), Some(0)));
        assert_eq!(plan.available_at, Some(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(10)));
    }

    #[test]
    fn a_set_that_is_being_deleted_makes_no_pods() {
        let mut set = set(3);
        set.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
        assert_eq!(plan(&set, &[], Timestamp::now()).create, 0);
    }
}
