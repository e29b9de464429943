// SPDX-License-Identifier: Apache-2.0
//! The cluster as the node's network sees it: Nodes, Services, EndpointSlices, Ingresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use knarr_client::cache::{Cache, Selection};
use kube::api::Api;
use kube::{Client, Resource};
use tokio::sync::Notify;

use crate::env::ServiceLink;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What of a Node matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// metadata.name.
    pub name: String,
    /// InternalIPs.
    pub addresses: Vec<IpAddr>,
    /// spec.podCIDRs.
    pub pod_cidrs: Vec<IpNet>,
    /// The condition Ready.
    pub ready: bool,
}

/// The followed collections.
pub struct ClusterView {
    nodes: Cache<NodeSummary>,
    namespaces: Cache<()>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    ingresses: Cache<Ingress>,
    classes: Cache<Option<String>>,
}

impl ClusterView {
    /// Follows all of them; `changed` is rung when a change may matter.
    pub fn follow(client: &Client, changed: &Arc<Notify>) -> Self {
        Self {
            nodes: cache(client, changed, summary),
            namespaces: cache(client, changed, |_: &Namespace| ()),
            services: cache(client, changed, |service: &Service| {
                let mut service = service.clone();
                service.metadata = slim(&service.metadata);
                service
            }),
            slices: cache(client, changed, |slice: &EndpointSlice| {
                let mut slice = slice.clone();
                slice.metadata = slim(&slice.metadata);
                slice
            }),
            ingresses: cache(client, changed, |ingress: &Ingress| {
                let mut ingress = ingress.clone();
                ingress.metadata.managed_fields = None;
                ingress
            }),
            classes: cache(client, changed, |class: &IngressClass| {
                class.spec.as_ref().and_then(|spec| spec.controller.clone())
            }),
        }
    }

    /// Waits until all have been listed once.
    pub async fn synced(&self) {
        self.nodes.synced().await;
        self.namespaces.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
        self.ingresses.synced().await;
        self.classes.synced().await;
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<NodeSummary> {
        self.nodes.list().into_iter().map(|(_, node)| (*node).clone()).collect()
    }

    /// The names of all namespaces.
    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.list().into_iter().map(|(key, _)| key.name).collect()
    }

    /// All ingresses.
    pub fn ingresses(&self) -> Vec<Arc<Ingress>> {
        self.ingresses.list().into_iter().map(|(_, ingress)| ingress).collect()
    }

    /// The controller of each IngressClass, by the class' name.
    pub fn classes(&self) -> BTreeMap<String, String> {
        let controller = |(key, controller): (knarr_client::cache::ObjectRef, Arc<Option<String>>)| {
            Some((key.name, (*controller).clone()?))
        };
        self.classes.list().into_iter().filter_map(controller).collect()
    }

    /// The services with packet rules, as this node sees them.
    pub fn packet_services(&self, node_name: &str) -> Vec<knarr_network::services::Service> {
        self.with_slices(|service, slices| {
            knarr_network::services::Service::project(service, slices.iter().map(Arc::as_ref), node_name)
        })
    }

    /// All services, as DNS and ingress see them.
    pub fn edge_services(&self) -> Vec<knarr_edge::snapshot::Service> {
        self.with_slices(|service, slices| {
            knarr_edge::snapshot::Service::project(service, slices.iter().map(Arc::as_ref))
        })
    }

