// SPDX-License-Identifier: Apache-2.0

//! Services as packet rules: what the node knows goes in, the one nftables table comes out.

mod conntrack;
pub(crate) mod nft;
mod plan;
mod project;
mod ruleset;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::plan::plan;
pub use self::ruleset::Ruleset;
use crate::{Error, NodeId};

/// Everything that the packet rules of a node depend on. The agent keeps the last one on disk, so that a node
/// that boots without a server has its services again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// All pods' ranges.
    pub cluster_cidrs: Vec<IpNet>,
    /// The ranges of cluster IPs: what no service answers there is refused.
    pub service_cidrs: Vec<IpNet>,
    /// This node's pods' ranges: what they send out of the cluster gets the node's address.
    pub pod_cidrs: Vec<IpNet>,
    /// This node's addresses, main one first.
    pub node_addresses: Vec<IpAddr>,
    /// All services with a cluster IP.
    pub services: Vec<Service>,
    /// hostPorts of this node's pods.
    pub host_ports: Vec<HostPort>,
    /// Cluster addresses that a process of this node answers itself (DNS).
    pub redirects: Vec<Redirect>,
}

/// A transport protocol that services balance. SCTP is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A Service and where its traffic goes; [`Service::project`] makes it of API objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// spec.clusterIPs, without "None".
    pub cluster_ips: Vec<IpAddr>,
    /// spec.externalIPs.
    pub external_ips: Vec<IpAddr>,
    /// status.loadBalancer.ingress[].ip, of mode VIP.
    pub load_balancer_ips: Vec<IpAddr>,
    /// spec.loadBalancerSourceRanges; empty lets everyone in.
    pub source_ranges: Vec<IpNet>,
    /// spec.sessionAffinityConfig.clientIP.timeoutSeconds, where spec.sessionAffinity is ClientIP.
    pub affinity_seconds: Option<u32>,
    /// spec.internalTrafficPolicy is Local.
    pub internal_local: bool,
    /// spec.externalTrafficPolicy is Local.
    pub external_local: bool,
    /// spec.healthCheckNodePort, where spec.externalTrafficPolicy is Local.
    #[serde(default)]
    pub health_check_node_port: Option<u16>,
    /// spec.ports.
    pub ports: Vec<ServicePort>,
}

/// One port of a Service, with its endpoints from all its slices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// spec.ports[].name, possibly empty.
    pub name: String,
    /// spec.ports[].protocol.
    pub protocol: Protocol,
    /// spec.ports[].port.
    pub port: u16,
    /// spec.ports[].nodePort.
    pub node_port: Option<u16>,
    /// Where it goes.
    pub endpoints: Vec<Endpoint>,
}

/// One address behind a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Of the pod, with the target port.
    pub address: SocketAddr,
    /// Of a pod on this node.
    pub local: bool,
    /// Its condition ready.
    pub ready: bool,
    /// Its conditions serving and terminating: takes traffic only while no endpoint is ready.
    pub terminating: bool,
}

/// A hostPort of a pod on this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// hostIP; unset is every address of the node.
    pub host_ip: Option<IpAddr>,
    /// hostPort.
    pub port: u16,
    /// protocol.
    pub protocol: Protocol,
    /// The pod's address and containerPort.
    pub pod: SocketAddr,
}

/// A cluster address that a process of this node answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Redirect {
    /// What pods send to (10.43.0.10:53).
    pub from: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where the process listens, an address of this host.
    pub to: SocketAddr,
}

/// The table in the kernel and what was last applied to it.
#[derive(Debug)]
pub struct ServiceRules {
    node: NodeId,
    applied: Option<Ruleset>,
}

impl ServiceRules {
    /// Knows nothing of the kernel's state: the first apply replaces the whole table, atomically.
    pub fn new(node: NodeId) -> Self {
        Self { node, applied: None }
    }

    /// Brings the kernel to the rules for `snapshot` in one transaction that says only what differs
    /// from the last; true if anything did. After an error the next call replaces the whole table.
    pub async fn apply(&mut self, snapshot: &Snapshot) -> Result<bool, Error> {
        let wanted = plan(&self.node, snapshot);
        let before = self.applied.take();
        let transaction = match &before {
            Some(applied) => wanted.changes_from(applied),
            None => wanted.replacement(),
        };
        if !transaction.is_empty() {
            nft::apply(&self.node.table(), &transaction).await?;
        }
        if before.is_none_or(|before| before.udp_targets != wanted.udp_targets) {
            forget_stale(snapshot.cluster_cidrs.clone(), wanted.udp_targets.clone()).await;
        }
        self.applied = Some(wanted);
        Ok(!transaction.is_empty())
    }
}

/// Clients of UDP endpoints that are gone find others. A kernel that does not let us is no reason to fail:
/// entries end by themselves when a client is silent for half a minute.
async fn forget_stale(pods: Vec<IpNet>, targets: BTreeSet<SocketAddr>) {
    match tokio::task::spawn_blocking(move || conntrack::forget(&pods, &targets)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(count)) => tracing::debug!(count, "forgot UDP connections to endpoints that are gone"),
        Ok(Err(error)) => tracing::warn!(%error, "cannot forget UDP connections to endpoints that are gone"),
        Err(error) => tracing::warn!(%error, "forgetting UDP connections"),
    }
}
