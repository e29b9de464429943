// SPDX-License-Identifier: Apache-2.0
//! Amounts by the name of their resource, and what a pod asks for in all.
//! <https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers>

use std::collections::BTreeMap;

use knarr_types::tree::Value;
use knarr_types::{Object, Quantity};

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads a map of amounts; what is no amount is left out, validation has told of it.
#[must_use]
pub fn read(map: &Value) -> Amounts {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(name, amount)| Some((name.to_string(), quantity(amount)?))).collect()
}

/// Reads one amount, which may be a bare number.
#[must_use]
pub fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Adds what `more` has.
pub fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.get(name).map_or(*amount, |t| t.plus(*amount));
        total.insert(name.clone(), sum);
    }
}

/// Raises what is below `other`.
fn raise(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if total.get(name).is_none_or(|t| t < amount) {
            total.insert(name.clone(), *amount);
        }
    }
}

/// What the containers of a pod ask for (`requests`) or are limited to (`limits`), or the pod for all of them.
#[must_use]
pub fn of_containers(pod: &Object, list: &str) -> Amounts {
    let spec = &pod["spec"];
    let of = |container: &Value| read(&container["resources"][list]);
    let mut total = Amounts::new();
    for container in spec["containers"].as_array().into_iter().flatten() {
        add(&mut total, &of(container));
    }
    // Those that run on beside the containers count with all that start after them.
    let (mut beside, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec["initContainers"].as_array().into_iter().flatten() {
        let own = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &own);
            add(&mut beside, &own);
            raise(&mut starting, &beside);
        } else {
            let mut with_others = own;
            add(&mut with_others, &beside);
            raise(&mut starting, &with_others);
        }
    }
    raise(&mut total, &starting);
    for (name, amount) in read(&spec["resources"][list]) {
        total.insert(name, amount);
    }
    total
}

/// The same with the pod's overhead.
#[must_use]
pub fn of_pod(pod: &Object, list: &str) -> Amounts {
    let mut total = of_containers(pod, list);
    for (name, amount) in read(&pod["spec"]["overhead"]) {
        // A limit that is not there is none: overhead does not make one.
        let known = list == "requests" || total.contains_key(&name);
        if known {
            let sum = total.get(&name).map_or(amount, |t| t.plus(amount));
            total.insert(name, sum);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn init_containers_count_by_the_largest_and_sidecars_with_all() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "10m"}}});
        let pod = |init: Value| {
            let pod = json!({"spec": {
                "containers": [container("100m"), container("50m")], "initContainers": init, "overhead": {"cpu": "1m"},
            }});
            of_pod(&pod, "requests")["cpu"].to_string()
        };
        assert_eq!(pod(json!([])), "151m");
        assert_eq!(pod(json!([container("400m")])), "401m");
        assert_eq!(pod(json!([sidecar])), "161m");
        assert_eq!(pod(json!([sidecar, container("400m")])), "411m");
    }
}
