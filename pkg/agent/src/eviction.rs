// SPDX-License-Identifier: Apache-2.0
//! Which pods must go: those that take more local storage than they may, and one at a time of those
//! that the node cannot hold any more. Decided here, measured and carried out in `crate::pressure`.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::{Role, containers};
use crate::resources;

/// The resource of local storage.
const STORAGE: &str = "ephemeral-storage";
/// From this priority on a pod belongs to the system, and pressure does not end it.
const SYSTEM_PRIORITY: i32 = 2_000_000_000;

/// What a pod has on the node's disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalStorage {
    /// By name of the volume.
    pub empty_dirs: BTreeMap<String, u64>,
    /// By name of the container: its log and what it wrote into its root file system.
    pub containers: BTreeMap<String, u64>,
}

impl LocalStorage {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.empty_dirs.values().chain(self.containers.values()).sum()
    }
}

/// What runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Memory.
    Memory,
    /// The disk under the data dir.
    Disk,
}

impl Shortage {
    /// The resource's name.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => STORAGE,
        }
    }
}

/// A pod that could go.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What it uses of what is short, in bytes, by container.
    pub used: BTreeMap<String, u64>,
}

/// Whether the pod has any limit on local storage, and so must be measured.
#[must_use]
pub fn is_limited(pod: &Pod) -> bool {
    !volume_limits(pod).is_empty() || containers(pod).any(|(_, spec)| resources::of(spec, true, STORAGE).is_some())
}

/// Why the pod must go for the storage that it uses, in upstream's words; `None` when it may stay.
#[must_use]
pub fn excess(pod: &Pod, usage: &LocalStorage) -> Option<String> {
    for (name, limit, text) in volume_limits(pod) {
        if usage.empty_dirs.get(name).is_some_and(|used| *used > limit) {
            return Some(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{text}\". "));
        }
    }
    if let Some(limit) = pod_limit(pod).filter(|limit| usage.total() > *limit) {
        let text = quantity(limit);
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {text}. "));
    }
    for (_, spec) in containers(pod) {
        let Some(limit) = resources::of(spec, true, STORAGE) else { continue };
        let used = usage.containers.get(&spec.name).copied().unwrap_or_default();
        if used > bytes(limit) {
            let (name, text) = (&spec.name, &limit.0);
            return Some(format!("Container {name} exceeded its local ephemeral storage limit \"{text}\". "));
        }
    }
    None
}

/// The pod that goes first: one that uses more than it asked for, then the one of the lowest
/// priority, then the one that is furthest beyond what it asked for.
#[must_use]
pub fn victim<'a, 'b>(candidates: &'b [Candidate<'a>], shortage: Shortage) -> Option<&'b Candidate<'a>> {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    let rank = |candidate: &&Candidate<'_>| {
        let requested = requested(candidate.pod, shortage);
        let used: u64 = candidate.used.values().sum();
        let beyond = i128::from(used) - i128::from(requested);
        (used <= requested, priority(candidate.pod), std::cmp::Reverse(beyond))
    };
    candidates.iter().filter(|candidate| priority(candidate.pod) < SYSTEM_PRIORITY).min_by_key(rank)
}

/// What the victim is told.
#[must_use]
pub fn message(victim: &Candidate<'_>, shortage: Shortage, available: u64, threshold: u64) -> String {
    let resource = shortage.resource();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        quantity(threshold),
        quantity(available)
    );
    for (_, spec) in containers(victim.pod) {
        let Some(used) = victim.used.get(&spec.name) else { continue };
        let request = resources::of(spec, false, resource);
        if *used > request.map_or(0, bytes) {
            let request = request.map_or("0", |request| request.0.as_str());
            let _ = write!(
                text,
                "Container {} was using {}, request is {request}, has larger consumption of {resource}. ",
                spec.name,
                quantity(*used)
            );
        }
    }
    text
}

fn requested(pod: &Pod, shortage: Shortage) -> u64 {
    let of = |(_, spec)| resources::of(spec, false, shortage.resource()).map_or(0, bytes);
    containers(pod).filter(|(role, _)| *role != Role::Init).map(of).sum()
}

/// Name, limit in bytes and limit as written of every emptyDir on disk that has one.
fn volume_limits(pod: &Pod) -> Vec<(&str, u64, &str)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let limited = volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        let limit = source.size_limit.as_ref()?;
        // The kernel holds the limit of those in memory.
        let counts = source.medium.as_deref() != Some("Memory") && bytes(limit) > 0;
        counts.then(|| (volume.name.as_str(), bytes(limit), limit.0.as_str()))
    });
    limited.collect()
}

