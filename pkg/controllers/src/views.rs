// SPDX-License-Identifier: Apache-2.0
//! What controllers keep of the objects they follow, one cache a resource for all of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use knarr_client::Client;
use knarr_client::cache::{Cache, Change, Selection};
use kube::Resource;
use kube::api::Api;
use serde::de::DeserializeOwned;

/// What one subscriber does with a change.
pub type Handler<P> = Box<dyn Fn(&Change<P>) + Send + Sync>;

/// Follows all objects of a kind for all `handlers`.
pub fn follow<K, P>(client: &Client, project: fn(&K) -> P, handlers: Vec<Handler<P>>) -> Cache<P>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    P: Send + Sync + 'static,
{
    let tell = move |change: &Change<P>| handlers.iter().for_each(|handler| handler(change));
    Cache::start(Api::<K>::all(client.clone()), Selection::default(), project, tell)
}

/// A pod as controllers see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodView {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The owner that controls it.
    pub controller: Option<OwnerReference>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// It is being deleted.
    pub deleting: bool,
    /// `controller.kubernetes.io/pod-deletion-cost`: lower goes first.
    pub deletion_cost: i32,
    /// Its node; empty while it waits for one.
    pub node: String,
    /// `status.phase`.
    pub phase: String,
    /// Since when the Ready condition is true, if it is.
    pub ready_since: Option<Timestamp>,
    /// Restarts of its containers, added up.
    pub restarts: i32,
    /// `status.podIPs`.
    pub addresses: Vec<String>,
    /// `spec.hostname` and `spec.subdomain`.
    pub hostname: Option<String>,
    /// The headless Service that the pod is named under.
    pub subdomain: Option<String>,
    /// Named container ports: name, protocol, number.
    pub ports: Vec<(String, String, i32)>,
    /// Which taints it bears.
    pub tolerations: Vec<Toleration>,
    /// The PersistentVolumeClaims that it mounts, those of its ephemeral volumes too.
    pub claims: Vec<String>,
}

impl PodView {
    /// What is kept of `pod`.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready" && c.status == "True");
        let cost = meta.annotations.as_ref().and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"));
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let ports = containers.flat_map(|c| c.ports.iter().flatten()).filter_map(|p| {
            let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
            Some((p.name.clone()?, protocol, p.container_port))
        });
        let pod_name = meta.name.as_deref().unwrap_or_default();
        let claims = spec.volumes.iter().flatten().filter_map(|volume| match &volume.persistent_volume_claim {
            Some(claim) => Some(claim.claim_name.clone()),
            None => volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name)),
        });
        let claims = claims.collect();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            controller: controller_of(meta).cloned(),
            created: meta.creation_timestamp.as_ref().map(|t| t.0),
            deleting: meta.deletion_timestamp.is_some(),
            deletion_cost: cost.and_then(|c| c.parse().ok()).unwrap_or_default(),
            node: spec.node_name.clone().unwrap_or_default(),
            ports: ports.collect(),
            phase: status.phase.unwrap_or_default(),
            ready_since: ready.map(|c| c.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0)),
            restarts: status.container_statuses.iter().flatten().map(|c| c.restart_count).sum(),
            addresses: status.pod_ips.into_iter().flatten().map(|ip| ip.ip).collect(),
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            tolerations: spec.tolerations.unwrap_or_default(),
            claims,
        }
    }

    /// It has not ended and is not being deleted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.deleting && self.phase != "Succeeded" && self.phase != "Failed"
    }

    /// It has been ready for at least this long.
    #[must_use]
    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.ready_since.is_some_and(|since| {
            min_ready_seconds == 0 || now.duration_since(since).as_secs() >= i64::from(min_ready_seconds)
        })
    }
}

/// The owner that controls the object, if any.
#[must_use]
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether a selector fits these labels; one without requirements fits nothing here, as no workload may
/// select everything.
#[must_use]
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    if selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) && expressions.is_empty() {
        return false;
    }
    exact.into_iter().all(|(k, v)| labels.get(k) == Some(v))
        && expressions.iter().all(|e| {
            let value = labels.get(&e.key);
            let listed = value.is_some_and(|v| e.values.iter().flatten().any(|x| x == v));
            match e.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// An object without what no controller reads: managed fields and the client-side applied copy.
#[must_use]
pub fn lean<K: Resource + Clone>(object: &K) -> K {
    let mut object = object.clone();
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(knarr_types::labels::LAST_APPLIED);
    }
    object
}
