// SPDX-License-Identifier: Apache-2.0
//! Addresses and node ports of Services: each belongs to one.
//!
//! What is in use follows from the IPAddress objects and, for node ports, the Services that there are; the
//! caller commits under the condition that this still holds, so that two writers never get the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldErrorType, FieldPath, Object};

/// What there is to give out.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// Of addresses; of each family the first with room is used.
    pub addresses: Vec<IpNet>,
    /// Of node ports, first and last.
    pub ports: (u16, u16),
    /// Nothing is given in earnest. As upstream, such a write finds less out: it gives the first address of the range
    /// and the port above the highest, takes addresses that others have, and ports outside of the range.
    pub dry_run: bool,
}

/// Whether a write of this Service needs something given out, or takes something.
#[must_use]
pub fn needs_allocation(service: &Object, old: Option<&Object>) -> bool {
    let watched = [
        "type",
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "ports",
        "healthCheckNodePort",
        "externalTrafficPolicy",
        "internalTrafficPolicy",
        "allocateLoadBalancerNodePorts",
    ];
    old.is_none_or(|old| watched.iter().any(|f| old["spec"][*f] != service["spec"][*f]))
}

/// Whether a Service has node ports: all others must be known to give it some.
#[must_use]
pub fn has_node_ports(service: &Object) -> bool {
    matches!(service["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"))
}

/// The addresses that a Service has.
#[must_use]
pub fn addresses_of(service: &Object) -> Vec<IpAddr> {
    let listed = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    listed.filter_map(|address| address.as_str()?.parse().ok()).collect()
}

/// Gives the Service the addresses and node ports that it lacks, and checks those that it names; `old` is what it
/// was, `others` are all other Services, where it has node ports, `taken` whether an address is somebody else's,
/// `chance` gives a number below its argument.
pub fn allocate(
    service: &mut Object,
    old: Option<&Object>,
    others: &[Object],
    ranges: &Ranges,
    taken: &dyn Fn(IpAddr) -> bool,
    chance: &mut dyn FnMut(u64) -> u64,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if service["spec"]["type"] == "ExternalName" {
        if let Some(spec) = service["spec"].as_object_mut() {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        return errors;
    }
    // The addresses of a service do not change: what is wrong with a change is told where it is judged.
    let has_some = |old: &Object| old["spec"]["type"] != "ExternalName" && !old["spec"]["clusterIPs"].is_null();
    if !old.is_some_and(has_some) {
        addresses(service, ranges, taken, chance, &mut errors);
    }
    if !errors.is_empty() || !has_node_ports(service) {
        return errors;
    }
    let mut ports = Ports::new(service, others, ranges, chance);
    node_ports(service, old, &mut ports).or_else(|| health_check(service, old, &mut ports)).into_iter().collect()
}

fn addresses(
    service: &mut Object,
    ranges: &Ranges,
    taken: &dyn Fn(IpAddr) -> bool,
    chance: &mut dyn FnMut(u64) -> u64,
    errors: &mut ErrorList,
) {
    let texts = |v: &Value| -> Vec<String> {
        v.as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect()
    };
    let mut given = texts(&service["spec"]["clusterIPs"]);
    let first = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    if given.is_empty() && !first.is_empty() {
        given.push(first);
    }
    if given.first().is_some_and(|a| a == "None") {
        service["spec"]["clusterIP"] = "None".into();
        service["spec"]["clusterIPs"] = json!(["None"]);
        return;
    }
    let families = texts(&service["spec"]["ipFamilies"]);
    let wanted = families.len().max(1);
    let path = FieldPath::new("spec.clusterIPs");
    let mut result = Vec::new();
    for index in 0..wanted {
        let six = families.get(index).is_some_and(|f| f == "IPv6");
        let mut family = ranges.addresses.iter().filter(|r| r.addr().is_ipv6() == six);
        match given.get(index).filter(|a| !a.is_empty()) {
            Some(text) => match check_address(text, family, ranges.dry_run, taken) {
                Ok(()) => result.push(text.clone()),
                Err(why) => {
                    let message = format!("failed to allocate IP {text}: {why}");
                    errors.push(FieldError::invalid(&path, json!(given), message));
                }
            },
            None if ranges.dry_run => result.extend(family.next().map(|range| range.network().to_string())),
            None => match family.find_map(|range| free_address(range, taken, chance)) {
                Some(address) => result.push(address.to_string()),
                None => {
                    let name = service["metadata"]["name"].as_str().unwrap_or_default();
                    let detail = format!("failed to allocate a serviceIP for Service {name:?}: range is full");
                    errors.push(internal(&path, detail));
                }
            },
        }
    }
    if errors.is_empty()
        && let Some(first) = result.first()
    {
        service["spec"]["clusterIP"] = first.clone().into();
        service["spec"]["clusterIPs"] = json!(result);
    }
}

fn check_address<'a>(
    text: &str,
    mut ranges: impl Iterator<Item = &'a IpNet>,
    dry_run: bool,
    taken: &dyn Fn(IpAddr) -> bool,
) -> Result<(), String> {
    let address: IpAddr = text.parse().map_err(|_| "not a valid IP".to_owned())?;
    let range = ranges.find(|range| dry_run || range.contains(&address));
    let range = range.ok_or("the provided network does not match the current range")?;
    // Only IPv4 has broadcasts.
    let last = address.is_ipv4() && address == range.broadcast();
    if !range.contains(&address) || address == range.network() || last {
        return Err(format!("the provided IP ({text}) is not in the valid range. The range of valid IPs is {range}"));
    }
    if !dry_run && taken(address) {
        return Err("provided IP is already allocated".into());
    }
    Ok(())
}

