// SPDX-License-Identifier: Apache-2.0
//! What the scheduler needs to know of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use knarr_types::quantity::Quantity;

use crate::affinity::NodeAffinity;

/// Amounts of resources: CPU in thousandths of a core, the others in their base unit (bytes, count).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages, by name.
    pub others: BTreeMap<String, i64>,
}

impl Resources {
    /// From a map of quantities; what cannot be read counts as nothing, as validation let no such pass.
    #[must_use]
    pub fn of(amounts: Option<&BTreeMap<String, Amount>>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in amounts.into_iter().flatten() {
            let Ok(quantity) = quantity.0.parse::<Quantity>() else { continue };
            match name.as_str() {
                "cpu" => resources.cpu = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => {}
                _ => {
                    resources.others.insert(name.clone(), quantity.value());
                }
            }
        }
        resources
    }

    /// Takes `other` in addition.
    pub fn add(&mut self, other: &Self) {
        self.apply(other, i64::saturating_add);
    }

    /// Gives `other` back.
    pub fn subtract(&mut self, other: &Self) {
        self.apply(other, i64::saturating_sub);
    }

    /// The larger of both, resource by resource.
    pub fn max(&mut self, other: &Self) {
        self.apply(other, i64::max);
    }

    fn apply(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.cpu = f(self.cpu, other.cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.others {
            let mine = self.others.entry(name.clone()).or_default();
            *mine = f(*mine, *amount);
        }
    }
}

/// A port of the host that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` for all addresses.
    pub address: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        const ANY: [&str; 3] = ["0.0.0.0", "", "::"];
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address
                || ANY.contains(&self.address.as_str())
                || ANY.contains(&other.address.as_str()))
    }
}

/// A pod as the scheduler sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodInfo {
    /// `metadata.uid`.
    pub uid: String,
    /// The node it is bound to; empty while it waits.
    pub node: String,
    /// Which scheduler it asks for.
    pub scheduler: String,
    /// It is done (Succeeded or Failed) and uses nothing.
    pub finished: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// It waits for somebody to open its gates.
    pub gated: bool,
    /// Higher goes first.
    pub priority: i32,
    /// What it asks for.
    pub requests: Resources,
    /// The host ports that it takes.
    pub host_ports: Vec<HostPort>,
    /// Labels that its node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Which nodes it needs or would like.
    pub node_affinity: NodeAffinity,
    /// Which taints it bears.
    pub tolerations: Vec<Toleration>,
    /// The revision at which it was read, to tell an old sight from a new one.
    pub resource_version: String,
    /// The message of its PodScheduled condition, so that the same is not written twice.
    pub unschedulable_message: Option<String>,
}

impl PodInfo {
    /// What the scheduler keeps of `pod`.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let requests = requests(&spec, &status);
        let phase = status.phase.unwrap_or_default();
        let unschedulable = status.conditions.into_iter().flatten().find(|c| c.type_ == "PodScheduled");
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            node: spec.node_name.clone().unwrap_or_default(),
            scheduler: spec.scheduler_name.clone().unwrap_or_default(),
            finished: phase == "Succeeded" || phase == "Failed",
            terminating: pod.metadata.deletion_timestamp.is_some(),
            gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
            priority: spec.priority.unwrap_or_default(),
            requests,
            host_ports: spec.containers.iter().flat_map(|c| host_ports(c, spec.host_network == Some(true))).collect(),
            node_affinity: NodeAffinity::of(spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref())),
            node_selector: spec.node_selector.unwrap_or_default(),
            tolerations: spec.tolerations.unwrap_or_default(),
            resource_version: pod.metadata.resource_version.clone().unwrap_or_default(),
            unschedulable_message: unschedulable.filter(|c| c.status == "False").and_then(|c| c.message),
        }
    }
}

