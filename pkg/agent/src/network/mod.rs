// SPDX-License-Identifier: Apache-2.0
//! The node's network: addresses and links of pods, packet rules of services, and the edge process.
//!
//! One task follows Nodes, Services, EndpointSlices and Ingresses. A change makes it compute all
//! rules and the edge's snapshot anew and apply what differs. What it computed last is on disk, so
//! that after a start without a server pods and their services still find each other.

mod edge;
mod health;
mod ingress;
mod view;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use knarr_network::ipam::Ipam;
use knarr_network::node::{NodeNetwork, Peer};
use knarr_network::services::{HostPort, Protocol, Redirect, Service, ServiceRules, Snapshot};
use knarr_network::{NodeId, node, pod};
use kube::Client;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::AgentConfig;
use crate::context::{PodNetwork, PodNetworks};
use crate::env::ServiceLink;
use crate::join::Cluster;
use crate::layout::{Layout, read_record, write_record};
use crate::objects::{Name, Objects};
use health::HealthPorts;
use view::ClusterView;

/// How long a failed application of the rules waits for its next try.
const RETRY: Duration = Duration::from_secs(3);
/// How long a container's start waits for the services that its environment tells of.
const PATIENCE: Duration = Duration::from_secs(3);
const DNS_PORT: u16 = 53;

/// The network of one node.
pub struct Network {
    id: NodeId,
    name: String,
    layout: Layout,
    client: Client,
    cluster: Cluster,
    addresses: Vec<IpAddr>,
    objects: Arc<Objects>,
    view: ClusterView,
    /// The node's pod ranges, once known.
    ranges: watch::Sender<Vec<IpNet>>,
    /// Whether pods can be given a network.
    pub ready: watch::Sender<Result<(), String>>,
    addresses_of_pods: Mutex<Option<Ipam>>,
    host_ports: Mutex<BTreeMap<String, Vec<HostPort>>>,
    changed: Arc<Notify>,
    upstreams: Vec<SocketAddr>,
    /// Nobody has to wait again for what did not come.
    server_is_away: AtomicBool,
}

/// What is kept for a start without a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    pod_cidrs: Vec<IpNet>,
    peers: Vec<(String, Vec<IpAddr>, Vec<IpNet>)>,
    services: Vec<Service>,
}

impl Network {
    /// Begins to follow the cluster; rules are applied by [`Self::run`].
    #[must_use]
    pub fn new(
        config: &AgentConfig,
        layout: &Layout,
        client: Client,
        cluster: Cluster,
        addresses: Vec<IpAddr>,
        objects: Arc<Objects>,
        upstreams: Vec<SocketAddr>,
    ) -> Arc<Self> {
        let changed = Arc::new(Notify::new());
        let view = ClusterView::follow(&client, &changed);
        let record = read_record::<Record>(&record_path(layout)).unwrap_or_default();
        let waiting = "container runtime network not ready: the node has no podCIDR yet".to_owned();
        Arc::new(Self {
            id: layout.node_id(),
            name: config.node_name.clone(),
            layout: layout.clone(),
            client,
            cluster,
            addresses,
            objects,
            view,
            ranges: watch::Sender::new(record.pod_cidrs),
            ready: watch::Sender::new(Err(waiting)),
            addresses_of_pods: Mutex::default(),
            host_ports: Mutex::default(),
            changed,
            upstreams,
            server_is_away: AtomicBool::new(false),
        })
    }