/// A free address: by chance from the upper part of the range, which is kept clear of addresses that
/// people choose themselves, then from the lower.
/// <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>
fn free_address(range: &IpNet, taken: &dyn Fn(IpAddr) -> bool, chance: &mut dyn FnMut(u64) -> u64) -> Option<IpAddr> {
    let width = if range.addr().is_ipv4() { 32 } else { 128 };
    let size: u64 = 1_u64 << u32::from(width - range.prefix_len()).min(20);
    let hosts = size.checked_sub(2).filter(|n| *n > 0)?;
    let kept = (hosts / 16).clamp(16, 256).min(hosts / 2);
    let at = |offset: u64| match range.network() {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a) + u32::try_from(offset).unwrap_or_default())),
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a) + u128::from(offset))),
    };
    let search =
        |first: u64, count: u64, start: u64| (0..count).map(|i| at(first + (start + i) % count)).find(|a| !taken(*a));
    let upper = hosts - kept;
    let start = if upper > 0 { chance(upper) } else { 0 };
    search(1 + kept, upper, start).or_else(|| search(1, kept, 0))
}

/// The node ports that a write takes, one after the other.
struct Ports<'p> {
    /// Those of other Services.
    used: BTreeSet<u64>,
    /// Those taken so far.
    given: BTreeSet<u64>,
    /// Those that the Service names: nobody else gets them by chance.
    named: BTreeSet<u64>,
    range: RangeInclusive<u64>,
    dry_run: bool,
    chance: &'p mut dyn FnMut(u64) -> u64,
}

impl<'p> Ports<'p> {
    fn new(service: &Object, others: &[Object], ranges: &Ranges, chance: &'p mut dyn FnMut(u64) -> u64) -> Self {
        let mut used: BTreeSet<u64> = others.iter().flat_map(numbers).collect();
        used.extend(others.iter().filter_map(|s| s["spec"]["healthCheckNodePort"].as_u64()));
        let range = u64::from(ranges.ports.0)..=u64::from(ranges.ports.1);
        let named = numbers(service).into_iter().collect();
        Self { used, given: BTreeSet::new(), named, range, dry_run: ranges.dry_run, chance }
    }

    /// Takes this one, or says why it cannot be had.
    fn take(&mut self, number: u64) -> Result<(), String> {
        if !self.dry_run && !self.range.contains(&number) {
            let (first, last) = (self.range.start(), self.range.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        if self.used.contains(&number) || !self.given.insert(number) {
            return Err("provided port is already allocated".to_owned());
        }
        Ok(())
    }

    /// Takes any.
    fn take_any(&mut self) -> Result<u64, &'static str> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let found = if self.dry_run {
            Some(self.given.last().copied().unwrap_or(32_768) + 1)
        } else {
            let count = last - first + 1;
            let start = (self.chance)(count);
            let mut all = (0..count).map(|i| first + (start + i) % count);
            all.find(|number| ![&self.used, &self.given, &self.named].iter().any(|taken| taken.contains(number)))
        };
        let number = found.ok_or("range is full")?;
        self.given.insert(number);
        Ok(number)
    }
}

fn node_port(port: &Value) -> Option<u64> {
    port["nodePort"].as_u64().filter(|number| *number > 0)
}

fn numbers(service: &Object) -> Vec<u64> {
    service["spec"]["ports"].as_array().into_iter().flatten().filter_map(node_port).collect()
}

fn internal(path: &FieldPath, detail: String) -> FieldError {
    FieldError { kind: FieldErrorType::Internal, path: path.clone(), value: None, detail }
}