/// What a pod asks for: the sum of its containers, or what an init container needs while it runs
/// beside the sidecars that were started before it, whichever is more; and the overhead.
/// <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>
///
/// A container whose resources are being changed counts with the most of what it asks for, what its node has allocated to
/// it and what it has; what its node never gives it does not count.
/// <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>
fn requests(spec: &PodSpec, status: &PodStatus) -> Resources {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let infeasible =
        conditions.iter().any(|c| c.type_ == "PodResizePending" && c.reason.as_deref() == Some("Infeasible"));
    let statuses = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let of = |c: &Container| {
        let asked = Resources::of(c.resources.as_ref().and_then(|r| r.requests.as_ref()));
        let Some(status) = statuses().find(|status| status.name == c.name) else { return asked };
        let Some(allocated) = &status.allocated_resources else { return asked };
        let mut most = if infeasible { Resources::default() } else { asked };
        most.max(&Resources::of(Some(allocated)));
        most.max(&Resources::of(status.resources.as_ref().and_then(|r| r.requests.as_ref())));
        most
    };
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut needed = of(container);
        needed.add(&sidecars);
        peak.max(&needed);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = needed;
        }
    }
    let mut total = sidecars;
    spec.containers.iter().for_each(|c| total.add(&of(c)));
    total.max(&peak);
    if let Some(pod_level) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        total.max(&Resources::of(Some(pod_level)));
    }
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

fn host_ports(container: &Container, host_network: bool) -> Vec<HostPort> {
    let port = |p: &k8s_openapi::api::core::v1::ContainerPort| {
        let number = p.host_port.or(host_network.then_some(p.container_port)).filter(|n| *n > 0)?;
        Some(HostPort {
            address: p.host_ip.clone().unwrap_or_else(|| "0.0.0.0".into()),
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port: number,
        })
    };
    container.ports.iter().flatten().filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_changes_counts_with_the_most_of_what_it_asks_for_and_has() {
        let cpu = |cpu: &str| json!({"cpu": cpu});
        for (asked, allocated, has, reason, want) in [
            ("1", "2", "500m", "", 2000),
            ("3", "2", "2", "Deferred", 3000),
            ("3", "2", "2", "Infeasible", 2000),
            ("1", "1", "2", "", 2000),
        ] {
            let spec = json!({"containers": [{"name": "c", "resources": {"requests": cpu(asked)}}]});
            let container =
                json!({"name": "c", "allocatedResources": cpu(allocated), "resources": {"requests": cpu(has)}});
            let condition = json!({"type": "PodResizePending", "status": "True", "reason": reason});
            let status = json!({"containerStatuses": [container], "conditions": [condition]});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap();
            let found = PodInfo::of(&pod).requests;
            let wanted = Resources::of(Some(&serde_json::from_value(json!({"cpu": format!("{want}m")})).unwrap()));
            assert_eq!(found, wanted, "{asked} {allocated} {has} {reason}");
        }
    }

    #[test]
    fn requests_count_init_containers_beside_sidecars() {
        let container = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        for (init, main, want) in [
            (vec![], vec!["1", "500m"], 1500),
            (vec![container("2")], vec!["1"], 2000),
            (vec![sidecar.clone(), container("2")], vec!["1"], 2100),
            (vec![container("2"), sidecar.clone()], vec!["1"], 2000),
            (vec![sidecar], vec!["1"], 1100),
        ] {
            let containers: Vec<_> = main.iter().map(|c| container(c)).collect();
            let pod = json!({"metadata": {}, "spec": {"initContainers": init, "containers": containers}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(PodInfo::of(&pod).requests.cpu, want);
        }
    }

    #[test]
    fn host_ports_conflict_by_address() {
        let port = |address: &str| HostPort { address: address.into(), protocol: "TCP".into(), port: 80 };
        assert!(port("0.0.0.0").conflicts(&port("10.0.0.1")));
        assert!(!port("10.0.0.2").conflicts(&port("10.0.0.1")));
    }
}
