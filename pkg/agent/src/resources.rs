// SPDX-License-Identifier: Apache-2.0
//! Requests and limits: quantities as numbers, and as the values that cgroups take.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_runtime::Resources;

use crate::pod::{Role, containers, qos_class};

const CPU_PERIOD_US: i64 = 100_000;
/// The smallest weight that the kernel takes.
const CPU_SHARES_MIN: u64 = 2;
const CPU_SHARES_MAX: u64 = 262_144;

/// A quantity in thousandths, rounded up: `100m` is 100, `1Ki` is 1,024,000.
#[must_use]
pub fn milli(quantity: &Quantity) -> Option<i128> {
    let nanos = quantity.0.parse::<knarr_types::quantity::Quantity>().ok()?.nanos();
    Some(round_up(nanos, 1_000_000))
}

/// A quantity in whole units, rounded up.
#[must_use]
pub fn whole(quantity: &Quantity) -> Option<i64> {
    let milli = milli(quantity)?;
    i64::try_from(round_up(milli, 1000)).ok()
}

/// The limit (or request) of a container by the resource's name.
#[must_use]
pub fn of<'a>(container: &'a Container, limits: bool, name: &str) -> Option<&'a Quantity> {
    let resources = container.resources.as_ref()?;
    let map = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() };
    map?.get(name)
}

/// The cgroup values of one container.
#[must_use]
pub fn container(container: &Container) -> Resources {
    let cpu_limit = of(container, true, "cpu").and_then(milli);
    let cpu_request = of(container, false, "cpu").and_then(milli).or(cpu_limit);
    Resources {
        cpu_shares: Some(shares(cpu_request.unwrap_or(0))),
        cpu_quota_us: cpu_limit.map(quota),
        cpu_period_us: cpu_limit.map(|_| CPU_PERIOD_US.unsigned_abs()),
        memory_bytes: of(container, true, "memory").and_then(whole).filter(|bytes| *bytes > 0),
        pids: None,
    }
}

/// The cgroup values of the whole pod: its own where it has them, else sums, limited only where every container is.
#[must_use]
pub fn pod(pod: &Pod) -> Resources {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let own = |limits: bool, name: &str| {
        let map = of_pod.and_then(|own| if limits { own.limits.as_ref() } else { own.requests.as_ref() });
        map.and_then(|map| map.get(name))
    };
    let long_lived: Vec<&Container> =
        containers(pod).filter(|(role, _)| *role != Role::Init).map(|(_, container)| container).collect();
    let request = |container: &Container| {
        of(container, false, "cpu").or_else(|| of(container, true, "cpu")).and_then(milli).unwrap_or(0)
    };
    let sum = |name: &str, value: fn(&Quantity) -> Option<i128>| -> Option<i128> {
        let init = containers(pod).filter(|(role, _)| *role == Role::Init);
        let init: Vec<_> = init.map(|(_, container)| of(container, true, name).and_then(value)).collect();
        let total: i128 = long_lived.iter().map(|c| of(c, true, name).and_then(value)).sum::<Option<i128>>()?;
        let largest = init.into_iter().collect::<Option<Vec<i128>>>()?.into_iter().max().unwrap_or(0);
        Some(total.max(largest)).filter(|value| *value > 0)
    };
    let bytes = |quantity: &Quantity| whole(quantity).map(i128::from);
    let cpu_limit = own(true, "cpu").and_then(milli).or_else(|| sum("cpu", milli));
    let cpu_request = own(false, "cpu").or_else(|| own(true, "cpu")).and_then(milli);
    let memory_limit = own(true, "memory").and_then(bytes).or_else(|| sum("memory", bytes));
    Resources {
        cpu_shares: Some(shares(cpu_request.unwrap_or_else(|| long_lived.iter().map(|c| request(c)).sum()))),
        cpu_quota_us: cpu_limit.map(quota),
        cpu_period_us: cpu_limit.map(|_| CPU_PERIOD_US.unsigned_abs()),
        memory_bytes: memory_limit.and_then(|bytes| i64::try_from(bytes).ok()),
        pids: None,
    }
}

/// The shim's own memory is in the pod's group, and must not count against what the pod may have.
const SHIM_MEMORY_BYTES: i64 = 32 << 20;

/// The cgroup values of the group that holds the pod's containers and its shim.
#[must_use]
pub fn sandbox(of: &Pod) -> Resources {
    let pod = pod(of);
    Resources { memory_bytes: pod.memory_bytes.map(|bytes| bytes.saturating_add(SHIM_MEMORY_BYTES)), ..pod }
}