/// Gives each port its node port. In a new Service those of one port share what one of them has; a changed one keeps
/// what it had.
fn node_ports(service: &mut Object, old: Option<&Object>, ports: &mut Ports<'_>) -> Option<FieldError> {
    let spec = &mut service["spec"];
    let gives_any = spec["type"] == "NodePort" || spec["allocateLoadBalancerNodePorts"] != false;
    let kept = old.map(numbers);
    let mut list = spec["ports"].as_array().cloned().unwrap_or_default();
    let mut by_port: BTreeMap<i64, u64> = BTreeMap::new();
    for index in 0..list.len() {
        let (own, named) = (list[index]["port"].as_i64().unwrap_or_default(), node_port(&list[index]));
        if named.is_none() && !gives_any {
            continue;
        }
        let mut wanted = named;
        match (&kept, by_port.get(&own)) {
            (Some(kept), _) => {
                if wanted.is_some_and(|number| kept.contains(&number) || ports.given.contains(&number)) {
                    continue;
                }
            }
            (None, Some(shared)) if wanted.is_none_or(|number| number == *shared) => {
                list[index]["nodePort"] = (*shared).into();
                continue;
            }
            (None, Some(_)) => {}
            (None, None) => {
                let same_port = list.iter().filter(|port| port["port"].as_i64().unwrap_or_default() == own);
                wanted = same_port.filter_map(node_port).next();
            }
        }
        let path = FieldPath::new("spec").child("ports").index(index).child("nodePort");
        let given = match wanted {
            Some(number) => ports.take(number).map(|()| number).map_err(|why| FieldError::invalid(&path, number, why)),
            None => ports.take_any().map_err(|why| internal(&path, format!("failed to allocate a nodePort: {why}"))),
        };
        match given {
            Ok(number) => {
                by_port.entry(own).or_insert(number);
                list[index]["nodePort"] = number.into();
            }
            Err(error) => return Some(error),
        }
    }
    spec["ports"] = list.into();
    None
}

