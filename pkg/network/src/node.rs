// SPDX-License-Identifier: Apache-2.0

//! The node's own part: forwarding, the route for the service range, routes to other nodes' pods.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use crate::netlink::{Netlink, Route, RouteKind};
use crate::{Error, NodeId, sysctl};

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
    sysctl::set("net.ipv4.ip_forward", "1")?;
    if wanted.pod_cidrs.iter().any(|range| range.addr().is_ipv6()) {
        sysctl::set("net.ipv6.conf.all.forwarding", "1")?;
    }
    let host = Netlink::open()?;
    host.up("lo").await?;
    let lo = host.index("lo").await?.unwrap_or(1); // lo is link 1 of every namespace
    let addresses = host.addresses().await?;
    let mut applied = Applied::default();
    for address in &wanted.local_addresses {
        if !addresses.iter().any(|message| of(message) == Some(*address)) {
            host.add_address(lo, *address, Some(&wanted.node.address_label())).await?;
            applied.changes.push(format!("added address {address}"));
        }
    }
    let on_link: Vec<IpNet> = addresses.iter().filter_map(network).collect();
    let (routes, unreachable) = plan(wanted, &on_link, lo);
    applied.unreachable = unreachable;
    let present = host.own_routes(wanted.node.route_metric()).await?;
    for (route, message) in &present {
        // A route to the same destination is replaced below, without a gap.
        if !routes.iter().any(|wanted| wanted.to == route.to) {
            host.delete_route(message.clone()).await?;
            applied.changes.push(format!("removed route {}", route.to));
        }
    }
    for route in routes {
        if !present.iter().any(|(present, _)| same(present, &route)) {
            host.set_route(&route).await?;
            applied.changes.push(format!("added route {} {}", route.to, describe(&route.kind)));
        }
    }
    Ok(applied)
}

/// Takes this node's routes and addresses away; one line a thing.
pub(crate) async fn remove(node: &NodeId) -> Result<Vec<String>, Error> {
    let host = Netlink::open()?;
    let mut removed = Vec::new();
    for (route, message) in host.own_routes(node.route_metric()).await? {
        host.delete_route(message).await?;
        removed.push(format!("route {}", route.to));
    }
    for message in host.addresses().await? {
        let label = AddressAttribute::Label(node.address_label());
        if message.attributes.contains(&label)
            && let Some(address) = of(&message)
        {
            host.delete_address(message).await?;
            removed.push(format!("address {address}"));
        }
    }
    Ok(removed)
}

/// The routes of a node, and the peers that no route can reach. `on_link` are the networks of the host's
/// links, `lo` the index of its loopback.
fn plan(wanted: &NodeNetwork, on_link: &[IpNet], lo: u32) -> (Vec<Route>, Vec<String>) {
    let metric = Some(wanted.node.route_metric());
    let source = |range: &IpNet| same_family(&wanted.addresses, range);
    let mut routes = Vec::new();
    for range in &wanted.service_cidrs {
        // The packet rules see what is sent to a service only after it has found a route. IPv6 takes a route
        // over the loopback for a refusal, so there the range is the host's own.
        let kind = if range.addr().is_ipv4() { RouteKind::Link } else { RouteKind::Local };
        routes.push(Route { to: range.trunc(), kind, link: Some(lo), source: source(range), metric });
    }
    for range in &wanted.pod_cidrs {
        // Pods have routes of their own; the rest of the range is refused rather than sent out and back.
        routes.push(Route { to: range.trunc(), kind: RouteKind::Unreachable, link: None, source: None, metric });
    }
    let mut unreachable = Vec::new();
    for peer in &wanted.peers {
        if peer.addresses.iter().any(|address| wanted.addresses.contains(address)) {
            continue; // in our own network namespace: its pods' routes are there already
        }
        let mut reached = true;
        for range in &peer.pod_cidrs {
            let gateway = peer.addresses.iter().copied().find(|address| {
                range.addr().is_ipv4() == address.is_ipv4() && on_link.iter().any(|n| n.contains(address))
            });
            match gateway {
                Some(gateway) => {
                    let kind = RouteKind::Via { gateway, onlink: false };
                    routes.push(Route { to: range.trunc(), kind, link: None, source: source(range), metric });
                }
                None => reached = false,
            }
        }
        if !reached {
            unreachable.push(peer.name.clone());
        }
    }
    routes.sort();
    routes.dedup_by(|a, b| a.to == b.to);
    (routes, unreachable)
}

fn same_family(addresses: &[IpAddr], range: &IpNet) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| address.is_ipv4() == range.addr().is_ipv4())
}

/// Whether the kernel's route is the wanted one: it adds a link to some and takes sources from others.
fn same(present: &Route, wanted: &Route) -> bool {
    present.to == wanted.to
        && present.kind == wanted.kind
        && (wanted.link.is_none() || present.link == wanted.link)
        && present.source == wanted.source
}

fn describe(kind: &RouteKind) -> String {
    match kind {
        RouteKind::Via { gateway, .. } => format!("via {gateway}"),
        RouteKind::Link | RouteKind::Local => "on this host".to_owned(),
        RouteKind::Unreachable => "unreachable".to_owned(),
    }
}

fn of(message: &AddressMessage) -> Option<IpAddr> {
    // On point-to-point links Address is the far end's; Local is always ours.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn network(message: &AddressMessage) -> Option<IpNet> {
    let network = IpNet::new(of(message)?, message.header.prefix_len).ok()?;
    (!network.addr().is_loopback()).then(|| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    #[test]
    fn peers_on_a_link_get_routes_others_are_named_and_oneself_is_left_out() {
        let peer = |name: &str, address: &str, range: &str| Peer {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            pod_cidrs: vec![range.parse().unwrap()],
        };
        let wanted = NodeNetwork {
            node: NodeId::of("a"),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            pod_cidrs: vec!["10.42.0.0/24".parse().unwrap()],
            service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
            local_addresses: Vec::new(),
            peers: vec![
                peer("b", "192.0.2.2", "10.42.1.0/24"),
                peer("far", "198.51.100.9", "10.42.2.0/24"),
                peer("twin", "192.0.2.1", "10.42.3.0/24"),
            ],
        };
        let (routes, unreachable) = plan(&wanted, &["192.0.2.0/24".parse().unwrap()], 1);
        let routes: Vec<String> =
            routes.iter().map(|route| format!("{} {}", route.to, describe(&route.kind))).collect();
        assert_eq!(routes, ["10.42.0.0/24 unreachable", "10.42.1.0/24 via 192.0.2.2", "10.43.0.0/16 on this host"]);
        assert_eq!(unreachable, ["far"]);
    }
}
