// SPDX-License-Identifier: Apache-2.0
//! The ranges of service addresses: open while they are there, and kept while an address that is given out
//! lies in no other.
//! <https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/>

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::jiff::Timestamp;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::controller::{ReconcileError, unless};
use crate::queue::Queue;

/// Keeps a range until no address needs it.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Who owns the conditions.
const MANAGER: &str = "service-cidrs-controller";
/// How long a range that is deleted stays: whoever gives out addresses may not know yet.
const GRACE: Duration = Duration::from_secs(10);
const READY: &str = "Kubernetes Service CIDR is ready";
const IN_USE: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

/// A ServiceCIDR as it is looked at here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeView {
    name: String,
    cidrs: Vec<IpNet>,
    deleted: Option<Timestamp>,
    protected: bool,
    /// The status of its Ready condition.
    ready: Option<bool>,
}

impl RangeView {
    /// What is kept of `range`.
    #[must_use]
    pub fn of(range: &ServiceCIDR) -> Self {
        let meta = &range.metadata;
        let conditions = range.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
        let listed = range.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
        Self {
            name: meta.name.clone().unwrap_or_default(),
            cidrs: listed.into_iter().flatten().filter_map(|cidr| cidr.parse().ok()).collect(),
            deleted: meta.deletion_timestamp.as_ref().map(|at| at.0),
            protected: meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            ready: ready.map(|condition| condition.status == "True"),
        }
    }

    /// Whether it is being deleted.
    #[must_use]
    pub const fn is_going(&self) -> bool {
        self.deleted.is_some()
    }
}

/// The address that an IPAddress is.
#[must_use]
pub fn address_of(address: &IPAddress) -> Option<IpAddr> {
    address.metadata.name.as_ref()?.parse().ok()
}

/// Whether nothing is lost with a range: each of its CIDRs lies in another range, or no address is in it
/// alone. Pure.
#[must_use]
pub fn is_dispensable(range: &RangeView, others: &[RangeView], addresses: &[IpAddr]) -> bool {
    let covered = |cidr: &IpNet| others.iter().flat_map(|other| &other.cidrs).any(|other| other.contains(cidr));
    if range.cidrs.iter().all(covered) {
        return true;
    }
    let elsewhere =
        |address: &IpAddr| others.iter().flat_map(|other| &other.cidrs).any(|other| other.contains(address));
    let inside = addresses.iter().filter(|address| range.cidrs.iter().any(|cidr| cidr.contains(*address)));
    inside.into_iter().all(elsewhere)
}

/// Looks after all ranges.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) ranges: Cache<RangeView>,
    pub(crate) addresses: Cache<Option<IpAddr>>,
    pub(crate) queue: Queue,
}

impl Controller {
    /// Looks after one range.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let Some(range) = self.ranges.get(&key) else { return Ok(()) };
        let api = Api::<ServiceCIDR>::all(self.client.clone());
        let Some(deleted) = range.deleted else {
            if !range.protected {
                let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
                let patched = api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
                unless(patched, &[404])?;
            }
            return if range.ready == Some(true) { Ok(()) } else { tell(&api, &key.name, true).await };
        };
        let others: Vec<RangeView> =
            self.ranges.list().into_iter().filter(|(other, _)| *other != key).map(|(_, r)| (*r).clone()).collect();
        let addresses: Vec<IpAddr> = self.addresses.list().into_iter().filter_map(|(_, address)| *address).collect();
        if !is_dispensable(&range, &others, &addresses) {
            return if range.ready == Some(false) { Ok(()) } else { tell(&api, &key.name, false).await };
        }
        let passed = Duration::try_from(Timestamp::now().duration_since(deleted)).unwrap_or_default();
        if let Some(left) = GRACE.checked_sub(passed).filter(|left| !left.is_zero()) {
            self.queue.add_at(key, Instant::now() + left);
            return Ok(());
        }
        if range.protected {
            let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
            let patched = api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            return unless(patched, &[404]);
        }
        Ok(())
    }
}

/// Says whether addresses are given out of a range.
async fn tell(api: &Api<ServiceCIDR>, name: &str, ready: bool) -> Result<(), ReconcileError> {
    let (status, reason, message) = if ready { ("True", "", READY) } else { ("False", "Terminating", IN_USE) };
    let condition = json!({
        "type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": Timestamp::now(),
    });
    let applied = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "status": {"conditions": [condition]},
    });
    let patched = api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(applied)).await;
    unless(patched, &[404])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidrs: &[&str]) -> RangeView {
        let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        RangeView { name: name.into(), cidrs, ..RangeView::default() }
    }

    #[test]
    fn a_range_goes_when_no_address_needs_it() {
        let going = range("b", &["10.1.0.0/24"]);
        let used: Vec<IpAddr> = vec!["10.1.0.7".parse().unwrap()];
        for (others, addresses, want) in [
            (vec![], vec![], true),
            (vec![], used.clone(), false),
            (vec![range("a", &["10.0.0.0/16"])], used.clone(), false),
            (vec![range("a", &["10.1.0.0/28"])], used.clone(), true),
            (vec![range("a", &["10.1.0.0/16"])], used, true),
            (vec![], vec!["10.2.0.7".parse().unwrap()], true),
        ] {
            assert_eq!(is_dispensable(&going, &others, &addresses), want, "{others:?} {addresses:?}");
        }
    }
}