/// A load balancer that keeps traffic on the node asks there whether it has any endpoint. Gives what is wrong
/// with the port that the Service names.
fn health_check(service: &mut Object, old: Option<&Object>, ports: &mut Ports<'_>) -> Option<FieldError> {
    let asks = |service: &Object| {
        service["spec"]["type"] == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
    };
    if !asks(service) || old.is_some_and(asks) {
        return None;
    }
    let path = FieldPath::new("spec.healthCheckNodePort");
    let named = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or_default();
    let taken = match named {
        0 => ports.take_any().map_err(|why| format!("failed to allocate a HealthCheck NodePort 0: {why}")),
        _ => ports
            .take(named)
            .map(|()| named)
            .map_err(|why| format!("failed to allocate requested HealthCheck NodePort {named}: {why}")),
    };
    match taken {
        Ok(number) => {
            service["spec"]["healthCheckNodePort"] = number.into();
            None
        }
        Err(detail) => Some(internal(&path, detail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges() -> Ranges {
        Ranges { addresses: vec!["10.43.0.0/24".parse().unwrap()], ports: (30000, 30003), dry_run: false }
    }

    fn service(spec: Value) -> Object {
        json!({"metadata": {"name": "s"}, "spec": spec})
    }

    #[test]
    fn addresses_are_given_once() {
        let mut others = Vec::new();
        for _ in 0..254 {
            let mut new = service(json!({"type": "ClusterIP"}));
            assert!(allocate(&mut new, None, &[], &ranges(), &|a| others.contains(&a), &mut |n| n / 2).is_empty());
            let addresses = addresses_of(&new);
            assert!(!others.contains(&addresses[0]));
            others.extend(addresses);
        }
        let mut full = service(json!({"type": "ClusterIP"}));
        let errors = allocate(&mut full, None, &[], &ranges(), &|a| others.contains(&a), &mut |_| 0);
        assert!(errors[0].to_string().contains("range is full"));
        let mut more = ranges();
        more.addresses.push("10.44.0.0/28".parse().unwrap());
        assert!(allocate(&mut full, None, &[], &more, &|a| others.contains(&a), &mut |_| 0).is_empty());
        assert!(full["spec"]["clusterIP"].as_str().unwrap().starts_with("10.44.0."));
    }

    #[test]
    fn named_addresses_are_checked() {
        let taken = |address: IpAddr| address.to_string() == "10.43.0.5";
        let check = |address: &str| {
            let mut new = service(json!({"clusterIP": address}));
            allocate(&mut new, None, &[], &ranges(), &taken, &mut |_| 0)
                .first()
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        assert_eq!(check("10.43.0.6"), "");
        assert_eq!(check("None"), "");
        assert!(check("10.43.0.5").contains("provided IP is already allocated"));
        assert!(check("10.44.0.5").ends_with("the provided network does not match the current range"));
        assert!(check("10.43.0.0").contains("is not in the valid range. The range of valid IPs is 10.43.0.0/24"));
    }

    #[test]
    fn node_ports_are_given_and_checked() {
        let mut new = service(json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 30001}]}));
        assert!(allocate(&mut new, None, &[], &ranges(), &|_| false, &mut |_| 1).is_empty());
        let ports: Vec<_> =
            new["spec"]["ports"].as_array().unwrap().iter().map(|p| p["nodePort"].as_u64().unwrap()).collect();
        assert_eq!(ports, [30002, 30001]);
        let mut twice = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}));
        let errors = allocate(&mut twice, None, &[new], &ranges(), &|_| false, &mut |_| 0);
        assert!(errors[0].to_string().contains("provided port is already allocated"), "{}", errors[0]);
    }

    #[test]
    fn a_named_port_for_health_checks_must_be_one_that_is_free() {
        let fault = |named: u64| {
            let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": named,
                "ports": [{"port": 80, "nodePort": 30001}]});
            let errors = allocate(&mut service(spec), None, &[], &ranges(), &|_| false, &mut |_| 0);
            errors.first().map(|error| error.detail.clone()).unwrap_or_default()
        };
        assert_eq!(fault(30002), "");
        assert!(fault(5).ends_with("The range of valid ports is 30000-30003"), "{}", fault(5));
        assert!(fault(30001).ends_with("NodePort 30001: provided port is already allocated"), "{}", fault(30001));
    }

    /// The node ports of the Service after the write, or what is wrong.
    fn ports_of(spec: Value, old: Option<Value>, dry_run: bool) -> String {
        let mut new = service(spec);
        let other = service(json!({"ports": [{"port": 1, "nodePort": 30003}]}));
        let ranges = Ranges { dry_run, ..ranges() };
        let errors = allocate(&mut new, old.map(service).as_ref(), &[other], &ranges, &|_| false, &mut |_| 0);
        let shown = |error: &FieldError| format!("{}: {}", error.path, error.body());
        errors.first().map_or_else(|| format!("{:?}", numbers(&new)), shown)
    }

    #[test]
    fn node_ports_are_shared_by_protocols_and_kept() {
        let spec = |ports: Value| json!({"type": "NodePort", "ports": ports});
        let shared = json!([{"port": 53}, {"port": 53, "nodePort": 30001}, {"port": 54}]);
        assert_eq!(ports_of(spec(shared), None, false), "[30001, 30001, 30000]");
        let twice = json!([{"port": 5}, {"port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 30001}]);
        let why = "spec.ports[2].nodePort: Invalid value: 30001: provided port is already allocated";
        assert_eq!(ports_of(spec(twice), None, false), why);
        let outside = json!([{"port": 1, "nodePort": 80}]);
        let why = "provided port is not in the valid range. The range of valid ports is 30000-30003";
        let told = ports_of(spec(outside.clone()), None, false);
        assert_eq!(told, format!("spec.ports[0].nodePort: Invalid value: 80: {why}"));
        assert_eq!(ports_of(spec(outside.clone()), Some(spec(outside)), false), "[80]");
        let full = json!([{"port": 1}, {"port": 2}, {"port": 3}, {"port": 4}]);
        assert!(ports_of(spec(full), None, false).ends_with("failed to allocate a nodePort: range is full"));
        let balancer = |gives: bool| json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": gives, "ports": [{"port": 1}]});
        assert_eq!(ports_of(balancer(false), None, false), "[]");
        assert_eq!(ports_of(balancer(true), Some(balancer(false)), false), "[30000]");
    }

    #[test]
    fn addresses_that_a_service_has_are_left_to_others_to_judge() {
        let change = |old: Value| {
            let mut new = service(json!({"clusterIPs": ["10.44.0.5"]}));
            allocate(&mut new, Some(&service(old)), &[], &ranges(), &|_| false, &mut |_| 0).len()
        };
        assert_eq!(change(json!({"clusterIPs": ["10.43.0.5"]})), 0);
        assert_eq!(change(json!({"type": "ExternalName"})), 1);
    }

    #[test]
    fn what_is_only_tried_is_given_nothing_real() {
        let spec = |ports: Value| json!({"type": "NodePort", "ports": ports});
        assert_eq!(ports_of(spec(json!([{"port": 1}, {"port": 2}])), None, true), "[32769, 32770]");
        assert_eq!(ports_of(spec(json!([{"port": 1, "nodePort": 7}, {"port": 2}])), None, true), "[7, 8]");
        let told = ports_of(spec(json!([{"port": 1, "nodePort": 30003}])), None, true);
        assert!(told.ends_with("provided port is already allocated"), "{told}");
        let ranges = Ranges { dry_run: true, ..ranges() };
        let mut new = service(json!({}));
        assert!(allocate(&mut new, None, &[], &ranges, &|_| true, &mut |_| 0).is_empty());
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.43.0.0"]));
        let mut new = service(json!({"clusterIP": "10.44.0.5"}));
        let errors = allocate(&mut new, None, &[], &ranges, &|_| true, &mut |_| 0);
        assert!(errors[0].detail.ends_with("The range of valid IPs is 10.43.0.0/24"), "{}", errors[0]);
    }
}
