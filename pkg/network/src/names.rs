// SPDX-License-Identifier: Apache-2.0

//! The node's id, and the names and numbers derived from it: links, table, routes, addresses.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Routing protocol number of every route that Knarr adds (`ip route show proto 75`).
pub const ROUTE_PROTOCOL: u8 = 75;

/// What makes everything that a node puts on its host its own: eight hexadecimal digits.
///
/// ```
/// let id = knarr_network::NodeId::of("/var/lib/knarr\0node-1");
/// assert_eq!(id, knarr_network::NodeId::of("/var/lib/knarr\0node-1"));
/// assert_eq!(id.table(), format!("knarr_{id}"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(String);

impl NodeId {
    /// The id of the node that `seed` names: the same seed gives the same id for ever. Callers put in
    /// whatever tells their nodes apart (data dir and node name).
    pub fn of(seed: &str) -> Self {
        Self(format!("{:08x}", fold(hash(seed.as_bytes()))))
    }

    /// The nftables table of this node.
    pub fn table(&self) -> String {
        format!("knarr_{}", self.0)
    }

    /// The host's end of a pod's link: 15 characters, the most that Linux takes.
    pub fn link(&self, pod_uid: &str) -> String {
        format!("{}{:08x}", self.link_prefix(), fold(hash(pod_uid.as_bytes())))
    }

    /// What all links of this node begin with.
    pub fn link_prefix(&self) -> String {
        format!("kn{}-", &self.0[..4])
    }

    /// The hardware address of one end of a pod's link: locally administered, and known before the link is.
    pub(crate) fn mac(&self, pod_uid: &str, pod_end: bool) -> [u8; 6] {
        let digest = hash(format!("{}/{pod_uid}/{pod_end}", self.0).as_bytes()).to_be_bytes();
        [0x02, digest[0], digest[1], digest[2], digest[3], digest[4]]
    }

    /// The label of this node's addresses on the loopback link.
    pub(crate) fn address_label(&self) -> String {
        format!("lo:kn{}", self.0)
    }

    /// The metric of this node's routes: tells them from those of another node in the same namespace.
    pub fn route_metric(&self) -> u32 {
        0x1_0000 + (self.number() & 0xffff)
    }

    /// A link-local address for services of the node itself (DNS): 169.254.64.1 to 169.254.127.254.
    pub fn local_address(&self) -> Ipv4Addr {
        let n = self.number();
        Ipv4Addr::new(169, 254, 64 + ((n >> 8) & 0x3f) as u8, 1 + (n & 0xff) as u8 % 254)
    }

    fn number(&self) -> u32 {
        u32::from_str_radix(&self.0, 16).unwrap_or_default()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// FNV-1a, 64 bits, with murmur's last step so that short names differ in every digit: stable across
/// releases, unlike the standard library's hashers.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut mixed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53_u64] {
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 33)
}

fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_tell_nodes_and_pods_apart() {
        let (a, b) = (NodeId::of("a"), NodeId::of("b"));
        assert_ne!(a.table(), b.table());
        assert_ne!(a.link("pod-1"), a.link("pod-2"));
        assert_ne!(a.link("pod-1"), b.link("pod-1"));
        assert_eq!(a.link("0b0c4f3e-6d3a-4b06-a6a0-2f1b6c1d8e11").len(), 15);
        assert!(a.local_address().is_link_local());
    }
}
