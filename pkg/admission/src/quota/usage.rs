// SPDX-License-Identifier: Apache-2.0
//! What an object uses of a quota, and which amounts of a quota its kind touches.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/#types-of-resource-quota>

use jiff::{SignedDuration, Timestamp};
use knarr_types::tree::Value;
use knarr_types::{Object, Quantity};

use crate::amounts::{self, Amounts};

/// How classes of storage are named in a quota.
const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// What of a pod is counted under its own name, and under `requests.` and `limits.`.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// A kind, as quotas know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// Its group; empty for the core.
    pub group: &'a str,
    /// Its plural.
    pub resource: &'a str,
}

impl Counted<'_> {
    /// `count/deployments.apps`.
    pub(crate) fn count_name(&self) -> String {
        if self.group.is_empty() {
            format!("count/{}", self.resource)
        } else {
            format!("count/{}.{}", self.resource, self.group)
        }
    }

    /// Kinds that had a name of their own before every kind could be counted.
    fn short_name(&self) -> Option<&str> {
        const SHORT: [&str; 7] = [
            "pods",
            "services",
            "persistentvolumeclaims",
            "replicationcontrollers",
            "secrets",
            "configmaps",
            "resourcequotas",
        ];
        SHORT.contains(&self.resource).then_some(self.resource).filter(|_| self.group.is_empty())
    }

    pub(super) fn is(&self, resource: &str) -> bool {
        self.group.is_empty() && self.resource == resource
    }

    /// Whether an amount of a quota counts objects of this kind.
    #[must_use]
    pub fn tracks(&self, name: &str) -> bool {
        if name == self.count_name() || self.short_name() == Some(name) {
            return true;
        }
        match (self.group, self.resource) {
            ("", "pods") => is_compute(name),
            ("", "services") => matches!(name, "services.nodeports" | "services.loadbalancers"),
            ("", "persistentvolumeclaims") => name == "requests.storage" || name.contains(STORAGE_CLASS),
            _ => false,
        }
    }

    /// What an object of this kind uses.
    #[must_use]
    pub fn usage(&self, object: &Object, now: Timestamp) -> Amounts {
        let one = Quantity::from_value(1);
        let mut used = Amounts::from([(self.count_name(), one)]);
        if self.is("pods") {
            if is_live(object, now) {
                amounts::add(&mut used, &compute(&requests(object), &limits(object)));
            }
            return used;
        }
        used.extend(self.short_name().map(|name| (name.to_owned(), one)));
        match self.resource {
            "services" if self.group.is_empty() => service(object, &mut used),
            "persistentvolumeclaims" if self.group.is_empty() => claim(object, &mut used),
            _ => {}
        }
        used
    }
}

fn is_compute(name: &str) -> bool {
    let plain = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let extended = name.strip_prefix("requests.").is_some_and(is_extended);
    let huge = name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-");
    COMPUTE.contains(&plain) || extended || huge
}

/// A resource that Kubernetes does not know itself.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn requests(pod: &Object) -> Amounts {
    amounts::of_pod(pod, "requests")
}

fn limits(pod: &Object) -> Amounts {
    amounts::of_pod(pod, "limits")
}

/// A pod that has ended, or should have, uses nothing but its place among the objects.
fn is_live(pod: &Object, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return false;
    }
    let metadata = &pod["metadata"];
    let deleted = metadata["deletionTimestamp"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64();
    let ended = |(at, grace)| now > at_latest(at, grace);
    deleted.zip(grace).is_none_or(|times| !ended(times))
}

fn at_latest(deleted: Timestamp, grace_seconds: i64) -> Timestamp {
    deleted.saturating_add(SignedDuration::from_secs(grace_seconds)).unwrap_or(deleted)
}

/// The amounts of a quota for what a pod or a container asks and is limited to.
pub(super) fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), Quantity::from_value(1))]);
    for (name, amount) in requests {
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
            used.insert(format!("requests.{name}"), *amount);
        } else if is_extended(name) {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    let limited = limits.iter().filter(|(name, _)| COMPUTE.contains(&name.as_str()));
    used.extend(limited.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    used
}

fn service(service: &Object, used: &mut Amounts) {
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let set = ports.iter().filter(|p| p["nodePort"].as_u64().unwrap_or_default() != 0).count();
    let allocates = service["spec"]["allocateLoadBalancerNodePorts"] != false;
    let (nodes, balancers) = match service["spec"]["type"].as_str() {
        Some("NodePort") => (ports.len(), 0),
        Some("LoadBalancer") => (if allocates { ports.len() } else { set }, 1),
        _ => (0, 0),
    };
    let amount = |count: usize| Quantity::from_value(i64::try_from(count).unwrap_or(i64::MAX));
    used.insert("services.nodeports".into(), amount(nodes));
    used.insert("services.loadbalancers".into(), amount(balancers));
}

fn claim(claim: &Object, used: &mut Amounts) {
    let one = Quantity::from_value(1);
    let annotated = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotated.or(claim["spec"]["storageClassName"].as_str()).filter(|c| !c.is_empty());
    let sizes: [&Value; 2] =
        [&claim["spec"]["resources"]["requests"]["storage"], &claim["status"]["allocatedResources"]["storage"]];
    // What was given counts also when less is asked for now.
    let size = sizes.into_iter().filter_map(amounts::quantity).max();
    if let Some(class) = class {
        used.insert(format!("{class}{STORAGE_CLASS}persistentvolumeclaims"), one);
    }
    if let Some(size) = size {
        used.insert("requests.storage".into(), size);
        if let Some(class) = class {
            used.insert(format!("{class}{STORAGE_CLASS}requests.storage"), size);
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn used(group: &str, resource: &str, object: Object) -> String {
        let kind = Counted { group, resource };
        let used = kind.usage(&object, Timestamp::UNIX_EPOCH);
        assert!(used.keys().all(|name| kind.tracks(name)), "{used:?}");
        used.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn kinds_use_what_they_are() {
        let resources = json!({"requests": {"cpu": "1", "e.com/x": "2"}, "limits": {"memory": "1Gi"}});
        let pod = json!({"spec": {"containers": [{"resources": resources}]}});
        assert_eq!(
            used("", "pods", pod.clone()),
            "count/pods=1,cpu=1,limits.memory=1Gi,pods=1,requests.cpu=1,requests.e.com/x=2"
        );
        let mut ended = pod;
        ended["status"]["phase"] = "Failed".into();
        assert_eq!(used("", "pods", ended), "count/pods=1");
        assert_eq!(used("apps", "deployments", json!({})), "count/deployments.apps=1");
        assert_eq!(used("", "secrets", json!({})), "count/secrets=1,secrets=1");
        let service = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        assert_eq!(
            used("", "services", service),
            "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2"
        );
        let claim = json!({"spec": {"storageClassName": "c", "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(
            used("", "persistentvolumeclaims", claim),
            "c.storageclass.storage.k8s.io/persistentvolumeclaims=1,c.storageclass.storage.k8s.io/requests.storage=1Gi,\
             count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=1Gi"
        );
    }
}
