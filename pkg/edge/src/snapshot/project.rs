// SPDX-License-Identifier: Apache-2.0

//! API objects made into what the snapshot holds.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;

use super::{Backend, Endpoint, Ingress, PathKind, PathRule, Port, PortRef, Rule, Service};

impl Service {
    /// The service with the endpoints of its `slices` (those labelled `kubernetes.io/service-name` with
    /// its name).
    pub fn project<'a>(
        service: &core::Service,
        slices: impl IntoIterator<Item = &'a discovery::EndpointSlice>,
    ) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let external = spec.type_.as_deref() == Some("ExternalName");
        let ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok());
        let mut cluster_ips: Vec<_> = if external { Vec::new() } else { ips.collect() };
        cluster_ips.dedup();
        if cluster_ips.len() > 1 && cluster_ips.first() == cluster_ips.last() {
            cluster_ips.pop(); // clusterIP repeats the first of clusterIPs
        }
        Some(Self {
            namespace: service.metadata.namespace.clone()?,
            name: service.metadata.name.clone()?,
            cluster_ips,
            external_name: spec.external_name.clone().filter(|_| external),
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
            ports: spec
                .ports
                .iter()
                .flatten()
                .filter_map(|port| self::port(port.name.as_ref(), port.protocol.as_ref(), port.port))
                .collect(),
            endpoints: slices.into_iter().flat_map(endpoints).collect(),
        })
    }
}

impl Ingress {
    /// The ingress, without paths whose backend is no Service.
    pub fn project(ingress: &networking::Ingress) -> Option<Self> {
        let spec = ingress.spec.as_ref()?;
        Some(Self {
            namespace: ingress.metadata.namespace.clone()?,
            name: ingress.metadata.name.clone()?,
            default_backend: spec.default_backend.as_ref().and_then(backend),
            rules: spec.rules.iter().flatten().map(rule).collect(),
        })
    }
}

fn endpoints(slice: &discovery::EndpointSlice) -> Vec<Endpoint> {
    let ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| self::port(port.name.as_ref(), port.protocol.as_ref(), port.port?))
        .collect();
    let one = |endpoint: &discovery::Endpoint| Endpoint {
        addresses: endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
        ready: endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true),
        ports: ports.clone(),
    };
    slice.endpoints.iter().flatten().map(one).collect()
}

fn port(name: Option<&String>, protocol: Option<&String>, number: i32) -> Option<Port> {
    Some(Port {
        name: name.cloned().unwrap_or_default(),
        protocol: protocol.map_or("TCP", String::as_str).to_owned(),
        port: u16::try_from(number).ok().filter(|port| *port > 0)?,
    })
}

fn rule(rule: &networking::IngressRule) -> Rule {
    let paths = rule.http.iter().flat_map(|http| &http.paths).filter_map(|path| {
        Some(PathRule {
            path: path.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned()),
            kind: if path.path_type == "Exact" { PathKind::Exact } else { PathKind::Prefix },
            backend: backend(&path.backend)?,
        })
    });
    Rule { host: rule.host.clone().unwrap_or_default().to_ascii_lowercase(), paths: paths.collect() }
}

fn backend(backend: &networking::IngressBackend) -> Option<Backend> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let port = match (&port.name, port.number) {
        (Some(name), _) if !name.is_empty() => PortRef::Name(name.clone()),
        (_, Some(number)) => PortRef::Number(u16::try_from(number).ok()?),
        _ => return None,
    };
    Some(Backend { service: service.name.clone(), port })
}
