// SPDX-License-Identifier: Apache-2.0
//! What is wrong between Services, their addresses and the ranges, and what mends it. Pure; upstream's
//! rules and words.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use knarr_admission::services::addresses_of;
use knarr_types::Object;
use knarr_types::tree::{Value, json};

use super::{FAMILY, MANAGED_BY, family};

/// How long an address may wait for its Service.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// People are told.
    Tell(Told),
    /// An address is given to a Service: its object is made.
    Create(Object),
    /// An address's object goes.
    Delete(String),
    /// It is looked at again then.
    Later(Timestamp),
}

/// An Event about a Service or an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The object.
    pub about: Object,
    /// `ClusterIPNotAllocated`, ...
    pub reason: &'static str,
    /// `ClusterIPAllocation`, ...
    pub action: &'static str,
    /// For people.
    pub note: String,
}

/// Other objects.
pub trait Cluster {
    /// The address of this name.
    fn address(&self, name: &str) -> Option<Object>;
    /// A Service.
    fn service(&self, namespace: &str, name: &str) -> Option<Object>;
    /// All ranges, those that are going too.
    fn ranges(&self) -> Vec<IpNet>;
}

/// The Service that an address is given to: its namespace and name.
#[must_use]
pub fn parent(address: &Object) -> Option<(&str, &str)> {
    let parent = &address["spec"]["parentRef"];
    let text = |field: &str| parent[field].as_str().unwrap_or_default();
    (text("group").is_empty() && text("resource") == "services").then(|| (text("namespace"), text("name")))
}