/// The sum of the containers' limits, where each has one.
fn pod_limit(pod: &Pod) -> Option<u64> {
    let lasting = containers(pod).filter(|(role, _)| *role != Role::Init);
    lasting.map(|(_, spec)| resources::of(spec, true, STORAGE).map(bytes)).sum()
}

fn bytes(quantity: &Quantity) -> u64 {
    resources::whole(quantity).and_then(|whole| u64::try_from(whole).ok()).unwrap_or(0)
}

/// Bytes in the largest binary unit that they are a multiple of, as Go's quantities print.
fn quantity(bytes: u64) -> String {
    let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let step = (bytes.trailing_zeros() / 10).min(6);
    if bytes == 0 { "0".to_owned() } else { format!("{}{}", bytes >> (10 * step), units[step as usize]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn storage(volumes: &[(&str, u64)], containers: &[(&str, u64)]) -> LocalStorage {
        let map = |items: &[(&str, u64)]| items.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        LocalStorage { empty_dirs: map(volumes), containers: map(containers) }
    }

    #[test]
    fn a_pod_goes_for_the_first_limit_that_it_breaks() {
        let limited = pod(json!({
            "containers": [{"name": "c", "resources": {"limits": {"ephemeral-storage": "4Ki"}}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "2Ki"}}],
        }));
        let two = pod(json!({"containers": [
            {"name": "a", "resources": {"limits": {"ephemeral-storage": "4Ki"}}}, {"name": "b"},
        ]}));
        let free = pod(json!({
            "containers": [{"name": "c"}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}],
        }));
        assert!(is_limited(&limited) && is_limited(&two) && !is_limited(&free));
        for (pod, usage, message) in [
            (&limited, storage(&[("v", 2048)], &[("c", 2048)]), None),
            (
                &limited,
                storage(&[("v", 2049)], &[]),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"2Ki\". "),
            ),
            (
                &limited,
                storage(&[("v", 2048)], &[("c", 2049)]),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 4Ki. "),
            ),
            (
                &two,
                storage(&[], &[("a", 5000)]),
                Some("Container a exceeded its local ephemeral storage limit \"4Ki\". "),
            ),
            (&two, storage(&[], &[("b", 5000)]), None),
            (&free, storage(&[("v", 1 << 40), ("m", 1 << 40)], &[("c", 1 << 40)]), None),
        ] {
            assert_eq!(excess(pod, &usage).as_deref(), message, "{usage:?}");
        }
    }

    #[test]
    fn who_uses_more_than_asked_for_goes_first_then_the_less_important() {
        let of = |name: &str, priority: i32, request: &str| {
            let mut pod = pod(json!({"priority": priority, "containers": [
                {"name": "c", "resources": {"requests": {"memory": request}}},
            ]}));
            pod.metadata.name = Some(name.to_owned());
            pod
        };
        let modest = of("modest", 0, "10Mi");
        let greedy = of("greedy", 5, "1Mi");
        let greedier = of("greedier", 5, "0");
        let important = of("important", 9, "0");
        let system = of("system", SYSTEM_PRIORITY, "0");
        let of = |pod, used: u64| Candidate { pod, used: [("c".to_owned(), used << 20)].into() };
        let (all, order) = (
            [of(&modest, 10), of(&greedy, 4), of(&greedier, 4), of(&important, 99), of(&system, 99)],
            ["greedier", "greedy", "important", "modest"],
        );
        let mut left = all.to_vec();
        for name in order {
            let next = victim(&left, Shortage::Memory).unwrap().pod.metadata.name.clone().unwrap();
            assert_eq!(next, name);
            left.retain(|candidate| candidate.pod.metadata.name.as_deref() != Some(name));
        }
        assert!(victim(&left, Shortage::Memory).is_none(), "the system's own pods stay");
        assert_eq!(
            message(&all[1], Shortage::Memory, 80 << 20, 100 << 20),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. \
             Container c was using 4Mi, request is 1Mi, has larger consumption of memory. "
        );
    }

    #[test]
    fn sizes_are_written_in_their_largest_unit() {
        for (size, text) in [(0, "0"), (1, "1"), (1025, "1025"), (1024, "1Ki"), (3 << 30, "3Gi"), (1 << 60, "1Ei")] {
            assert_eq!(quantity(size), text);
        }
    }
}
