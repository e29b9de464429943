// SPDX-License-Identifier: Apache-2.0
//! Each node's part of the cluster's addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use kube::api::{Api, Patch, PatchParams};
use tokio::sync::Mutex;

use crate::controller::{ReconcileError, unless};
use crate::node_lifecycle::NodeView;

/// The prefix of a node's range: a /24 of IPv4, a /64 of IPv6.
const fn node_prefix(range: &IpNet) -> u8 {
    match range {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 64,
    }
}

/// The first part of `range` that is not in `taken`; `None` when all are.
#[must_use]
pub fn next_free(range: &IpNet, taken: &BTreeSet<IpNet>) -> Option<IpNet> {
    let prefix = node_prefix(range).max(range.prefix_len());
    let width: u32 = if range.addr().is_ipv4() { 32 } else { 128 };
    let count = 1_u128 << u32::from(prefix - range.prefix_len()).min(32);
    let step = 1_u128 << (width - u32::from(prefix));
    let first = match range.network() {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    };
    (0..count).find_map(|i| {
        let at = first + i * step;
        let address = match range {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(at).ok()?)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(at)),
        };
        let part = IpNet::new(address, prefix).ok()?;
        (!taken.contains(&part)).then_some(part)
    })
}

/// The ranges of nodes by their uid.
type Given = BTreeMap<String, Vec<IpNet>>;

/// Gives nodes their `podCIDR`.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) nodes: Cache<NodeView>,
    pub(crate) ranges: Vec<IpNet>,
    /// What was given out, by the uid of the node, and does not show in the cache yet. One node at a time.
    pub(crate) given: Arc<Mutex<Given>>,
}

impl Controller {
    /// Gives the node its ranges if it has none.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let mut given = self.given.lock().await;
        let nodes = self.nodes.list();
        // What shows in the cache, or belonged to a node that is gone, need not be remembered.
        given.retain(|uid, _| nodes.iter().any(|(_, node)| node.uid == *uid && node.pod_cidrs.is_empty()));
        let waits = |node: &Arc<NodeView>| node.pod_cidrs.is_empty() && !given.contains_key(&node.uid);
        let Some(node) = self.nodes.get(&key).filter(waits) else { return Ok(()) };
        let shown = nodes.iter().flat_map(|(_, node)| &node.pod_cidrs);
        let taken: BTreeSet<IpNet> = shown.chain(given.values().flatten()).copied().collect();
        let ranges: Option<Vec<_>> = self.ranges.iter().map(|range| next_free(range, &taken)).collect();
        let Some(ranges) = ranges else {
            tracing::error!(node = %key, "the cluster's address range is used up; give --cluster-cidr a larger one");
            return Ok(());
        };
        let texts: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        let patch = serde_json::json!({
            "metadata": {"uid": node.uid}, "spec": {"podCIDR": texts.first(), "podCIDRs": texts},
        });
        let api = Api::<Node>::all(self.client.clone());
        match api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => drop(given.insert(node.uid.clone(), ranges)),
            other => unless(other, &[404, 409])?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_given_in_order_until_none_is_left() {
        let range: IpNet = "10.42.0.0/22".parse().unwrap();
        let mut taken = BTreeSet::new();
        let mut got = Vec::new();
        while let Some(part) = next_free(&range, &taken) {
            taken.insert(part);
            got.push(part.to_string());
        }
        assert_eq!(got, ["10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"]);
        let six: IpNet = "fd00:42::/56".parse().unwrap();
        assert_eq!(next_free(&six, &BTreeSet::new()).unwrap().to_string(), "fd00:42::/64");
        assert_eq!(next_free(&"10.0.0.0/26".parse().unwrap(), &BTreeSet::new()).unwrap().to_string(), "10.0.0.0/26");
    }
}
