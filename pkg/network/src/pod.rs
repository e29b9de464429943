// SPDX-License-Identifier: Apache-2.0

//! A pod's network: its named namespace, its link to the host, its addresses and sysctls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::netlink::{End, Mac, Netlink, Route, RouteKind};
use crate::{Error, NodeId, netns, sysctl};

/// What a pod's network shall be.
#[derive(Clone, Debug)]
pub struct PodRequest<'a> {
    /// The node that the pod runs on.
    pub node: &'a NodeId,
    /// Where namespaces are mounted, one file a pod: a folder of the agent.
    pub run_dir: &'a Path,
    /// metadata.uid.
    pub pod_uid: &'a str,
    /// One address a family, from [`crate::ipam::Ipam`].
    pub addresses: &'a [IpAddr],
    /// The node's addresses: the source of what the host sends to the pod.
    pub host_addresses: &'a [IpAddr],
    /// spec.securityContext.sysctls that are of the network (`net.*`).
    pub sysctls: &'a [(String, String)],
    /// Of both ends of the link; the kernel's default without.
    pub mtu: Option<u32>,
}

/// A pod's network as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNetwork {
    /// The network namespace to join (`linux.namespaces[network].path` of the OCI spec).
    pub netns: PathBuf,
    /// The host's end of the link.
    pub link: String,
    /// status.podIPs.
    pub addresses: Vec<IpAddr>,
}

/// Where a pod's namespace is mounted.
pub fn netns_path(run_dir: &Path, pod_uid: &str) -> PathBuf {
    run_dir.join(pod_uid)
}

/// The router of every pod. No host has this address: its neighbour entry in the pod is permanent.
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
/// The same of IPv6.
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// What container runtimes set by default: any user may ping and bind low ports, in its own namespace.
const POD_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")];

/// Makes the pod's network; idempotent: what exists already and is right stays as it is. A failure
/// leaves what was made: [`tear_down`] or another try deals with it.
pub async fn set_up(request: &PodRequest<'_>) -> Result<PodNetwork, Error> {
    let (node, uid) = (request.node, request.pod_uid);
    if request.addresses.is_empty() {
        return Err(Error::NoAddress(Vec::new()));
    }
    let path = netns_path(request.run_dir, uid);
    let link = node.link(uid);
    let host = Netlink::open()?;
    let mut index = host.index(&link).await?;
    if !netns::exists(&path) {
        netns::create(&path).await?;
        if let Some(stale) = index.take() {
            host.delete_link(&link, stale).await?;
        }
    }
    let index = match index {
        Some(index) => index,
        None => {
            let file = std::fs::File::open(&path).map_err(Error::file("open", &path))?;
            let near = End { name: &link, mac: node.mac(uid, false) };
            let far = End { name: POD_LINK, mac: node.mac(uid, true) };
            host.add_veth(near, far, file.as_raw_fd(), request.mtu).await?;
            host.index(&link).await?.ok_or_else(|| vanished(&link))?
        }
    };
    let addresses = request.addresses.to_vec();
    let sysctls = request.sysctls.to_vec();
    let gateway_mac = node.mac(uid, false);
    netns::within(&path, move || inside(addresses, sysctls, gateway_mac)).await?;
    host_side(&host, request, &link, index).await?;
    Ok(PodNetwork { netns: path, link, addresses: request.addresses.to_vec() })
}

/// Takes the pod's network away; idempotent, true if there was one.
pub async fn tear_down(node: &NodeId, run_dir: &Path, pod_uid: &str) -> Result<bool, Error> {
    let host = Netlink::open()?;
    let link = node.link(pod_uid);
    let had_link = match host.index(&link).await? {
        Some(index) => host.delete_link(&link, index).await?,
        None => false,
    };
    Ok(netns::remove(&netns_path(run_dir, pod_uid))? || had_link)
}

/// The pod's end of its link.
const POD_LINK: &str = "eth0";

async fn inside(addresses: Vec<IpAddr>, sysctls: Vec<(String, String)>, gateway_mac: Mac) -> Result<(), Error> {
    let pod = Netlink::open()?;
    if sysctl::has_ipv6() {
        // An address is the pod's alone by construction: no need to wait for who else might have it.
        for (name, value) in [("accept_dad", "0"), ("accept_ra", "0")] {
            sysctl::set_link("ipv6", POD_LINK, name, value)?;
        }
    }
    for (name, value) in POD_SYSCTLS {
        sysctl::set(name, value)?;
    }
    for (name, value) in &sysctls {
        sysctl::set(name, value)?;
    }
    pod.up("lo").await?;
    pod.up(POD_LINK).await?;
    let index = pod.index(POD_LINK).await?.ok_or_else(|| vanished(POD_LINK))?;
    for address in addresses {
        let (gateway, everything) = match address {
            IpAddr::V4(_) => (GATEWAY_V4, IpNet::from(ipnet::Ipv4Net::default())),
            IpAddr::V6(_) => (GATEWAY_V6, IpNet::from(ipnet::Ipv6Net::default())),
        };
        pod.add_address(index, address, None).await?;
        pod.set_neighbour(index, gateway, gateway_mac).await?;
        let kind = RouteKind::Via { gateway, onlink: true };
        pod.set_route(&Route { to: everything, kind, link: Some(index), source: None, metric: None }).await?;
    }
    Ok(())
}

async fn host_side(host: &Netlink, request: &PodRequest<'_>, link: &str, index: u32) -> Result<(), Error> {
    if request.addresses.iter().any(IpAddr::is_ipv6) {
        sysctl::set_link("ipv6", link, "accept_ra", "0")?;
        sysctl::set_link("ipv6", link, "accept_dad", "0")?;
    }
    let mac = request.node.mac(request.pod_uid, true);
    for address in request.addresses {
        let source = request.host_addresses.iter().copied().find(|host| host.is_ipv4() == address.is_ipv4());
        host.set_neighbour(index, *address, mac).await?;
        let route = Route { to: IpNet::from(*address), kind: RouteKind::Link, link: Some(index), source, metric: None };
        host.set_route(&route).await?;
    }
    Ok(())
}

fn vanished(link: &str) -> Error {
    Error::system(format!("find link {link}"))(std::io::Error::from(std::io::ErrorKind::NotFound))
}