/// The ranges of a ServiceCIDR.
pub fn cidrs(range: &Object) -> Vec<IpNet> {
    let listed = range["spec"]["cidrs"].as_array().into_iter().flatten();
    listed.filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

/// Whether addresses are given out of a ServiceCIDR. One without conditions is: who sets them may not run.
#[must_use]
pub fn is_open(range: &Object) -> bool {
    let conditions = range["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    range["metadata"]["deletionTimestamp"].is_null() && ready.is_none_or(|ready| ready["status"] == "True")
}

/// The object of an address that is given to a Service.
#[must_use]
pub fn object(address: IpAddr, namespace: &str, name: &str) -> Object {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": {FAMILY: family(&address), MANAGED_BY.0: MANAGED_BY.1},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}

fn place(object: &Object) -> (&str, &str) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// What the addresses of a Service need.
#[must_use]
pub fn check_service(service: &Object, cluster: &dyn Cluster) -> Vec<Action> {
    addresses_of(service).into_iter().flat_map(|address| check_one(service, address, cluster)).collect()
}

fn check_one(service: &Object, address: IpAddr, cluster: &dyn Cluster) -> Vec<Action> {
    let (namespace, name) = place(service);
    let family = family(&address);
    let tell = |reason: &'static str, note: String| {
        Action::Tell(Told { about: service.clone(), reason, action: "ClusterIPAllocation", note })
    };
    if !cluster.ranges().iter().any(|range| range.contains(&address)) {
        let why = "is not within any configured Service CIDR; please recreate service";
        return vec![tell("ClusterIPOutOfRange", format!("Cluster IP [{family}]: {address} {why}"))];
    }
    let wanted = object(address, namespace, name);
    let recreated = || [Action::Delete(address.to_string()), Action::Create(wanted.clone())];
    let Some(found) = cluster.address(&address.to_string()) else {
        let note = format!("Cluster IP [{family}]: {address} is not allocated; repairing");
        return vec![tell("ClusterIPNotAllocated", note), Action::Create(wanted)];
    };
    let owner = parent(&found);
    let other = owner.filter(|owner| *owner != (namespace, name));
    let other = other.and_then(|(namespace, name)| cluster.service(namespace, name));
    if owner != Some((namespace, name)) && other.is_none() {
        let note = format!(
            "the ClusterIP [{family}]: {address} for Service {namespace}/{name} has a wrong reference; repairing"
        );
        return [vec![tell("ClusterIPNotAllocated", note)], recreated().to_vec()].concat();
    }
    if other.is_some_and(|other| addresses_of(&other).contains(&address)) {
        let note =
            format!("Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service");
        return vec![tell("ClusterIPAlreadyAllocated", note)];
    }
    let labels = &found["metadata"]["labels"];
    if labels[FAMILY] != family || labels[MANAGED_BY.0] != MANAGED_BY.1 {
        return recreated().to_vec();
    }
    Vec::new()
}

/// What an address needs that was given out here.
#[must_use]
pub fn check_address(address: &Object, cluster: &dyn Cluster, now: Timestamp) -> Vec<Action> {
    let name = place(address).1.to_owned();
    if address["metadata"]["labels"][MANAGED_BY.0] != MANAGED_BY.1 {
        return Vec::new();
    }
    let cleaned = |reason: &'static str, note: String| {
        let told = Told { about: address.clone(), reason, action: "IPAddressAllocation", note };
        vec![Action::Tell(told), Action::Delete(name.clone())]
    };
    let Some((namespace, service)) = parent(address) else {
        let to = &address["spec"]["parentRef"];
        let note =
            format!("IPAddress {name} appears to have been modified, not referencing a Service {to}: cleaning up");
        return cleaned("IPAddressNotAllocated", note);
    };
    let whose = format!("IPAddress: {name} for Service {namespace}/{service}");
    let Some(found) = cluster.service(namespace, service) else {
        let made = address["metadata"]["creationTimestamp"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let due = made.unwrap_or(Timestamp::UNIX_EPOCH) + GRACE;
        if now < due {
            return vec![Action::Later(due)];
        }
        return cleaned("IPAddressNotAllocated", format!("{whose} appears to have leaked: cleaning up"));
    };
    if addresses_of(&found).iter().any(|own| own.to_string() == name) {
        return Vec::new();
    }
    cleaned("IPAddressWrongReference", format!("{whose} has a wrong reference; cleaning up"))
}

/// What people must know of node ports: those outside of the range, and those that a Service before has.
#[must_use]
pub fn check_node_ports(services: &[Object], (first, last): (u16, u16)) -> Vec<Told> {
    let mut used = std::collections::BTreeSet::new();
    let mut told = Vec::new();
    for service in services {
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let numbers = ports.map(|p| (p["nodePort"].as_u64(), p["protocol"].as_str().unwrap_or("TCP")));
        let check = (service["spec"]["healthCheckNodePort"].as_u64(), "TCP");
        for (number, protocol) in numbers.chain([check]) {
            let Some(number) = number.filter(|n| *n > 0) else { continue };
            let tell = |reason, note| Told { about: service.clone(), reason, action: "PortAllocation", note };
            if !(u64::from(first)..=u64::from(last)).contains(&number) {
                let note =
                    format!("Port {number} is not within the port range {first}-{last}; please recreate service");
                told.push(tell("PortOutOfRange", note));
            } else if !used.insert((number, protocol.to_owned())) {
                let note = format!("Port {number} was assigned to multiple services; please recreate service");
                told.push(tell("PortAlreadyAllocated", note));
            }
        }
    }
    told
}

/// An Event as it is written.
#[must_use]
pub fn event(told: &Told, controller: &str, suffix: &str, now: Timestamp) -> Value {
    let (namespace, name) = place(&told.about);
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let mut regarding = json!({"apiVersion": told.about["apiVersion"], "kind": told.about["kind"]});
    for field in ["namespace", "name", "uid", "resourceVersion"] {
        if let Some(value) = told.about["metadata"].get(field) {
            regarding[field] = value.clone();
        }
    }
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": format!("{name}.{suffix}"), "namespace": namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(), "type": "Warning", "reason": told.reason,
        "action": told.action, "note": told.note, "regarding": regarding,
        "reportingController": controller, "reportingInstance": controller,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Objects {
        addresses: Vec<Object>,
        services: Vec<Object>,
    }

    impl Cluster for Objects {
        fn address(&self, name: &str) -> Option<Object> {
            self.addresses.iter().find(|address| place(address).1 == name).cloned()
        }

        fn service(&self, namespace: &str, name: &str) -> Option<Object> {
            self.services.iter().find(|service| place(service) == (namespace, name)).cloned()
        }

        fn ranges(&self) -> Vec<IpNet> {
            vec!["10.0.0.0/24".parse().unwrap()]
        }
    }

    fn service(name: &str, address: &str) -> Object {
        json!({"metadata": {"namespace": "n", "name": name}, "spec": {"clusterIPs": [address]}})
    }

    fn address(text: &str, service: &str) -> Object {
        object(text.parse().unwrap(), "n", service)
    }

    fn shown(actions: &[Action]) -> Vec<String> {
        let one = |action: &Action| match action {
            Action::Tell(told) => told.reason.to_owned(),
            Action::Create(object) => format!("create {}", place(object).1),
            Action::Delete(name) => format!("delete {name}"),
            Action::Later(at) => format!("later {at}"),
        };
        actions.iter().map(one).collect()
    }

    #[test]
    fn services_get_the_addresses_that_they_say_they_have() {
        let a = service("a", "10.0.0.5");
        let check = |addresses: Vec<Object>, others: Vec<Object>| {
            shown(&check_service(&a, &Objects { addresses, services: others }))
        };
        let own = address("10.0.0.5", "a");
        assert!(check(vec![own.clone()], vec![]).is_empty());
        assert_eq!(check(vec![], vec![]), ["ClusterIPNotAllocated", "create 10.0.0.5"]);
        let recreated = ["ClusterIPNotAllocated", "delete 10.0.0.5", "create 10.0.0.5"];
        assert_eq!(check(vec![address("10.0.0.5", "gone")], vec![]), recreated);
        let twice = check(vec![address("10.0.0.5", "b")], vec![service("b", "10.0.0.5")]);
        assert_eq!(twice, ["ClusterIPAlreadyAllocated"]);
        let mut bare = own;
        bare["metadata"]["labels"] = json!({});
        assert_eq!(check(vec![bare], vec![]), ["delete 10.0.0.5", "create 10.0.0.5"]);
        let outside = check_service(&service("x", "10.9.0.5"), &Objects { addresses: vec![], services: vec![] });
        assert_eq!(shown(&outside), ["ClusterIPOutOfRange"]);
        let headless = check_service(&service("x", "None"), &Objects { addresses: vec![], services: vec![] });
        assert!(headless.is_empty());
    }

    #[test]
    fn addresses_without_a_service_go_after_a_while() {
        let cluster = Objects { addresses: vec![], services: vec![service("a", "10.0.0.5")] };
        let made = Timestamp::UNIX_EPOCH;
        let check = |address: &Object, seconds: i64| {
            shown(&check_address(address, &cluster, made + SignedDuration::from_secs(seconds)))
        };
        let dated = |text: &str, service: &str| {
            let mut address = address(text, service);
            address["metadata"]["creationTimestamp"] = "1970-01-01T00:00:00Z".into();
            address
        };
        assert!(check(&dated("10.0.0.5", "a"), 99).is_empty());
        assert_eq!(check(&dated("10.0.0.6", "a"), 0), ["IPAddressWrongReference", "delete 10.0.0.6"]);
        assert_eq!(check(&dated("10.0.0.7", "gone"), 10), ["later 1970-01-01T00:01:00Z"]);
        assert_eq!(check(&dated("10.0.0.7", "gone"), 60), ["IPAddressNotAllocated", "delete 10.0.0.7"]);
        let mut foreign = dated("10.0.0.8", "gone");
        foreign["spec"]["parentRef"]["resource"] = "gateways".into();
        assert_eq!(check(&foreign, 0), ["IPAddressNotAllocated", "delete 10.0.0.8"]);
        foreign["metadata"]["labels"] = json!({});
        assert!(check(&foreign, 99).is_empty());
    }

    #[test]
    fn node_ports_are_in_their_range_and_given_once() {
        let with = |port: u64| json!({"metadata": {"name": "s"}, "spec": {"ports": [{"nodePort": port}]}});
        let told = check_node_ports(&[with(30_000), with(30_000), with(80), with(30_001)], (30_000, 30_010));
        let reasons: Vec<_> = told.iter().map(|told| told.reason).collect();
        assert_eq!(reasons, ["PortAlreadyAllocated", "PortOutOfRange"]);
    }
}
