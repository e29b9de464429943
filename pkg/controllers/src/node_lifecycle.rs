// SPDX-License-Identifier: Apache-2.0
//! Nodes that fall silent: what that makes of them, and of their pods.
//! <https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, ObjectReference, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use knarr_client::events::{Recorder, Severity};
use knarr_types::labels::{TAINT_NOT_READY, TAINT_UNREACHABLE, TAINT_UNSCHEDULABLE};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;

use crate::controller::{ReconcileError, unless};
use crate::queue::Queue;
use crate::views::PodView;

/// How long a node may be silent. Upstream's `--node-monitor-grace-period`.
pub const GRACE: Duration = Duration::from_secs(40);

/// What is kept of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
    /// `status.conditions`.
    pub conditions: Vec<NodeCondition>,
}

impl NodeView {
    /// What is kept of `node`.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        Self {
            uid: node.metadata.uid.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable == Some(true),
            pod_cidrs: spec.pod_cidrs.iter().flatten().filter_map(|c| c.parse().ok()).collect(),
            conditions: node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default(),
        }
    }

    /// The status of its Ready condition: `True`, `False`, `Unknown`.
    #[must_use]
    pub fn ready(&self) -> &str {
        self.conditions.iter().find(|c| c.type_ == "Ready").map_or("Unknown", |c| c.status.as_str())
    }
}

/// The taints that the node should have: those that others gave it, and those that follow from its
/// conditions. `silent` says that it has not been heard for longer than [`GRACE`].
#[must_use]
pub fn taints(node: &NodeView, silent: bool, now: Timestamp) -> Vec<Taint> {
    let ours = [TAINT_NOT_READY, TAINT_UNREACHABLE, TAINT_UNSCHEDULABLE];
    let ready = if silent { "Unknown" } else { node.ready() };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match ready {
        "True" => {}
        "False" => wanted.extend([(TAINT_NOT_READY, "NoSchedule"), (TAINT_NOT_READY, "NoExecute")]),
        // A node that has not spoken yet is not ready rather than lost.
        _ if node.conditions.is_empty() => wanted.push((TAINT_NOT_READY, "NoSchedule")),
        _ => wanted.extend([(TAINT_UNREACHABLE, "NoSchedule"), (TAINT_UNREACHABLE, "NoExecute")]),
    }
    if node.unschedulable {
        wanted.push((TAINT_UNSCHEDULABLE, "NoSchedule"));
    }
    let mut taints: Vec<_> = node.taints.iter().filter(|t| !ours.contains(&t.key.as_str())).cloned().collect();
    for (key, effect) in wanted {
        let old = node.taints.iter().find(|t| t.key == key && t.effect == effect).cloned();
        taints.push(old.unwrap_or_else(|| Taint {
            key: key.into(),
            effect: effect.into(),
            time_added: Some(Time(now)),
            value: None,
        }));
    }
    taints
}

/// When a pod has to leave a node with these taints; `None` where it may stay. The least
/// `tolerationSeconds` of what bears a taint counts, from when the taint came.
#[must_use]
pub fn eviction_at(taints: &[Taint], tolerations: &[Toleration], now: Timestamp) -> Option<Timestamp> {
    let mut at: Option<Timestamp> = None;
    for taint in taints.iter().filter(|t| t.effect == "NoExecute") {
        let bearing: Vec<_> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        let since = taint.time_added.as_ref().map_or(now, |t| t.0);
        let leaves = if bearing.is_empty() {
            Some(now)
        } else {
            let seconds = bearing.iter().filter_map(|t| t.toleration_seconds).min();
            seconds.map(|s| since + k8s_openapi::jiff::SignedDuration::from_secs(s.max(0)))
        };
        at = match (at, leaves) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    at
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let blank = |s: &Option<String>| s.as_deref().unwrap_or_default().is_empty();
    let effect = blank(&toleration.effect) || toleration.effect.as_deref() == Some(taint.effect.as_str());
    let key = blank(&toleration.key) || toleration.key.as_deref() == Some(taint.key.as_str());
    let same = toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect && key && (toleration.operator.as_deref() == Some("Exists") || same)
}

/// What was last heard of a node, by this process' clock: node clocks may be wrong.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    renewed: Option<Timestamp>,
    conditions: Vec<Option<Timestamp>>,
    at: Instant,
}

