// SPDX-License-Identifier: Apache-2.0
//! Which nodes a pod can run on, and why not on the others.
//!
//! The order and the words of the reasons are upstream's, which people search for.

use crate::affinity::{term_matches, tolerated};
use crate::pod::{PodInfo, Resources};
use crate::snapshot::NodeInfo;

/// Why a pod cannot run on a node. `Display` gives upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The node is cordoned.
    Unschedulable,
    /// A taint that the pod does not bear.
    Taint {
        /// The taint's key.
        key: String,
        /// The taint's value, often empty.
        value: String,
    },
    /// The node's labels or name are not those that the pod needs.
    NodeAffinity,
    /// A host port is taken.
    HostPorts,
    /// As many pods as it takes.
    TooManyPods,
    /// Not enough of this resource.
    Insufficient(String),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint { key, value } if value.is_empty() => write!(f, "node(s) had untolerated taint {{{key}: }}"),
            Self::Taint { key, value } => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Self::NodeAffinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::HostPorts => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

/// What keeps `pod` from running on `node`; nothing where it can. As upstream, the first filter that
/// refuses speaks, and the resource filter names all that is missing.
#[must_use]
pub fn refusals(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    if let Some(reason) = unschedulable(pod, node).or_else(|| untolerated(pod, node)) {
        return vec![reason];
    }
    if !selected(pod, node) {
        return vec![Reason::NodeAffinity];
    }
    if pod.host_ports.iter().any(|p| node.host_ports.iter().any(|taken| taken.conflicts(p))) {
        return vec![Reason::HostPorts];
    }
    missing(pod, node)
}

fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Option<Reason> {
    let taint = k8s_openapi::api::core::v1::Taint {
        key: knarr_types::labels::TAINT_UNSCHEDULABLE.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    };
    (node.spec.unschedulable && !tolerated(&taint, &pod.tolerations)).then_some(Reason::Unschedulable)
}

fn untolerated(pod: &PodInfo, node: &NodeInfo) -> Option<Reason> {
    let hard = node.spec.taints.iter().filter(|t| t.effect == "NoSchedule" || t.effect == "NoExecute");
    let taint = hard.into_iter().find(|t| !tolerated(t, &pod.tolerations))?;
    Some(Reason::Taint { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default() })
}

fn selected(pod: &PodInfo, node: &NodeInfo) -> bool {
    let labels = &node.spec.labels;
    pod.node_selector.iter().all(|(k, v)| labels.get(k) == Some(v))
        && pod
            .node_affinity
            .required
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|t| term_matches(t, &node.spec.name, labels)))
}

fn missing(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if node.pods + 1 > node.spec.max_pods {
        reasons.push(Reason::TooManyPods);
    }
    let Resources { cpu, memory, ephemeral_storage, others } = &pod.requests;
    let (free, used) = (&node.spec.allocatable, &node.requested);
    let mut check = |name: &str, asked: i64, free: i64, used: i64| {
        if asked > 0 && asked > free - used {
            reasons.push(Reason::Insufficient(name.to_owned()));
        }
    };
    check("cpu", *cpu, free.cpu, used.cpu);
    check("memory", *memory, free.memory, used.memory);
    check("ephemeral-storage", *ephemeral_storage, free.ephemeral_storage, used.ephemeral_storage);
    for (name, asked) in others {
        let of = |r: &Resources| r.others.get(name).copied().unwrap_or_default();
        check(name, *asked, of(free), of(used));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint};

    use super::*;
    use crate::affinity::NodeAffinity;
    use crate::pod::HostPort;
    use crate::snapshot::NodeSpec;

    fn node(change: impl FnOnce(&mut NodeSpec)) -> NodeInfo {
        let mut spec = NodeSpec {
            name: "n".into(),
            max_pods: 10,
            allocatable: Resources { cpu: 1000, memory: 1 << 30, ..Resources::default() },
            ..NodeSpec::default()
        };
        spec.labels.insert("disk".into(), "ssd".into());
        change(&mut spec);
        NodeInfo { spec: Arc::new(spec), ..NodeInfo::default() }
    }

    fn pod(change: impl FnOnce(&mut PodInfo)) -> PodInfo {
        let mut pod = PodInfo::default();
        change(&mut pod);
        pod
    }

    #[test]
    fn each_filter_refuses_in_upstreams_words() {
        let taint = || Taint { key: "k".into(), effect: "NoSchedule".into(), ..Taint::default() };
        let term = NodeSelectorTerm {
            match_expressions: Some(vec![NodeSelectorRequirement {
                key: "disk".into(),
                operator: "DoesNotExist".into(),
                values: None,
            }]),
            match_fields: None,
        };
        let port = HostPort { address: "0.0.0.0".into(), protocol: "TCP".into(), port: 80 };
        let mut taken = node(|_| ());
        taken.host_ports.push(port.clone());
        let cases = [
            (pod(|_| ()), node(|_| ()), ""),
            (pod(|_| ()), node(|n| n.unschedulable = true), "node(s) were unschedulable"),
            (pod(|_| ()), node(|n| n.taints.push(taint())), "node(s) had untolerated taint {k: }"),
            (
                pod(|p| drop(p.node_selector.insert("disk".into(), "hdd".into()))),
                node(|_| ()),
                "node(s) didn't match Pod's node affinity/selector",
            ),
            (
                pod(|p| p.node_affinity = NodeAffinity { required: Some(vec![term]), preferred: vec![] }),
                node(|_| ()),
                "node(s) didn't match Pod's node affinity/selector",
            ),
            (pod(|p| p.host_ports.push(port)), taken, "node(s) didn't have free ports for the requested pod ports"),
            (pod(|_| ()), node(|n| n.max_pods = 0), "Too many pods"),
            (
                pod(|p| p.requests = Resources { cpu: 2000, memory: 1 << 31, ..Resources::default() }),
                node(|_| ()),
                "Insufficient cpu, Insufficient memory",
            ),
        ];
        for (pod, node, want) in cases {
            let got: Vec<_> = refusals(&pod, &node).iter().map(ToString::to_string).collect();
            assert_eq!(got.join(", "), want);
        }
    }
}
