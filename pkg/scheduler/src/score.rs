// SPDX-License-Identifier: Apache-2.0
//! Which of the nodes that can run a pod is best.
//!
//! Upstream's scores and weights: room left (1), balance of CPU and memory (1), preferred node
//! affinity (2), tolerated soft taints (3). Each is 0 to 100 before its weight.
//! <https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins>

use crate::affinity::{term_matches, tolerated};
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

/// What a pod without requests counts as, so that such pods spread too.
const DEFAULT_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

/// The score of each of the nodes, in their order; higher is better.
#[must_use]
pub fn scores(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let affinity = normalized(nodes.iter().map(|n| preferred(pod, n)).collect(), false);
    let taints = normalized(nodes.iter().map(|n| soft_taints(pod, n)).collect(), true);
    let room = nodes.iter().map(|n| {
        let (cpu, memory) = used_parts(pod, n);
        least_allocated(cpu, memory) + balance(cpu, memory)
    });
    room.zip(affinity).zip(taints).map(|((room, affinity), taints)| room + 2 * affinity + 3 * taints).collect()
}

/// The parts of CPU and memory that would be taken with the pod, 0 to 1.
fn used_parts(pod: &PodInfo, node: &NodeInfo) -> (f64, f64) {
    let part = |asked: i64, default: i64, used: i64, all: i64| {
        let asked = if asked == 0 { default } else { asked };
        if all <= 0 { 1.0 } else { ((used + asked) as f64 / all as f64).min(1.0) }
    };
    let (all, used) = (&node.spec.allocatable, &node.requested);
    // Pods without requests are not in `used`; their number stands for them.
    let hidden_cpu = if used.cpu == 0 { node.pods * DEFAULT_CPU } else { used.cpu };
    let hidden_memory = if used.memory == 0 { node.pods * DEFAULT_MEMORY } else { used.memory };
    (
        part(pod.requests.cpu, DEFAULT_CPU, hidden_cpu, all.cpu),
        part(pod.requests.memory, DEFAULT_MEMORY, hidden_memory, all.memory),
    )
}

fn least_allocated(cpu: f64, memory: f64) -> i64 {
    ((1.0 - cpu) * 50.0 + (1.0 - memory) * 50.0) as i64
}

fn balance(cpu: f64, memory: f64) -> i64 {
    ((1.0 - (cpu - memory).abs() / 2.0) * 100.0) as i64
}

fn preferred(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let matching = pod.node_affinity.preferred.iter().filter(|(_, term)| {
        // A preference without requirements fits every node.
        let empty = term.match_expressions.as_ref().is_none_or(Vec::is_empty)
            && term.match_fields.as_ref().is_none_or(Vec::is_empty);
        empty || term_matches(term, &node.spec.name, &node.spec.labels)
    });
    matching.map(|(weight, _)| i64::from(*weight)).sum()
}

fn soft_taints(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let soft = node.spec.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
    soft.filter(|t| !tolerated(t, &pod.tolerations)).count() as i64
}

/// Brings the largest to 100; `reverse` where less is better.
fn normalized(values: Vec<i64>, reverse: bool) -> Vec<i64> {
    let max = values.iter().copied().max().unwrap_or_default();
    let scale = |v: i64| if max == 0 { 0 } else { v * 100 / max };
    values.into_iter().map(|v| if reverse { 100 - scale(v) } else { scale(v) }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Taint;

    use super::*;
    use crate::pod::Resources;
    use crate::snapshot::NodeSpec;

    fn node(cpu: i64, used: i64) -> NodeInfo {
        let allocatable = Resources { cpu, memory: 8 << 30, ..Resources::default() };
        let requested = Resources { cpu: used, ..Resources::default() };
        NodeInfo { spec: Arc::new(NodeSpec { allocatable, ..NodeSpec::default() }), requested, ..NodeInfo::default() }
    }

    #[test]
    fn the_emptier_node_wins_and_a_soft_taint_outweighs_room() {
        let (full, mut empty) = (node(4000, 3500), node(4000, 0));
        let pod = PodInfo::default();
        let s = scores(&pod, &[&full, &empty]);
        assert!(s[1] > s[0], "{s:?}");
        let taint = Taint { key: "k".into(), effect: "PreferNoSchedule".into(), ..Taint::default() };
        Arc::make_mut(&mut empty.spec).taints.push(taint);
        let s = scores(&pod, &[&full, &empty]);
        assert!(s[0] > s[1], "{s:?}");
    }
}