    fn with_slices<T>(&self, project: impl Fn(&Service, &[Arc<EndpointSlice>]) -> Option<T>) -> Vec<T> {
        let mut slices: BTreeMap<(String, String), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
        for (key, slice) in self.slices.list() {
            let owner = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME).cloned());
            if let Some(owner) = owner {
                slices.entry((key.namespace, owner)).or_default().push(slice);
            }
        }
        let of = |(key, service): (knarr_client::cache::ObjectRef, Arc<Service>)| {
            let slices = slices.get(&(key.namespace, key.name)).map_or(&[][..], Vec::as_slice);
            project(&service, slices)
        };
        self.services.list().into_iter().filter_map(of).collect()
    }

    /// The services that a pod of the namespace is told of: `kubernetes` always, those of its
    /// namespace where it wants them.
    pub fn links(&self, namespace: &str, all: bool) -> Vec<ServiceLink> {
        let own = if all { self.services.list_namespace(namespace) } else { Vec::new() };
        let main = self.services.list_namespace("default").into_iter().filter(|(key, _)| key.name == "kubernetes");
        let mut links: BTreeMap<String, ServiceLink> = BTreeMap::new();
        for (key, service) in main.chain(own) {
            if let Some(link) = link(&service) {
                links.insert(key.name, link);
            }
        }
        links.into_values().collect()
    }
}

/// The link of a service on record, if the pod is told of it.
pub fn link_of_record(service: &knarr_network::services::Service, namespace: &str, all: bool) -> Option<ServiceLink> {
    let is_main = service.namespace == "default" && service.name == "kubernetes";
    if !(is_main || all && service.namespace == namespace) {
        return None;
    }
    let protocol = |protocol| match protocol {
        knarr_network::services::Protocol::Tcp => "TCP",
        knarr_network::services::Protocol::Udp => "UDP",
    };
    Some(ServiceLink {
        name: service.name.clone(),
        address: service.cluster_ips.first()?.to_string(),
        ports: service.ports.iter().map(|p| (p.name.clone(), protocol(p.protocol).to_owned(), p.port)).collect(),
    })
}

fn link(service: &Service) -> Option<ServiceLink> {
    let spec = service.spec.as_ref()?;
    let address = spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?;
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some((port.name.clone().unwrap_or_default(), protocol, u16::try_from(port.port).ok()?))
    });
    Some(ServiceLink { name: service.metadata.name.clone()?, address, ports: ports.collect() })
}

fn cache<K, P>(client: &Client, changed: &Arc<Notify>, project: impl Fn(&K) -> P + Send + Sync + 'static) -> Cache<P>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
    P: PartialEq + Send + Sync + 'static,
{
    let changed = Arc::clone(changed);
    Cache::start(Api::<K>::all(client.clone()), Selection::default(), project, move |change| {
        // Heartbeats and the like change objects, but nothing that was projected from them.
        if change.before != change.after {
            changed.notify_one();
        }
    })
}

fn summary(node: &Node) -> NodeSummary {
    let status = node.status.as_ref();
    let addresses = status.iter().flat_map(|status| status.addresses.iter().flatten());
    let spec = node.spec.as_ref();
    let ranges = spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
    let mut pod_cidrs: Vec<IpNet> = Vec::new();
    for range in ranges.filter_map(|range| range.parse().ok()) {
        if !pod_cidrs.contains(&range) {
            pod_cidrs.push(range);
        }
    }
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    NodeSummary {
        name: node.metadata.name.clone().unwrap_or_default(),
        addresses: addresses.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect(),
        pod_cidrs,
        ready: conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
    }
}

/// Only what names an object and ties it to others.
fn slim(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        labels: metadata.labels.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_its_addresses_ranges_and_readiness() {
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n"},
            "spec": {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd00:1::/64"]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n"}],
                "conditions": [{"type": "Ready", "status": "True"}]
            }
        }))
        .unwrap();
        let summary = summary(&node);
        assert_eq!(summary.pod_cidrs.len(), 2);
        assert_eq!(summary.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(summary.ready);
    }

    #[test]
    fn a_headless_service_has_no_link() {
        let service = |ip: &str| -> Service {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "s"}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}
            }))
            .unwrap()
        };
        assert_eq!(link(&service("None")), None);
        assert_eq!(link(&service("10.43.0.9")).unwrap().ports, [(String::new(), "TCP".to_owned(), 80)]);
    }
}
