// SPDX-License-Identifier: Apache-2.0
//! Addresses and node ports of Services: each belongs to one.
//!
//! What is in use follows from the IPAddress objects and, for node ports, the Services that there are; the
//! caller commits under the condition that this still holds, so that two writers never get the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
}

/// Whether a write of this Service needs something given out, or takes something.
#[must_use]
pub fn needs_allocation(service: &Object, old: Option<&Object>) -> bool {
    let watched = ["type", "clusterIP", "clusterIPs", "ports", "healthCheckNodePort", "externalTrafficPolicy"];
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

/// Gives the Service the addresses and node ports that it lacks, and checks those that it names; `others`
/// are all other Services, where it has node ports, `taken` whether an address is somebody else's, `chance`
/// gives a number below its argument.
pub fn allocate(
    service: &mut Object,
    others: &[Object],
    ranges: &Ranges,
    taken: &dyn Fn(IpAddr) -> bool,
    chance: &mut dyn FnMut(u64) -> u64,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if kind == "ExternalName" {
        if let Some(spec) = service["spec"].as_object_mut() {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        return errors;
    }
    addresses(service, ranges, taken, chance, &mut errors);
    if has_node_ports(service) {
        let allocates = kind == "NodePort" || service["spec"]["allocateLoadBalancerNodePorts"] != false;
        ports(service, others, ranges, chance, &mut errors, allocates);
    }
    errors
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
            Some(text) => match check_address(text, family, taken) {
                Ok(()) => result.push(text.clone()),
                Err(why) => {
                    let message = format!("failed to allocate IP {text}: {why}");
                    errors.push(FieldError::invalid(&path, json!(given), message));
                }
            },
            None => match family.find_map(|range| free_address(range, taken, chance)) {
                Some(address) => result.push(address.to_string()),
                None => {
                    errors.push(FieldError::invalid(&path, json!([]), "failed to allocate a serviceIP: range is full"))
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
    taken: &dyn Fn(IpAddr) -> bool,
) -> Result<(), String> {
    let address: IpAddr = text.parse().map_err(|_| "not a valid IP".to_owned())?;
    let range = ranges.find(|range| range.contains(&address));
    let range = range.ok_or("the provided network does not match the current range")?;
    // Only IPv4 has broadcasts.
    let last = address.is_ipv4() && address == range.broadcast();
    if address == range.network() || last {
        return Err(format!("the provided IP ({text}) is not in the valid range. The range of valid IPs is {range}"));
    }
    if taken(address) {
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

fn ports(
    service: &mut Object,
    others: &[Object],
    ranges: &Ranges,
    chance: &mut dyn FnMut(u64) -> u64,
    errors: &mut ErrorList,
    allocates: bool,
) {
    let node_port = |p: &Value| p["nodePort"].as_u64().filter(|n| *n > 0);
    let of = |s: &Object| s["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let mut used: BTreeSet<u64> =
        others.iter().flat_map(|s| of(s).iter().filter_map(node_port).collect::<Vec<_>>()).collect();
    used.extend(others.iter().filter_map(|s| s["spec"]["healthCheckNodePort"].as_u64()));
    let (first, last) = (u64::from(ranges.ports.0), u64::from(ranges.ports.1));
    let mut mine: BTreeSet<(u64, i64)> = BTreeSet::new();
    let mut list = of(service);
    for (index, port) in list.iter().enumerate() {
        let Some(number) = node_port(port) else { continue };
        let path = FieldPath::new("spec").child("ports").index(index).child("nodePort");
        // One number may serve several protocols of one port of a Service.
        let own = port["port"].as_i64().unwrap_or_default();
        let shared = mine.contains(&(number, own));
        let doubled = !shared && mine.iter().any(|(n, _)| *n == number);
        if !(first..=last).contains(&number) {
            let why = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
            return errors.push(FieldError::invalid(&path, number, why));
        }
        if doubled || (used.contains(&number) && !shared) {
            return errors.push(FieldError::invalid(&path, number, "provided port is already allocated"));
        }
        mine.insert((number, own));
    }
    used.extend(mine.iter().map(|(n, _)| *n));
    for port in list.iter_mut().filter(|p| allocates && node_port(p).is_none()) {
        let count = last - first + 1;
        let start = chance(count);
        let free = (0..count).map(|i| first + (start + i) % count).find(|n| !used.contains(n));
        match free {
            Some(number) => {
                used.insert(number);
                port["nodePort"] = number.into();
            }
            None => errors.push(FieldError::invalid(
                &FieldPath::new("spec.ports"),
                Value::Null,
                "failed to allocate a nodePort: range is full",
            )),
        }
    }
    service["spec"]["ports"] = list.into();
    errors.extend(health_check(service, &used, first, last, chance));
}

/// A load balancer that keeps traffic on the node asks there whether it has any endpoint. Gives what is wrong
/// with the port that the Service names.
fn health_check(
    service: &mut Object,
    used: &BTreeSet<u64>,
    first: u64,
    last: u64,
    chance: &mut dyn FnMut(u64) -> u64,
) -> Option<FieldError> {
    let spec = &mut service["spec"];
    let needed = spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
    if !needed {
        return None;
    }
    let named = spec["healthCheckNodePort"].as_u64().unwrap_or_default();
    if named == 0 {
        let count = last - first + 1;
        let start = chance(count);
        if let Some(port) = (0..count).map(|i| first + (start + i) % count).find(|n| !used.contains(n)) {
            spec["healthCheckNodePort"] = port.into();
        }
        return None;
    }
    let why = if !(first..=last).contains(&named) {
        format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
    } else if used.contains(&named) {
        "provided port is already allocated".to_owned()
    } else {
        return None;
    };
    let detail = format!("failed to allocate requested HealthCheck NodePort {named}: {why}");
    let path = FieldPath::new("spec.healthCheckNodePort");
    Some(FieldError { kind: FieldErrorType::Internal, path, value: None, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges() -> Ranges {
        Ranges { addresses: vec!["10.43.0.0/24".parse().unwrap()], ports: (30000, 30003) }
    }

    fn service(spec: Value) -> Object {
        json!({"metadata": {"name": "s"}, "spec": spec})
    }

    #[test]
    fn addresses_are_given_once() {
        let mut others = Vec::new();
        for _ in 0..254 {
            let mut new = service(json!({"type": "ClusterIP"}));
            assert!(allocate(&mut new, &[], &ranges(), &|a| others.contains(&a), &mut |n| n / 2).is_empty());
            let addresses = addresses_of(&new);
            assert!(!others.contains(&addresses[0]));
            others.extend(addresses);
        }
        let mut full = service(json!({"type": "ClusterIP"}));
        let errors = allocate(&mut full, &[], &ranges(), &|a| others.contains(&a), &mut |_| 0);
        assert!(errors[0].to_string().contains("range is full"));
        let mut more = ranges();
        more.addresses.push("10.44.0.0/28".parse().unwrap());
        assert!(allocate(&mut full, &[], &more, &|a| others.contains(&a), &mut |_| 0).is_empty());
        assert!(full["spec"]["clusterIP"].as_str().unwrap().starts_with("10.44.0."));
    }

    #[test]
    fn named_addresses_are_checked() {
        let taken = |address: IpAddr| address.to_string() == "10.43.0.5";
        let check = |address: &str| {
            let mut new = service(json!({"clusterIP": address}));
            allocate(&mut new, &[], &ranges(), &taken, &mut |_| 0).first().map(ToString::to_string).unwrap_or_default()
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
        assert!(allocate(&mut new, &[], &ranges(), &|_| false, &mut |_| 1).is_empty());
        let ports: Vec<_> =
            new["spec"]["ports"].as_array().unwrap().iter().map(|p| p["nodePort"].as_u64().unwrap()).collect();
        assert_eq!(ports, [30002, 30001]);
        let mut twice = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}));
        let errors = allocate(&mut twice, &[new], &ranges(), &|_| false, &mut |_| 0);
        assert!(errors[0].to_string().contains("provided port is already allocated"), "{}", errors[0]);
    }

    #[test]
    fn a_named_port_for_health_checks_must_be_one_that_is_free() {
        let fault = |named: u64| {
            let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": named,
                "ports": [{"port": 80, "nodePort": 30001}]});
            let errors = allocate(&mut service(spec), &[], &ranges(), &|_| false, &mut |_| 0);
            errors.first().map(|error| error.detail.clone()).unwrap_or_default()
        };
        assert_eq!(fault(30002), "");
        assert!(fault(5).ends_with("The range of valid ports is 30000-30003"), "{}", fault(5));
        assert!(fault(30001).ends_with("NodePort 30001: provided port is already allocated"), "{}", fault(30001));
    }
}
