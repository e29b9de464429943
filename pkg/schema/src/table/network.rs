// SPDX-License-Identifier: Apache-2.0
//! The rows of services, endpoints, ingresses and what belongs to them.

use knarr_types::tree::Value;

use super::fields::{Fields, or_none, shortened};

/// How many endpoints, ports or hosts are shown.
const SHOWN: usize = 3;

pub(super) fn cells(kind: &str, object: Fields<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "Service" => service(object),
        "Endpoints" => vec![object.name(), endpoints(object), object.age()],
        "EndpointSlice" => vec![
            object.name(),
            object.text("/addressType").into(),
            slice_ports(object),
            slice_endpoints(object),
            object.age(),
        ],
        "Ingress" => vec![
            object.name(),
            object.text_or("/spec/ingressClassName", "<none>").into(),
            hosts(object).into(),
            balancer_addresses(object).into(),
            if object.list("/spec/tls").is_empty() { "80".into() } else { "80, 443".into() },
            object.age(),
        ],
        "IngressClass" => vec![object.name(), object.text("/spec/controller").into(), parameters(object), object.age()],
        "NetworkPolicy" => vec![object.name(), object.selector("/spec/podSelector"), object.age()],
        // Upstream names no column for the age, and gives it all the same.
        "IPAddress" => vec![object.name(), parent(object), object.age()],
        "ServiceCIDR" => vec![object.name(), object.texts("/spec/cidrs").join(",").into(), object.age()],
        _ => return None,
    })
}

fn service(service: Fields<'_>) -> Vec<Value> {
    let ports: Vec<String> = service
        .items("/spec/ports")
        .map(|port| match (port.int("/port"), port.int("/nodePort"), port.text("/protocol")) {
            (number, 0, protocol) => format!("{number}/{protocol}"),
            (number, node_port, protocol) => format!("{number}:{node_port}/{protocol}"),
        })
        .collect();
    vec![
        service.name(),
        service.text("/spec/type").into(),
        service.text_or("/spec/clusterIPs/0", "<none>").into(),
        external_address(service).into(),
        or_none(ports.join(",")),
        service.age(),
        service.labels("/spec/selector"),
    ]
}

fn external_address(service: Fields<'_>) -> String {
    let external = service.texts("/spec/externalIPs");
    let given = match service.text("/spec/type") {
        "ExternalName" => return service.text("/spec/externalName").into(),
        "LoadBalancer" => [balancer_addresses(service), external.join(",")],
        "ClusterIP" | "NodePort" => [String::new(), external.join(",")],
        _ => return "<unknown>".into(),
    };
    let given: Vec<String> = given.into_iter().filter(|text| !text.is_empty()).collect();
    match given.is_empty() {
        false => given.join(","),
        true if service.text("/spec/type") == "LoadBalancer" => "<pending>".into(),
        true => "<none>".into(),
    }
}

