// SPDX-License-Identifier: Apache-2.0
//! Services and their endpoints; Endpoints.

use k8s_openapi::api::core::v1::{Endpoints, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};

use super::page::Page;
use crate::error::CtlError;
use crate::session::Session;

/// Endpoints that are named; of more only the number is told.
const NAMED_MAX: usize = 3;

/// The slices of a Service's endpoints.
pub(super) async fn slices(session: &Session, namespace: &str, service: &str) -> Result<Vec<EndpointSlice>, CtlError> {
    let api = Api::<EndpointSlice>::namespaced(session.client.clone(), namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    Ok(api.list(&of_service).await?.items)
}

pub(super) fn page(service: &Service, slices: &[EndpointSlice]) -> Page {
    let (meta, spec) = (&service.metadata, service.spec.clone().unwrap_or_default());
    let mut page = Page::of(meta);
    page.labels_and_annotations(meta);
    let pairs = spec.selector.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    page.field(0, "Selector", or_none(pairs.collect()));
    page.field(0, "Type", spec.type_.as_deref().unwrap_or_default());
    addresses(&mut page, service, &spec);
    spec.ports.iter().flatten().for_each(|it| port(&mut page, it, slices));
    page.field(0, "Session Affinity", spec.session_affinity.as_deref().unwrap_or_default());
    page.some(0, "External Traffic Policy", spec.external_traffic_policy.as_ref());
    page.some(0, "Internal Traffic Policy", spec.internal_traffic_policy.as_ref());
    page.some(0, "HealthCheck NodePort", spec.health_check_node_port.as_ref().filter(|port| **port != 0));
    let ranges = spec.load_balancer_source_ranges.map(|ranges| ranges.join(","));
    page.some(0, "LoadBalancer Source Ranges", ranges.as_ref());
    page.some(0, "Traffic Distribution", spec.traffic_distribution.as_ref());
    page
}

fn or_none(parts: Vec<String>) -> String {
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}

fn addresses(page: &mut Page, service: &Service, spec: &ServiceSpec) {
    page.some(0, "IP Family Policy", spec.ip_family_policy.as_ref());
    page.field(0, "IP Families", or_none(spec.ip_families.clone().unwrap_or_default()));
    page.field(0, "IP", spec.cluster_ip.as_deref().unwrap_or_default());
    page.field(0, "IPs", or_none(spec.cluster_ips.clone().unwrap_or_default()));
    page.some(0, "External IPs", spec.external_ips.as_ref().map(|all| all.join(",")).as_ref());
    page.some(0, "Desired LoadBalancer IP", spec.load_balancer_ip.as_ref());
    page.some(0, "External Name", spec.external_name.as_ref());
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let one = |ingress: &k8s_openapi::api::core::v1::LoadBalancerIngress| match (&ingress.ip, &ingress.ip_mode) {
        (Some(ip), Some(mode)) => format!("{ip} ({mode})"),
        (Some(ip), None) => ip.clone(),
        (None, _) => ingress.hostname.clone().unwrap_or_default(),
    };
    page.some(0, "LoadBalancer Ingress", Some(&ingress.map(one).collect::<Vec<_>>().join(", ")));
}

fn port(page: &mut Page, port: &ServicePort, slices: &[EndpointSlice]) {
    let name = port.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("<unset>");
    let protocol = port.protocol.as_deref().unwrap_or_default();
    page.field(0, "Port", format_args!("{name}\t{}/{protocol}", port.port));
    let target = match &port.target_port {
        Some(IntOrString::String(name)) => name.clone(),
        Some(IntOrString::Int(number)) => number.to_string(),
        None => "0".to_owned(),
    };
    page.field(0, "TargetPort", format_args!("{target}/{protocol}"));
    page.some(0, "AppProtocol", port.app_protocol.as_ref());
    if let Some(number) = port.node_port.filter(|number| *number != 0) {
        page.field(0, "NodePort", format_args!("{name}\t{number}/{protocol}"));
    }
    page.field(0, "Endpoints", endpoints(slices, port.name.as_deref().unwrap_or_default()));
}

/// The ready endpoints of a Service's port, by the port's name.
pub(super) fn endpoints(slices: &[EndpointSlice], port_name: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for slice in slices {
        let ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        };
        let addresses: Vec<_> =
            slice.endpoints.iter().flatten().filter(ready).filter_map(|endpoint| endpoint.addresses.first()).collect();
        match slice.ports.as_deref() {
            // A headless Service may have no ports.
            None | Some([]) => all.extend(addresses.into_iter().cloned()),
            Some(ports) => {
                for port in ports.iter().filter(|port| port.name.as_deref().unwrap_or_default() == port_name) {
                    all.extend(addresses.iter().map(|address| joined(address, port.port.unwrap_or_default())));
                }
            }
        }
    }
    let named = all[..all.len().min(NAMED_MAX)].join(",");
    if all.len() > NAMED_MAX { format!("{named} + {} more...", all.len() - NAMED_MAX) } else { named }
}

fn joined(address: &str, port: i32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

pub(super) fn endpoints_page(endpoints: &Endpoints) -> Page {
    let meta = &endpoints.metadata;
    let mut page = Page::of(meta);
    page.labels_and_annotations(meta);
    page.line(0, "Subsets:");
    for subset in endpoints.subsets.iter().flatten() {
        for (title, addresses) in [("Addresses", &subset.addresses), ("NotReadyAddresses", &subset.not_ready_addresses)]
        {
            page.field(1, title, or_none(addresses.iter().flatten().map(|address| address.ip.clone()).collect()));
        }
        let ports = subset.ports.as_deref().unwrap_or_default();
        if !ports.is_empty() {
            page.line(1, "Ports:");
            page.headings(2, &["Name", "Port", "Protocol"]);
            for port in ports {
                let name = port.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("<unset>");
                page.line(2, format_args!("{name}\t{}\t{}", port.port, port.protocol.as_deref().unwrap_or_default()));
            }
        }
        page.line(0, "");
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_ready_endpoints_are_named_and_the_others_counted() {
        let slice = |count: u8, ports: serde_json::Value| -> EndpointSlice {
            let endpoint = |i| json!({"addresses": [format!("10.0.0.{i}")], "conditions": {"ready": i != 1}});
            let endpoints: Vec<_> = (1..=count).map(endpoint).collect();
            serde_json::from_value(
                json!({"addressType": "IPv4", "metadata": {}, "endpoints": endpoints, "ports": ports}),
            )
            .unwrap()
        };
        let http = json!([{"name": "http", "port": 80}, {"name": "other", "port": 90}]);
        assert_eq!(endpoints(&[slice(3, http.clone())], "http"), "10.0.0.2:80,10.0.0.3:80");
        assert_eq!(endpoints(&[slice(6, http)], "other"), "10.0.0.2:90,10.0.0.3:90,10.0.0.4:90 + 2 more...");
        assert_eq!(endpoints(&[slice(2, json!([]))], "http"), "10.0.0.2");
        assert_eq!(endpoints(&[], "http"), "<none>");
        assert_eq!(joined("fd00::1", 80), "[fd00::1]:80");
    }
}
