// SPDX-License-Identifier: Apache-2.0
//! The cluster as the scheduler sees it: nodes, and what is taken on each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod::{HostPort, PodInfo, Resources};

/// What a node offers, without what is taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSpec {
    /// `metadata.name`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What keeps pods away.
    pub taints: Vec<Taint>,
    /// `kubectl cordon` was here.
    pub unschedulable: bool,
    /// What pods may take in all.
    pub allocatable: Resources,
    /// How many pods it runs at most.
    pub max_pods: i64,
}

impl NodeSpec {
    /// What the scheduler keeps of `node`.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
        let max_pods = allocatable
            .and_then(|a| a.get("pods"))
            .and_then(|q| q.0.parse::<knarr_types::quantity::Quantity>().ok())
            .map_or(0, |q| q.value());
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
            allocatable: Resources::of(allocatable),
            max_pods,
        }
    }
}

/// A node with what is taken on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// What it offers.
    pub spec: Arc<NodeSpec>,
    /// The sum of its pods' requests.
    pub requested: Resources,
    /// How many pods it has.
    pub pods: i64,
    /// The host ports that are taken, each by one pod.
    pub host_ports: Vec<HostPort>,
}

/// All nodes with all that is placed on them, assumed pods included.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    index: HashMap<String, usize>,
    /// Placed pods by uid.
    placed: HashMap<String, Arc<PodInfo>>,
}

impl Cluster {
    /// The nodes, in no particular order.
    #[must_use]
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// Takes in a new or changed node.
    pub fn set_node(&mut self, spec: Arc<NodeSpec>) {
        if let Some(i) = self.index.get(&spec.name) {
            self.nodes[*i].spec = spec;
            return;
        }
        let mut node = NodeInfo { spec: Arc::clone(&spec), ..NodeInfo::default() };
        for pod in self.placed.values().filter(|p| p.node == spec.name) {
            take(&mut node, pod);
        }
        self.index.insert(spec.name.clone(), self.nodes.len());
        self.nodes.push(node);
    }

    /// Forgets a node; its pods count again should it come back.
    pub fn remove_node(&mut self, name: &str) {
        let Some(i) = self.index.remove(name) else { return };
        self.nodes.swap_remove(i);
        if let Some(moved) = self.nodes.get(i) {
            self.index.insert(moved.spec.name.clone(), i);
        }
    }

    /// Counts a pod on `pod.node`, in place of what was known of it.
    pub fn place(&mut self, pod: Arc<PodInfo>) {
        self.displace(&pod.uid);
        if let Some(i) = self.index.get(&pod.node) {
            take(&mut self.nodes[*i], &pod);
        }
        self.placed.insert(pod.uid.clone(), pod);
    }

    /// Stops counting a pod. Whether it was counted.
    pub fn displace(&mut self, uid: &str) -> bool {
        let Some(pod) = self.placed.remove(uid) else { return false };
        if let Some(i) = self.index.get(&pod.node) {
            give_back(&mut self.nodes[*i], &pod);
        }
        true
    }

    /// Whether the pod is counted on some node.
    #[must_use]
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }
}

fn take(node: &mut NodeInfo, pod: &PodInfo) {
    node.requested.add(&pod.requests);
    node.pods += 1;
    node.host_ports.extend(pod.host_ports.iter().cloned());
}

fn give_back(node: &mut NodeInfo, pod: &PodInfo) {
    node.requested.subtract(&pod.requests);
    node.pods -= 1;
    for port in &pod.host_ports {
        if let Some(i) = node.host_ports.iter().position(|p| p == port) {
            node.host_ports.swap_remove(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, node: &str) -> Arc<PodInfo> {
        let requests = Resources { cpu: 100, ..Resources::default() };
        Arc::new(PodInfo { uid: uid.into(), node: node.into(), requests, ..PodInfo::default() })
    }

    fn node(name: &str) -> Arc<NodeSpec> {
        Arc::new(NodeSpec { name: name.into(), ..NodeSpec::default() })
    }

    #[test]
    fn what_is_placed_counts_once_whatever_the_order() {
        let of = |cluster: &Cluster, name: &str| cluster.nodes[cluster.index[name]].clone();
        let mut cluster = Cluster::default();
        cluster.place(pod("early", "a"));
        cluster.set_node(node("a"));
        cluster.set_node(node("b"));
        cluster.place(pod("late", "a"));
        cluster.place(pod("late", "a"));
        assert_eq!(of(&cluster, "a").requested.cpu, 200);
        cluster.place(pod("late", "b"));
        assert_eq!(of(&cluster, "a").pods, 1);
        assert_eq!(of(&cluster, "b").pods, 1);
        cluster.remove_node("a");
        cluster.set_node(node("a"));
        assert_eq!(of(&cluster, "a").pods, 1);
        assert!(cluster.displace("early"));
        assert!(!cluster.displace("early"));
        assert_eq!(of(&cluster, "a").requested.cpu, 0);
    }
}
