// SPDX-License-Identifier: Apache-2.0
//! What pods ask for and may have, for the tables of a Node's page.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use knarr_types::quantity::Quantity;

/// Amounts by resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Requests, or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Requests,
    Limits,
}

/// Parses a map; what cannot be read is left out.
pub(super) fn parse(amounts: Option<&BTreeMap<String, Amount>>) -> Amounts {
    let one = |(name, amount): (&String, &Amount)| Some((name.clone(), amount.0.parse().ok()?));
    amounts.into_iter().flatten().filter_map(one).collect()
}

/// The sum, or nothing where nothing was said of the resource.
pub(super) fn get(amounts: &Amounts, name: &str) -> Quantity {
    amounts.get(name).copied().unwrap_or(Quantity::from_value(0))
}

pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let now = sum.get(name).map_or(*amount, |now| now.plus(*amount));
        sum.insert(name.clone(), now);
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        let now = to.get(name).map_or(*amount, |now| (*now).max(*amount));
        to.insert(name.clone(), now);
    }
}

/// What a pod asks for as a whole: its containers and sidecars together, or an init container that needs more
/// besides the sidecars before it; what the pod itself says; and its overhead.
pub(super) fn of_pod(pod: &Pod, which: Which) -> Amounts {
    let spec = pod.spec.clone().unwrap_or_default();
    let of = |resources: Option<&ResourceRequirements>| {
        let amounts = |it: &ResourceRequirements| match which {
            Which::Requests => parse(it.requests.as_ref()),
            Which::Limits => parse(it.limits.as_ref()),
        };
        resources.map(amounts).unwrap_or_default()
    };
    let of_container = |container: &Container| of(container.resources.as_ref());
    let mut sum = Amounts::new();
    spec.containers.iter().for_each(|container| add(&mut sum, &of_container(container)));
    let (mut sidecars, mut highest) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut its = of_container(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sum, &its);
            add(&mut sidecars, &its);
            its = sidecars.clone();
        } else {
            add(&mut its, &sidecars);
        }
        raise(&mut highest, &its);
    }
    raise(&mut sum, &highest);
    sum.extend(of(spec.resources.as_ref()));
    let overhead = parse(spec.overhead.as_ref());
    match which {
        Which::Requests => add(&mut sum, &overhead),
        // What has no limit gets none by what the runtime needs.
        Which::Limits => {
            let limited = overhead.into_iter().filter(|(name, _)| get(&sum, name).nanos() != 0).collect();
            add(&mut sum, &limited);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_the_most_that_it_needs_at_a_time() {
        let ask = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let container = |cpu: &str| json!({"name": "c", "resources": ask(cpu)});
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": ask("50m")});
        for (init, more, want) in [
            (json!([]), json!({}), "300m"),
            (json!([container("500m")]), json!({}), "500m"),
            (json!([sidecar, container("100m")]), json!({}), "350m"),
            (json!([sidecar, container("400m")]), json!({}), "450m"),
            (json!([]), json!({"overhead": {"cpu": "1m"}}), "301m"),
            (json!([]), json!({"resources": ask("2")}), "2"),
        ] {
            let mut spec = json!({"containers": [container("100m"), container("200m")], "initContainers": init});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert_eq!(get(&of_pod(&pod, Which::Requests), "cpu").to_string(), want);
            assert!(of_pod(&pod, Which::Limits).is_empty());
        }
    }
}
