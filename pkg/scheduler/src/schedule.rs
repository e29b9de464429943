// SPDX-License-Identifier: Apache-2.0
//! One decision: a pod, the cluster, a node or the reasons why there is none.

use std::collections::BTreeMap;

use crate::filter::{Reason, refusals};
use crate::pod::PodInfo;
use crate::score::scores;
use crate::snapshot::{Cluster, NodeInfo};

/// Below this many nodes all are looked at; above, a sample. Upstream's `minFeasibleNodesToFind`.
const MIN_SAMPLE: usize = 100;

/// Where the next decision starts to look, so that every node gets its turn.
#[derive(Debug, Default)]
pub struct Cursor(usize);

/// Why a pod has no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes gave each reason.
    pub reasons: BTreeMap<Reason, usize>,
}

impl std::fmt::Display for Unschedulable {
    /// Upstream's message of `FailedScheduling`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available", self.nodes)?;
        let mut lines: Vec<_> = self.reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        lines.sort();
        if !lines.is_empty() {
            write!(f, ": {}", lines.join(", "))?;
        }
        f.write_str(". no new claims to deallocate, preemption: 0/")?;
        write!(f, "{} nodes are available: {} Preemption is not helpful for scheduling.", self.nodes, self.nodes)
    }
}

/// The node for `pod`: of those that can run it (of a sample, in large clusters) the best; `chance`
/// decides between equals, it gives a number below its argument.
///
/// # Errors
/// [`Unschedulable`] when no node can run it.
pub fn schedule<'a>(
    pod: &PodInfo,
    cluster: &'a Cluster,
    cursor: &mut Cursor,
    chance: &mut impl FnMut(usize) -> usize,
) -> Result<&'a NodeInfo, Unschedulable> {
    let nodes = cluster.nodes();
    let enough = sample_size(nodes.len());
    let mut feasible = Vec::new();
    let mut reasons = BTreeMap::new();
    let mut looked_at = 0;
    for offset in 0..nodes.len() {
        let node = &nodes[(cursor.0 + offset) % nodes.len()];
        looked_at += 1;
        let refused = refusals(pod, node);
        if refused.is_empty() {
            feasible.push(node);
            if feasible.len() == enough {
                break;
            }
        }
        for reason in refused {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if !nodes.is_empty() {
        cursor.0 = (cursor.0 + looked_at) % nodes.len();
    }
    best(pod, &feasible, chance).ok_or(Unschedulable { nodes: nodes.len(), reasons })
}

fn best<'a>(pod: &PodInfo, feasible: &[&'a NodeInfo], chance: &mut impl FnMut(usize) -> usize) -> Option<&'a NodeInfo> {
    let scores = scores(pod, feasible);
    let top = *scores.iter().max()?;
    let ties: Vec<_> = feasible.iter().zip(&scores).filter(|(_, s)| **s == top).map(|(n, _)| *n).collect();
    ties.get(chance(ties.len())).copied()
}

/// How many feasible nodes are enough: all up to 100, then 50 % less one point per 125 nodes, at least 5 %.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/scheduler-perf-tuning/>
fn sample_size(nodes: usize) -> usize {
    if nodes <= MIN_SAMPLE {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(MIN_SAMPLE)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pod::Resources;
    use crate::snapshot::NodeSpec;

    fn cluster(nodes: usize, cpu: i64) -> Cluster {
        let mut cluster = Cluster::default();
        for i in 0..nodes {
            let allocatable = Resources { cpu, memory: 1 << 30, ..Resources::default() };
            let spec = NodeSpec { name: format!("n{i}"), max_pods: 110, allocatable, ..NodeSpec::default() };
            cluster.set_node(Arc::new(spec));
        }
        cluster
    }

    #[test]
    fn samples_shrink_with_the_cluster_as_upstreams() {
        for (nodes, want) in [(0, 0), (99, 99), (100, 100), (150, 100), (1000, 420), (5000, 500), (10_000, 500)] {
            assert_eq!(sample_size(nodes), want, "{nodes}");
        }
    }

    #[test]
    fn pods_spread_until_nothing_fits_and_the_reason_is_counted() {
        let mut cluster = cluster(3, 1000);
        let (mut cursor, mut turn) = (Cursor::default(), 0);
        let mut chance = |n: usize| {
            turn += 1;
            turn % n
        };
        for uid in 0..6 {
            let requests = Resources { cpu: 500, ..Resources::default() };
            let mut pod = PodInfo { uid: uid.to_string(), requests, ..PodInfo::default() };
            pod.node = schedule(&pod, &cluster, &mut cursor, &mut chance).unwrap().spec.name.clone();
            cluster.place(Arc::new(pod));
        }
        assert!(cluster.nodes().iter().all(|n| n.pods == 2));
        let requests = Resources { cpu: 1, ..Resources::default() };
        let pod = PodInfo { requests, ..PodInfo::default() };
        let refused = schedule(&pod, &cluster, &mut cursor, &mut chance).unwrap_err();
        assert!(refused.to_string().starts_with("0/3 nodes are available: 3 Insufficient cpu."), "{refused}");
    }

    #[test]
    fn an_empty_cluster_says_so() {
        let cluster = Cluster::default();
        let refused = schedule(&PodInfo::default(), &cluster, &mut Cursor::default(), &mut |_| 0);
        assert_eq!(refused.unwrap_err().to_string(), "no nodes available to schedule pods");
    }
}
