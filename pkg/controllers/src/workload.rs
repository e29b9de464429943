// SPDX-License-Identifier: Apache-2.0
//! The kinds that keep a number of like pods: ReplicaSets, and ReplicationControllers, which are the same with an older
//! selector. One controller works for both, and sees the latter as the former.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/>

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use knarr_client::Client;
use knarr_client::cache::ObjectRef;
use kube::api::{Api, PostParams};

use crate::views::lean;

/// Which of them a controller works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// `apps/v1`.
    ReplicaSet,
    /// `v1`.
    ReplicationController,
}

impl Workload {
    /// As owner references name its group and version.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ReplicaSet => "apps/v1",
            Self::ReplicationController => "v1",
        }
    }

    /// As owner references name its kind.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
        }
    }

    /// Writes `set` with its new status back as what it is.
    pub(crate) async fn write_status(self, client: &Client, key: &ObjectRef, set: ReplicaSet) -> kube::Result<()> {
        let (client, params) = (client.clone(), PostParams::default());
        match self {
            Self::ReplicaSet => {
                let api = Api::<ReplicaSet>::namespaced(client, &key.namespace);
                api.replace_status(&key.name, &params, &set).await.map(|_| ())
            }
            Self::ReplicationController => {
                let api = Api::<ReplicationController>::namespaced(client, &key.namespace);
                api.replace_status(&key.name, &params, &with_status(set)).await.map(|_| ())
            }
        }
    }
}

/// A condition as the other kind has it: in the same fields.
macro_rules! same_condition {
    ($condition:ident as $other:ident) => {
        $other {
            last_transition_time: $condition.last_transition_time,
            message: $condition.message,
            reason: $condition.reason,
            status: $condition.status,
            type_: $condition.type_,
        }
    };
}

/// A ReplicationController, seen as a ReplicaSet.
#[must_use]
pub fn as_set(controller: &ReplicationController) -> ReplicaSet {
    let ReplicationController { metadata, spec, status } = lean(controller);
    let spec = spec.map(|spec| ReplicaSetSpec {
        min_ready_seconds: spec.min_ready_seconds,
        replicas: spec.replicas,
        selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
        template: spec.template,
    });
    let condition = |c: ReplicationControllerCondition| same_condition!(c as ReplicaSetCondition);
    let status = status.map(|status| ReplicaSetStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
        terminating_replicas: None,
    });
    ReplicaSet { metadata, spec, status }
}

/// The way back, for a write of the status: the rest of what is written there does not count.
fn with_status(set: ReplicaSet) -> ReplicationController {
    let condition = |c: ReplicaSetCondition| same_condition!(c as ReplicationControllerCondition);
    let status = set.status.map(|status| ReplicationControllerStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
    });
    ReplicationController { metadata: set.metadata, spec: None, status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replication_controller_is_a_replica_set_with_an_older_selector() {
        let status = serde_json::json!({
            "replicas": 2, "readyReplicas": 1, "availableReplicas": 1, "fullyLabeledReplicas": 2, "observedGeneration": 4,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}],
        });
        let template = serde_json::json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}});
        let json = serde_json::json!({
            "metadata": {"name": "r", "namespace": "n"},
            "spec": {"replicas": 2, "minReadySeconds": 3, "selector": {"a": "b"}, "template": template},
            "status": status,
        });
        let set = as_set(&serde_json::from_value(json).unwrap());
        let spec = serde_json::json!(
            {"replicas": 2, "minReadySeconds": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template});
        let expected = serde_json::json!(
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "namespace": "n"}, "spec": spec,
             "status": status});
        assert_eq!(serde_json::to_value(&set).unwrap(), expected);
        let back = serde_json::to_value(with_status(set)).unwrap();
        assert_eq!((&back["kind"], &back["status"]), (&"ReplicationController".into(), &status));
    }
}
