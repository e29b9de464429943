// SPDX-License-Identifier: Apache-2.0
//! The shell around the plan of a Deployment: finds its sets, writes what was decided.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use knarr_client::events::{Recorder, Severity};
use knarr_types::labels::DEPLOYMENT_REVISION;
use kube::Resource as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};

use super::plan::{Bounds, Set, initial, plan};
use super::status::{progress_deadline, status};
use super::template::{annotate, new_set, note_bounds, owner_of, replica_set, revision};
use crate::controller::{ReconcileError, is_status, unless};
use crate::queue::Queue;
use crate::views::{PodView, controller_of, selects};

/// Reconciles Deployments.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) deployments: Cache<Deployment>,
    pub(crate) sets: Cache<ReplicaSet>,
    pub(crate) pods: Cache<PodView>,
    pub(crate) queue: Queue,
}

impl Controller {
    /// Brings one Deployment one step closer to what it asks for.
    ///
    /// # Errors
    /// The API's, when a write failed; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let Some(deployment) = self.deployments.get(&key) else { return Ok(()) };
        if self.adopt(&key, &deployment).await? {
            return Ok(()); // what was adopted comes back as a change
        }
        let sets = self.sets_of(&key, &deployment);
        let new = new_set(&deployment, &sets).cloned();
        if deployment.metadata.deletion_timestamp.is_some() {
            return self.write_status(&key, &deployment, new.as_ref(), &sets).await;
        }
        let mut old: Vec<_> = sets.iter().filter(|s| Some(*s) != new.as_ref()).cloned().collect();
        old.sort_by_key(|s| (s.metadata.creation_timestamp.as_ref().map(|t| t.0), s.metadata.name.clone()));
        let bounds = Bounds::of(&deployment);
        let paused = deployment.spec.as_ref().is_some_and(|s| s.paused == Some(true));
        let old_pods = self.has_pods(&key, &old);
        let views: Vec<_> = old.iter().map(Set::of).collect();
        let next_revision = old.iter().map(|s| revision(&s.metadata)).max().unwrap_or_default() + 1;
        let Some(new) = new else {
            if !paused {
                return self.create_set(&key, &deployment, initial(bounds, &views, old_pods), next_revision).await;
            }
            let (_, replicas) = plan(bounds, true, None, &views, old_pods);
            self.scale_all(&key, &deployment, &old, &replicas).await?;
            return self.write_status(&key, &deployment, None, &sets).await;
        };
        let revision = revision(&new.metadata).max(next_revision);
        self.write_revision(&key, &deployment, revision).await?;
        let (new_replicas, old_replicas) = plan(bounds, paused, Some(&Set::of(&new)), &views, old_pods);
        self.write_set(&key, &deployment, &new, new_replicas.unwrap_or_default(), Some(revision)).await?;
        self.scale_all(&key, &deployment, &old, &old_replicas).await?;
        self.write_status(&key, &deployment, Some(&new), &sets).await?;
        self.prune(&key, &deployment, &new, &old).await
    }

    /// Makes sets that nobody controls and the selector fits its own, so that their pods go on; whether there were any.
    async fn adopt(&self, key: &ObjectRef, deployment: &Deployment) -> Result<bool, ReconcileError> {
        if deployment.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let Some(selector) = deployment.spec.as_ref().map(|spec| &spec.selector) else { return Ok(false) };
        let all = self.sets.list_namespace(&key.namespace).into_iter().map(|(_, set)| set);
        let orphans: Vec<_> = all
            .filter(|set| controller_of(&set.metadata).is_none() && set.metadata.deletion_timestamp.is_none())
            .filter(|set| selects(selector, set.metadata.labels.as_ref().unwrap_or(&BTreeMap::new())))
            .collect();
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
        let mut adopted = false;
        for set in &orphans {
            let (uid, owner) = (&set.metadata.uid, owner_of(deployment));
            let patch = serde_json::json!({"metadata": {"uid": uid, "ownerReferences": [owner]}});
            let name = set.metadata.name.as_deref().unwrap_or_default();
            let result = api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            adopted |= result.is_ok();
            unless(result, &[404, 409])?;
        }
        Ok(adopted)
    }

    fn sets_of(&self, key: &ObjectRef, deployment: &Deployment) -> Vec<Arc<ReplicaSet>> {
        let uid = deployment.metadata.uid.as_deref();
        let all = self.sets.list_namespace(&key.namespace).into_iter().map(|(_, set)| set);
        all.filter(|set| controller_of(&set.metadata).map(|o| o.uid.as_str()) == uid).collect()
    }

    fn has_pods(&self, key: &ObjectRef, sets: &[Arc<ReplicaSet>]) -> bool {
        let uids: Vec<_> = sets.iter().filter_map(|s| s.metadata.uid.as_deref()).collect();
        self.pods.list_namespace(&key.namespace).iter().any(|(_, pod)| {
            let ours = pod.controller.as_ref().is_some_and(|o| uids.contains(&o.uid.as_str()));
            ours && pod.phase != "Succeeded" && pod.phase != "Failed"
        })
    }

    async fn create_set(
        &self,
        key: &ObjectRef,
        deployment: &Deployment,
        replicas: i32,
        revision: i64,
    ) -> Result<(), ReconcileError> {
        let set = replica_set(deployment, replicas, revision);
        let name = set.metadata.name.clone().unwrap_or_default();
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), &set).await {
            Ok(_) => {
                self.tell_scaled(deployment, &name, 0, replicas).await;
                self.write_revision(key, deployment, revision).await
            }
            // The cache was behind, or another template has the same hash: the next one is called otherwise.
            Err(error) if is_status(&error, 409) => {
                let there = api.get(&name).await?;
                let owner = controller_of(&there.metadata).map(|o| o.uid.as_str());
                let ours = owner == deployment.metadata.uid.as_deref();
                if ours && new_set(deployment, &[Arc::new(there)]).is_some() {
                    return Ok(());
                }
                let count = deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or_default() + 1;
                let patch = serde_json::json!({"status": {"collisionCount": count}});
                let api = Api::<Deployment>::namespaced(self.client.clone(), &key.namespace);
                api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    async fn scale_all(
        &self,
        key: &ObjectRef,
        deployment: &Deployment,
        sets: &[Arc<ReplicaSet>],
        replicas: &[i32],
    ) -> Result<(), ReconcileError> {
        let bounds = Bounds::of(deployment);
        for (set, replicas) in sets.iter().zip(replicas) {
            if set.spec.as_ref().and_then(|s| s.replicas) != Some(*replicas) || Set::of(set).is_behind(bounds) {
                self.write_set(key, deployment, set, *replicas, None).await?;
            }
        }
        Ok(())
    }

    /// Writes a set's number of replicas and annotations where they differ; `revision` for the new set.
    async fn write_set(
        &self,
        key: &ObjectRef,
        deployment: &Deployment,
        set: &ReplicaSet,
        replicas: i32,
        revision: Option<i64>,
    ) -> Result<(), ReconcileError> {
        let mut wanted = set.clone();
        let spec = wanted.spec.get_or_insert_default();
        let before = spec.replicas.unwrap_or_default();
        spec.replicas = Some(replicas);
        let min_ready = deployment.spec.as_ref().and_then(|s| s.min_ready_seconds);
        let min_ready_differs = revision.is_some() && spec.min_ready_seconds != min_ready;
        if min_ready_differs {
            spec.min_ready_seconds = min_ready;
        }
        let annotated = match revision {
            Some(revision) => annotate(&mut wanted, deployment, revision),
            None => note_bounds(&mut wanted, deployment),
        };
        if before == replicas && !annotated && !min_ready_differs {
            return Ok(());
        }
        // The cache keeps no managed fields: they are left as they are by a patch, not by a replace.
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": set.metadata.resource_version, "annotations": wanted.metadata.annotations},
            "spec": {"replicas": replicas, "minReadySeconds": wanted.spec.and_then(|s| s.min_ready_seconds)},
        });
        let name = set.metadata.name.clone().unwrap_or_default();
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        if before != replicas {
            self.tell_scaled(deployment, &name, before, replicas).await;
        }
        Ok(())
    }

    async fn write_revision(
        &self,
        key: &ObjectRef,
        deployment: &Deployment,
        revision: i64,
    ) -> Result<(), ReconcileError> {
        if super::template::revision(&deployment.metadata) == revision {
            return Ok(());
        }
        let patch = serde_json::json!({"metadata": {"annotations": {DEPLOYMENT_REVISION: revision.to_string()}}});
        let api = Api::<Deployment>::namespaced(self.client.clone(), &key.namespace);
        api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    async fn write_status(
        &self,
        key: &ObjectRef,
        deployment: &Deployment,
        new: Option<&Arc<ReplicaSet>>,
        sets: &[Arc<ReplicaSet>],
    ) -> Result<(), ReconcileError> {
        let now = Timestamp::now();
        let status = status(deployment, new, sets, now);
        if let Some(at) = progress_deadline(deployment, &status) {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            self.queue.add_at(key.clone(), Instant::now() + wait);
        }
        if deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let object = Deployment { status: Some(status), ..deployment.clone() };
        let api = Api::<Deployment>::namespaced(self.client.clone(), &key.namespace);
        unless(api.replace_status(&key.name, &PostParams::default(), &object).await, &[404])
    }

    /// Deletes the oldest empty sets beyond `revisionHistoryLimit`, once the rollout is complete.
    async fn prune(
        &self,
        key: &ObjectRef,
        deployment: &Deployment,
        new: &ReplicaSet,
        old: &[Arc<ReplicaSet>],
    ) -> Result<(), ReconcileError> {
        let spec = deployment.spec.clone().unwrap_or_default();
        let available = new.status.as_ref().and_then(|s| s.available_replicas).unwrap_or_default();
        let limit = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or_default();
        if available < spec.replicas.unwrap_or(1) || old.len() <= limit {
            return Ok(());
        }
        let mut by_revision: Vec<_> = old.iter().collect();
        by_revision.sort_by_key(|s| revision(&s.metadata));
        for set in by_revision.iter().take(old.len() - limit) {
            let empty = set.spec.as_ref().and_then(|s| s.replicas) == Some(0)
                && set.status.as_ref().is_none_or(|s| s.replicas == 0)
                && set.metadata.deletion_timestamp.is_none();
            if !empty {
                continue;
            }
            let preconditions = Preconditions {
                uid: set.metadata.uid.clone(),
                resource_version: set.metadata.resource_version.clone(),
            };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
            let name = set.metadata.name.clone().unwrap_or_default();
            unless(api.delete(&name, &params).await, &[404, 409])?;
        }
        Ok(())
    }

    async fn tell_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        let object = ObjectReference {
            api_version: Some("apps/v1".into()),
            kind: Some("Deployment".into()),
            ..deployment.object_ref(&())
        };
        self.recorder.record(&object, Severity::Normal, "ScalingReplicaSet", &message).await;
    }
}
