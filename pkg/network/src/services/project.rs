// SPDX-License-Identifier: Apache-2.0

//! Services and their slices, as the API has them, made into what the rules need.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use super::{Endpoint, Protocol, Service, ServicePort};

impl Service {
    /// The service and the endpoints of its `slices` (those labelled `kubernetes.io/service-name` with its
    /// name), seen from `node_name`. None for headless and ExternalName services: they have no packet rules.
    pub fn project<'a>(
        service: &core::Service,
        slices: impl IntoIterator<Item = &'a discovery::EndpointSlice> + Clone,
        node_name: &str,
    ) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let cluster_ips = addresses(spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip));
        if cluster_ips.is_empty() || spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let ingress =
            service.status.iter().flat_map(|status| &status.load_balancer).flat_map(|lb| lb.ingress.iter().flatten());
        let affinity = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let affinity_seconds = affinity.and_then(|client| client.timeout_seconds).and_then(|s| u32::try_from(s).ok());
        Some(Self {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            name: service.metadata.name.clone().unwrap_or_default(),
            cluster_ips,
            external_ips: addresses(spec.external_ips.iter().flatten()),
            load_balancer_ips: addresses(
                ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy")).flat_map(|ingress| &ingress.ip),
            ),
            source_ranges: spec
                .load_balancer_source_ranges
                .iter()
                .flatten()
                .filter_map(|r| r.trim().parse().ok())
                .collect(),
            affinity_seconds: (spec.session_affinity.as_deref() == Some("ClientIP"))
                .then(|| affinity_seconds.filter(|s| *s > 0).unwrap_or(DEFAULT_AFFINITY_SECONDS)),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            health_check_node_port: spec
                .health_check_node_port
                .filter(|_| spec.external_traffic_policy.as_deref() == Some("Local"))
                .and_then(number),
            ports: spec
                .ports
                .iter()
                .flatten()
                .filter_map(|port| {
                    let protocol = protocol(port.protocol.as_deref())?;
                    let name = port.name.clone().unwrap_or_default();
                    Some(ServicePort {
                        protocol,
                        port: number(port.port)?,
                        node_port: port.node_port.and_then(number),
                        endpoints: endpoints(slices.clone(), &name, protocol, node_name),
                        name,
                    })
                })
                .collect(),
        })
    }
}

/// Upstream's default of sessionAffinityConfig.clientIP.timeoutSeconds: three hours.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

fn endpoints<'a>(
    slices: impl IntoIterator<Item = &'a discovery::EndpointSlice>,
    port_name: &str,
    wanted: Protocol,
    node_name: &str,
) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten().filter(|port| {
            port.name.as_deref().unwrap_or_default() == port_name && protocol(port.protocol.as_deref()) == Some(wanted)
        });
        for port in ports.filter_map(|port| port.port.and_then(number)) {
            found.extend(slice.endpoints.iter().flatten().filter_map(|endpoint| one(endpoint, port, node_name)));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The first address only, as upstream: all of an endpoint's addresses are the same one endpoint.
fn one(endpoint: &discovery::Endpoint, port: u16, node_name: &str) -> Option<Endpoint> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let terminating = conditions.is_some_and(|c| c.serving.unwrap_or(ready) && c.terminating.unwrap_or(false));
    (ready || terminating).then_some(())?;
    Some(Endpoint {
        address: SocketAddr::new(endpoint.addresses.first()?.parse().ok()?, port),
        local: endpoint.node_name.as_deref() == Some(node_name),
        ready,
        terminating,
    })
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for address in texts.filter_map(|text| text.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}