/// Watches over nodes.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) nodes: Cache<NodeView>,
    /// `spec.renewTime` of the leases in kube-node-lease.
    pub(crate) leases: Cache<Option<Timestamp>>,
    pub(crate) pods: Cache<PodView>,
    pub(crate) queue: Queue,
    heard: Mutex<HashMap<String, Heard>>,
}

/// When a lease was renewed.
pub(crate) fn renewed(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|t| t.0)
}

impl Controller {
    /// A controller over these caches.
    pub(crate) fn new(
        client: Client,
        nodes: Cache<NodeView>,
        leases: Cache<Option<Timestamp>>,
        pods: Cache<PodView>,
        queue: Queue,
    ) -> Self {
        let recorder = Recorder::new(client.clone(), "node-controller", "");
        Self { client, recorder, nodes, leases, pods, queue, heard: Mutex::default() }
    }

    /// Judges one node.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let Some(node) = self.nodes.get(&key) else {
            self.heard.lock().remove(&key.name);
            return self.remove_pods(&key).await;
        };
        let heard = self.listen(&key, &node);
        let deadline = heard.at + GRACE;
        let silent = Instant::now() >= deadline;
        let now = Timestamp::now();
        if silent && node.ready() != "Unknown" {
            self.give_up(&key, &node, now).await?;
        }
        if !silent {
            self.queue.add_at(key.clone(), deadline);
        }
        let taints = taints(&node, silent, now);
        if taints != node.taints {
            let patch = serde_json::json!({"metadata": {"uid": node.uid}, "spec": {"taints": taints}});
            let api = Api::<Node>::all(self.client.clone());
            unless(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await, &[404, 409])?;
        }
        self.evict(&key, &taints, now).await
    }

    /// Notes signs of life.
    fn listen(&self, key: &ObjectRef, node: &NodeView) -> Heard {
        let lease = self.leases.get(&ObjectRef::new(knarr_types::labels::NAMESPACE_NODE_LEASE, &key.name));
        let beats = node.conditions.iter().map(|c| c.last_heartbeat_time.as_ref().map(|t| t.0)).collect();
        let new = Heard { renewed: lease.and_then(|l| *l), conditions: beats, at: Instant::now() };
        let mut all = self.heard.lock();
        let heard = all.entry(key.name.clone()).or_insert_with(|| new.clone());
        if heard.renewed != new.renewed || (heard.conditions != new.conditions && node.ready() != "Unknown") {
            *heard = new;
        }
        heard.clone()
    }

    /// Says that nobody knows how the node is, and that its pods are not ready.
    async fn give_up(&self, key: &ObjectRef, node: &NodeView, now: Timestamp) -> Result<(), ReconcileError> {
        let unknown: Vec<_> = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
            .iter()
            .map(|type_| {
                let old = node.conditions.iter().find(|c| c.type_ == **type_);
                NodeCondition {
                    type_: (*type_).into(),
                    status: "Unknown".into(),
                    reason: Some("NodeStatusUnknown".into()),
                    message: Some("Kubelet stopped posting node status.".into()),
                    last_heartbeat_time: old.and_then(|c| c.last_heartbeat_time.clone()),
                    last_transition_time: Some(Time(now)),
                }
            })
            .collect();
        let patch = serde_json::json!({"metadata": {"uid": node.uid}, "status": {"conditions": unknown}});
        let api = Api::<Node>::all(self.client.clone());
        unless(api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await, &[404, 409])?;
        let object = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(key.name.clone()),
            uid: Some(node.uid.clone()),
            ..ObjectReference::default()
        };
        let message = format!("Node {} status is now: NodeNotReady", key.name);
        self.recorder.record(&object, Severity::Normal, "NodeNotReady", &message).await;
        for (pod_key, pod) in self.pods_on(&key.name) {
            if pod.ready_since.is_none() {
                continue;
            }
            let patch = serde_json::json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": Time(now)},
            ]}});
            let api = Api::<Pod>::namespaced(self.client.clone(), &pod_key.namespace);
            unless(
                api.patch_status(&pod_key.name, &PatchParams::default(), &Patch::Strategic(patch)).await,
                &[404, 409],
            )?;
        }
        Ok(())
    }

    fn pods_on(&self, node: &str) -> Vec<(ObjectRef, Arc<PodView>)> {
        self.pods.list().into_iter().filter(|(_, p)| p.node == node).collect()
    }

    /// Deletes the pods that do not bear the node's taints, or no longer.
    async fn evict(&self, key: &ObjectRef, taints: &[Taint], now: Timestamp) -> Result<(), ReconcileError> {
        if !taints.iter().any(|t| t.effect == "NoExecute") {
            return Ok(());
        }
        let mut next: Option<Timestamp> = None;
        for (pod_key, pod) in self.pods_on(&key.name).into_iter().filter(|(_, p)| p.is_active()) {
            match eviction_at(taints, &pod.tolerations, now) {
                Some(at) if at <= now => self.delete(&pod_key, &pod, &DeleteParams::default()).await?,
                Some(at) => next = Some(next.map_or(at, |n| n.min(at))),
                None => {}
            }
        }
        if let Some(at) = next {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            self.queue.add_at(key.clone(), Instant::now() + wait);
        }
        Ok(())
    }

    /// The node is gone, and nobody is left to end its pods.
    async fn remove_pods(&self, key: &ObjectRef) -> Result<(), ReconcileError> {
        for (pod_key, pod) in self.pods_on(&key.name) {
            self.delete(&pod_key, &pod, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(())
    }

    async fn delete(&self, key: &ObjectRef, pod: &PodView, params: &DeleteParams) -> Result<(), ReconcileError> {
        let preconditions = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..params.clone() };
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        unless(api.delete(&key.name, &params).await, &[404, 409])
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;

    use super::*;

    fn node(ready: Option<&str>) -> NodeView {
        let condition =
            |status: &str| NodeCondition { type_: "Ready".into(), status: status.into(), ..NodeCondition::default() };
        NodeView { conditions: ready.into_iter().map(condition).collect(), ..NodeView::default() }
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let now = Timestamp::now();
        let keys = |node: &NodeView, silent| {
            taints(node, silent, now).iter().map(|t| format!("{}:{}", t.key, t.effect)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys(&node(Some("True")), false), "");
        assert_eq!(keys(&node(None), false), format!("{TAINT_NOT_READY}:NoSchedule"));
        assert_eq!(
            keys(&node(Some("False")), false),
            format!("{TAINT_NOT_READY}:NoSchedule {TAINT_NOT_READY}:NoExecute")
        );
        assert_eq!(
            keys(&node(Some("True")), true),
            format!("{TAINT_UNREACHABLE}:NoSchedule {TAINT_UNREACHABLE}:NoExecute")
        );
        let mut cordoned = node(Some("True"));
        cordoned.unschedulable = true;
        cordoned.taints.push(Taint { key: "mine".into(), effect: "NoExecute".into(), ..Taint::default() });
        assert_eq!(keys(&cordoned, false), format!("mine:NoExecute {TAINT_UNSCHEDULABLE}:NoSchedule"));
    }

    #[test]
    fn a_taint_keeps_the_time_it_came() {
        let mut node = node(Some("False"));
        node.taints = taints(&node, false, Timestamp::UNIX_EPOCH);
        assert_eq!(taints(&node, false, Timestamp::now()), node.taints);
    }

    #[test]
    fn pods_leave_when_their_toleration_runs_out() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1000);
        let taint = |key: &str| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            time_added: Some(Time(Timestamp::UNIX_EPOCH)),
            value: None,
        };
        let toleration = |seconds| Toleration {
            key: Some("a".into()),
            operator: Some("Exists".into()),
            effect: Some("NoExecute".into()),
            toleration_seconds: seconds,
            value: None,
        };
        let at = |seconds| Some(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds));
        for (taints, tolerations, want) in [
            (vec![], vec![], None),
            (vec![taint("a")], vec![], Some(now)),
            (vec![taint("a")], vec![toleration(None)], None),
            (vec![taint("a")], vec![toleration(Some(300))], at(300)),
            (vec![taint("a")], vec![toleration(Some(300)), toleration(Some(60))], at(60)),
            (vec![taint("a"), taint("b")], vec![toleration(Some(300))], at(300)),
        ] {
            assert_eq!(eviction_at(&taints, &tolerations, now), want, "{taints:?} {tolerations:?}");
        }
    }
}