    /// Applies the rules whenever they change, until dropped; what is applied stays.
    pub async fn run(self: Arc<Self>) {
        let mut rules = ServiceRules::new(self.id.clone());
        let mut health = HealthPorts::default();
        let mut record = read_record::<Record>(&record_path(&self.layout)).unwrap_or_default();
        if !record.pod_cidrs.is_empty() {
            self.apply(&mut rules, &record).await;
            health.set(&record.services).await;
        }
        self.view.synced().await;
        loop {
            let next = self.record(&record);
            if next != record {
                record = next;
                if let Err(error) = write_record(&record_path(&self.layout), &record) {
                    tracing::warn!(%error, "the network is not kept for a start without a server");
                }
            }
            let applied = self.apply(&mut rules, &record).await;
            health.set(&record.services).await;
            self.write_edge_snapshot().await;
            ingress::report(&self.client, &self.view, &self.name).await;
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(RETRY), if !applied => {}
            }
        }
    }

    /// Keeps the edge process running, until dropped; it goes on afterwards. `tell` hears why a part of it is off.
    pub async fn keep_edge(self: Arc<Self>, ingress_ports: (u16, u16), tell: impl Fn(&str)) {
        // Its DNS address is there as soon as the network is.
        if self.ready.subscribe().wait_for(Result::is_ok).await.is_err() {
            return;
        }
        edge::supervise(&self.layout, self.id.local_address().into(), ingress_ports, tell).await;
    }

    /// What the view says now; what it does not know keeps its last value.
    fn record(&self, last: &Record) -> Record {
        let nodes = self.view.nodes();
        let own = nodes.iter().find(|node| node.name == self.name);
        let pod_cidrs = own.map(|node| node.pod_cidrs.clone()).filter(|ranges| !ranges.is_empty());
        let peers = nodes
            .iter()
            .filter(|node| node.name != self.name && !node.pod_cidrs.is_empty())
            .map(|node| (node.name.clone(), node.addresses.clone(), node.pod_cidrs.clone()))
            .collect();
        Record {
            pod_cidrs: pod_cidrs.unwrap_or_else(|| last.pod_cidrs.clone()),
            peers,
            services: self.view.packet_services(&self.name),
        }
    }

    /// Routes and rules; true when all is as it should be.
    async fn apply(&self, rules: &mut ServiceRules, record: &Record) -> bool {
        if record.pod_cidrs.is_empty() {
            return true;
        }
        let local = IpAddr::from(self.id.local_address());
        let wanted = NodeNetwork {
            node: self.id.clone(),
            addresses: self.addresses.clone(),
            pod_cidrs: record.pod_cidrs.clone(),
            service_cidrs: ranges(&self.cluster.service_cidr),
            local_addresses: vec![local],
            peers: record.peers.iter().cloned().map(peer).collect(),
        };
        let snapshot = Snapshot {
            cluster_cidrs: ranges(&self.cluster.cluster_cidr),
            pod_cidrs: record.pod_cidrs.clone(),
            service_cidrs: ranges(&self.cluster.service_cidr),
            node_addresses: self.addresses.clone(),
            services: record.services.clone(),
            host_ports: self.host_ports.lock().values().flatten().cloned().collect(),
            redirects: self.dns_redirects(local),
        };
        let routed = node::apply(&wanted).await;
        let result = match routed {
            Ok(applied) => {
                applied.changes.iter().for_each(|change| tracing::info!(change, "network"));
                applied.unreachable.iter().for_each(|peer| tracing::warn!(peer, "no route to the pods of a node"));
                rules.apply(&snapshot).await.map(drop)
            }
            Err(error) => Err(error),
        };
        let state = result.map_err(|error| error.to_string());
        if let Err(error) = &state {
            tracing::error!(error, "the network cannot be brought up to date; it is tried again");
        } else {
            self.ranges.send_if_modified(|ranges| {
                let differs = *ranges != record.pod_cidrs;
                ranges.clone_from(&record.pod_cidrs);
                differs
            });
        }
        let ok = state.is_ok();
        self.ready.send_if_modified(|ready| {
            let differs = *ready != state;
            *ready = state;
            differs
        });
        ok
    }

    fn dns_redirects(&self, local: IpAddr) -> Vec<Redirect> {
        let servers = self.cluster.cluster_dns.split(',').filter_map(|ip| ip.trim().parse::<IpAddr>().ok());
        let of = |server: IpAddr| {
            [Protocol::Udp, Protocol::Tcp].map(|protocol| Redirect {
                from: (server, DNS_PORT).into(),
                protocol,
                to: (local, DNS_PORT).into(),
            })
        };
        servers.filter(|server| server.is_ipv4() == local.is_ipv4()).flat_map(of).collect()
    }

    async fn write_edge_snapshot(&self) {
        let certificates = ingress::certificates(&self.view, &self.objects, &self.layout).await;
        let default_certificate = ingress::default_certificate(&self.layout);
        if let Err(error) = &default_certificate {
            tracing::error!(error, "hosts without a certificate of their own cannot be served over TLS");
        }
        let snapshot = knarr_edge::Snapshot {
            cluster_domain: self.cluster.cluster_domain.clone(),
            upstreams: self.upstreams.clone(),
            namespaces: self.view.namespaces(),
            services: self.view.edge_services(),
            ingresses: ingress::ours(&self.view)
                .iter()
                .filter_map(|i| knarr_edge::snapshot::Ingress::project(i))
                .collect(),
            certificates,
            default_certificate: default_certificate.ok(),
            ..knarr_edge::Snapshot::default()
        };
        if let Err(error) = knarr_edge::snapshot::write(&self.layout.edge("snapshot.json"), &snapshot) {
            tracing::error!(%error, "the edge's snapshot was not written");
        }
    }

    /// The addresses of a pod, from the node's ranges as soon as they are known.
    async fn assign(&self, pod_uid: &str) -> Result<Vec<IpAddr>, String> {
        let mut known = self.ranges.subscribe();
        let ranges = known.wait_for(|ranges| !ranges.is_empty()).await.map_err(|error| error.to_string())?.clone();
        let mut ipam = self.addresses_of_pods.lock();
        if ipam.as_ref().is_none_or(|ipam| ipam.ranges() != ranges) {
            *ipam = Some(Ipam::open(self.layout.addresses(), ranges).map_err(|error| error.to_string())?);
        }
        let ipam = ipam.as_mut().ok_or("no pod range")?;
        ipam.assign(pod_uid).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl PodNetworks for Network {
    async fn set_up(&self, pod_uid: &str, sysctls: &[(String, String)]) -> Result<PodNetwork, String> {
        let addresses = self.assign(pod_uid).await?;
        let run_dir = self.layout.netns();
        let request = pod::PodRequest {
            node: &self.id,
            run_dir: &run_dir,
            pod_uid,
            addresses: &addresses,
            host_addresses: &self.addresses,
            sysctls,
            mtu: None,
        };
        let network = pod::set_up(&request).await.map_err(|error| error.to_string())?;
        Ok(PodNetwork { netns: Some(network.netns), addresses: network.addresses })
    }

    async fn disconnect(&self, pod_uid: &str) -> Result<(), String> {
        self.host_ports(pod_uid, Vec::new());
        pod::tear_down(&self.id, &self.layout.netns(), pod_uid).await.map(drop).map_err(|error| error.to_string())
    }

    async fn tear_down(&self, pod_uid: &str) -> Result<(), String> {
        self.disconnect(pod_uid).await?;
        let mut ipam = self.addresses_of_pods.lock();
        if ipam.is_none() {
            let ranges = self.ranges.borrow().clone();
            *ipam = Some(Ipam::open(self.layout.addresses(), ranges).map_err(|error| error.to_string())?);
        }
        match ipam.as_mut() {
            Some(ipam) => ipam.release(pod_uid).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    fn host_ports(&self, pod_uid: &str, ports: Vec<HostPort>) {
        let mut all = self.host_ports.lock();
        let before = if ports.is_empty() { all.remove(pod_uid) } else { all.insert(pod_uid.to_owned(), ports.clone()) };
        if before.unwrap_or_default() != ports {
            self.changed.notify_one();
        }
    }

    fn object_changed(&self, name: &Name) {
        if self.objects.users(name).iter().any(|user| user == ingress::USER) {
            self.changed.notify_one();
        }
    }

    async fn service_links(&self, namespace: &str, all: bool) -> Vec<ServiceLink> {
        // Without a server pods start all the same, with the services that were known last; only
        // the first one waits for it.
        let patience = if self.server_is_away.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        let synced = tokio::time::timeout(patience, self.view.synced()).await.is_ok();
        self.server_is_away.store(!synced, Ordering::Relaxed);
        if synced {
            return self.view.links(namespace, all);
        }
        let record = read_record::<Record>(&record_path(&self.layout)).unwrap_or_default();
        record.services.iter().filter_map(|service| view::link_of_record(service, namespace, all)).collect()
    }
}

fn record_path(layout: &Layout) -> std::path::PathBuf {
    layout.root.join("network.json")
}

fn peer((name, addresses, pod_cidrs): (String, Vec<IpAddr>, Vec<IpNet>)) -> Peer {
    Peer { name, addresses, pod_cidrs }
}

fn ranges(text: &str) -> Vec<IpNet> {
    text.split(',').filter_map(|range| range.trim().parse().ok()).collect()
}