/// The addresses or names of a load balancer, sorted.
fn balancer_addresses(object: Fields<'_>) -> String {
    let mut addresses: Vec<&str> = object
        .items("/status/loadBalancer/ingress")
        .map(|ingress| Some(ingress.text("/ip")).filter(|ip| !ip.is_empty()).unwrap_or(ingress.text("/hostname")))
        .filter(|address| !address.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

fn endpoints(object: Fields<'_>) -> Value {
    let all: Vec<String> = object
        .items("/subsets")
        .flat_map(|subset| {
            let ports = subset.list("/ports").len();
            // A headless service may have no ports.
            let ports: Vec<Option<i64>> =
                if ports == 0 { vec![None] } else { subset.items("/ports").map(|p| Some(p.int("/port"))).collect() };
            let addresses: Vec<&str> = subset.items("/addresses").map(|address| address.text("/ip")).collect();
            ports
                .into_iter()
                .flat_map(|port| addresses.iter().map(move |ip| with_port(ip, port)).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        })
        .collect();
    or_none(shortened(&all, SHOWN))
}

fn with_port(ip: &str, port: Option<i64>) -> String {
    match port {
        None => ip.to_owned(),
        Some(port) if ip.contains(':') => format!("[{ip}]:{port}"),
        Some(port) => format!("{ip}:{port}"),
    }
}

fn slice_ports(slice: Fields<'_>) -> Value {
    let ports: Vec<String> = slice
        .items("/ports")
        .map(|port| match port.at("/port") {
            Some(number) => number.to_string(),
            None => port.at("/name").map_or("*", |name| name.as_str().unwrap_or_default()).to_owned(),
        })
        .collect();
    or_unset(shortened(&ports, SHOWN))
}

fn slice_endpoints(slice: Fields<'_>) -> Value {
    let addresses: Vec<String> =
        slice.items("/endpoints").flat_map(|endpoint| endpoint.texts("/addresses")).map(str::to_owned).collect();
    or_unset(shortened(&addresses, SHOWN))
}

fn or_unset(text: String) -> Value {
    if text.is_empty() { "<unset>".into() } else { text.into() }
}

fn hosts(ingress: Fields<'_>) -> String {
    let rules = ingress.items("/spec/rules").len();
    let named = ingress.items("/spec/rules").enumerate().filter(|(_, rule)| !rule.text("/host").is_empty());
    let shown: Vec<(usize, Fields<'_>)> = named.take(SHOWN).collect();
    let hosts: Vec<&str> = shown.iter().map(|(_, rule)| rule.text("/host")).collect();
    match shown.last() {
        None => "*".into(),
        // Rules count from there on whether they name a host or not.
        Some((last, _)) if shown.len() == SHOWN && last + 1 < rules => {
            format!("{} + {} more...", hosts.join(","), rules - SHOWN)
        }
        Some(_) => hosts.join(","),
    }
}

/// `KIND.GROUP/NAME`.
fn parameters(class: Fields<'_>) -> Value {
    if class.at("/spec/parameters").is_none() {
        return "<none>".into();
    }
    let field = |name: &str| class.text(&format!("/spec/parameters/{name}"));
    let group = if field("apiGroup").is_empty() { String::new() } else { format!(".{}", field("apiGroup")) };
    format!("{}{group}/{}", field("kind"), field("name")).into()
}

/// `RESOURCE.GROUP/NAMESPACE/NAME`.
fn parent(address: Fields<'_>) -> Value {
    if address.at("/spec/parentRef").is_none() {
        return "<none>".into();
    }
    let field = |name: &str| address.text(&format!("/spec/parentRef/{name}"));
    let resource = [field("resource"), field("group")].into_iter().filter(|part| !part.is_empty());
    let resource = resource.collect::<Vec<_>>().join(".").to_lowercase();
    let parts = [resource.as_str(), field("namespace"), field("name")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/").into()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn rules_behind_the_third_host_count_also_without_a_host() {
        let shown = |names: &[&str]| {
            let rules: Vec<Value> = names.iter().map(|host| json!({"host": host})).collect();
            hosts(Fields { object: &json!({"spec": {"rules": rules}}), now: Timestamp::UNIX_EPOCH })
        };
        assert_eq!(shown(&["", ""]), "*");
        assert_eq!(shown(&["a", "", "b", "c"]), "a,b,c");
        assert_eq!(shown(&["a", "b", "c", ""]), "a,b,c + 1 more...");
        assert_eq!(shown(&["a", "", "b", "c", "d"]), "a,b,c + 2 more...");
    }

    #[test]
    fn a_port_without_a_number_goes_by_its_name() {
        let shown = |ports: Value| slice_ports(Fields { object: &json!({"ports": ports}), now: Timestamp::UNIX_EPOCH });
        assert_eq!(shown(json!([{"name": "a"}, {"port": 80, "name": "b"}, {}])), "a,80,*");
        assert_eq!(shown(json!([{"name": ""}])), "<unset>");
    }
}