/// How readily the kernel kills the container when memory runs out, by upstream's formula.
#[must_use]
pub fn oom_score_adj(pod: &Pod, spec: &Container, node_memory_bytes: u64) -> i32 {
    let class = pod.spec.as_ref().map_or("BestEffort", qos_class);
    match class {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = of(spec, false, "memory").and_then(whole).unwrap_or(0);
            let share = i64::try_from(node_memory_bytes).ok().filter(|node| *node > 0);
            let adjust = 1000 - share.map_or(0, |node| 1000 * (request / 1024) / (node / 1024).max(1));
            i32::try_from(adjust.clamp(3, 999)).unwrap_or(999)
        }
    }
}

/// What a container's resource is for the downward API, `divisor` applied and rounded up; `node`
/// is what the node has, the limit of containers without one.
#[must_use]
pub fn downward(spec: &Container, resource: &str, divisor: &str, node: &BTreeMap<String, Quantity>) -> Option<String> {
    let (kind, name) = resource.split_once('.')?;
    let own = of(spec, kind == "limits", name);
    let value = match (own, kind) {
        (Some(own), _) => milli(own)?,
        (None, "limits") => milli(node.get(name)?)?,
        (None, _) => of(spec, true, name).map_or(Some(0), milli)?,
    };
    let divisor = match divisor {
        "" | "0" => 1000,
        text => milli(&Quantity(text.to_owned()))?.max(1),
    };
    Some(round_up(value, divisor).to_string())
}

fn round_up(value: i128, divisor: i128) -> i128 {
    value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0)
}

fn shares(milli_cpu: i128) -> u64 {
    u64::try_from(milli_cpu * 1024 / 1000).unwrap_or(0).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

fn quota(milli_cpu: i128) -> i64 {
    i64::try_from(milli_cpu * i128::from(CPU_PERIOD_US) / 1000).unwrap_or(i64::MAX).max(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers() {
        let cases = [
            ("100m", Some(100)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("1Ki", Some(1_024_000)),
            ("500u", Some(1)),
            ("x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(milli(&Quantity(text.to_owned())), expected, "{text}");
        }
    }

    #[test]
    fn limits_become_cgroup_values() {
        let spec: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
        }))
        .unwrap();
        let values = container(&spec);
        assert_eq!(values.cpu_shares, Some(256));
        assert_eq!(values.cpu_quota_us, Some(50_000));
        assert_eq!(values.memory_bytes, Some(64 << 20));
        assert_eq!(container(&Container::default()).cpu_shares, Some(2));
    }

    #[test]
    fn a_pod_has_its_own_limits_or_those_of_its_containers() {
        use serde_json::json;
        let limited =
            |cpu: &str, memory: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu, "memory": memory}}});
        for (own, containers, want) in [
            (json!(null), vec![limited("1", "1Mi"), limited("500m", "2Mi")], (1536, Some(150_000), Some(3 << 20))),
            (json!(null), vec![limited("1", "1Mi"), json!({"name": "free"})], (1024, None, None)),
            (
                json!({"limits": {"cpu": "2", "memory": "4Mi"}}),
                vec![json!({"name": "free"})],
                (2048, Some(200_000), Some(4 << 20)),
            ),
            (
                json!({"requests": {"cpu": "250m"}, "limits": {"memory": "4Mi"}}),
                vec![limited("1", "1Mi")],
                (256, Some(100_000), Some(4 << 20)),
            ),
        ] {
            let mut spec = json!({ "containers": containers });
            if !own.is_null() {
                spec["resources"] = own;
            }
            let found = pod(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap());
            assert_eq!((found.cpu_shares.unwrap(), found.cpu_quota_us, found.memory_bytes), want, "{spec}");
        }
    }

    #[test]
    fn the_shim_has_memory_beside_the_pods() {
        let limited = |limit: &str| -> Pod {
            let limits = serde_json::json!({"limits": {"memory": limit}});
            let spec = serde_json::json!({"containers": [{"name": "c", "resources": limits}]});
            serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap()
        };
        assert_eq!(sandbox(&limited("8Mi")).memory_bytes, Some(40 << 20));
        assert_eq!(sandbox(&Pod::default()).memory_bytes, None);
    }

    #[test]
    fn the_downward_api_divides_and_rounds_up() {
        let spec: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "resources": {"limits": {"cpu": "1250m", "memory": "64Mi"}}
        }))
        .unwrap();
        let node = BTreeMap::from([("memory".to_owned(), Quantity("1Gi".to_owned()))]);
        assert_eq!(downward(&spec, "limits.cpu", "", &node).as_deref(), Some("2"));
        assert_eq!(downward(&spec, "limits.cpu", "1m", &node).as_deref(), Some("1250"));
        assert_eq!(downward(&spec, "limits.memory", "1Mi", &node).as_deref(), Some("64"));
        assert_eq!(downward(&Container::default(), "limits.memory", "1Mi", &node).as_deref(), Some("1024"));
        assert_eq!(downward(&Container::default(), "requests.memory", "", &node).as_deref(), Some("0"));
    }
}
