// SPDX-License-Identifier: Apache-2.0
//! Service addresses as objects: each one given out is an IPAddress, out of the ranges of ServiceCIDRs.
//! <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>
//!
//! They are given out and taken back where Services are written; [`repair`] mends what people broke.

pub mod plan;
pub mod repair;

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use knarr_schema::managed_fields::{Manager, OneVersion, track_update};
use knarr_schema::normalize;
use knarr_store::{Draft, Record, Scope};
use knarr_types::tree::json;
use knarr_types::{Key, Object, ResourceId, Status};

use crate::app::App;
use crate::serve_object;

/// The plural of addresses.
pub const ADDRESSES: &str = "ipaddresses";
/// The plural of ranges.
pub const RANGES: &str = "servicecidrs";
/// The group of both.
pub const GROUP: &str = "networking.k8s.io";
/// The label that says who gave an address out, and what it says of ours.
pub const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
/// The label of the family.
pub const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// Who owns the fields of an address that is given out.
const MANAGER: &str = "kube-apiserver";

/// Where an address is kept.
#[must_use]
pub fn key(address: IpAddr) -> Key {
    Key::new(ResourceId::new(GROUP, ADDRESSES), "", &address.to_string())
}

/// `IPv4` or `IPv6`.
#[must_use]
pub const fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

/// Whether an address is given to this Service.
#[must_use]
pub fn is_of(address: &Record, namespace: &str, name: &str) -> bool {
    let object: Object = serde_json::from_slice(&address.json).unwrap_or_default();
    plan::parent(&object) == Some((namespace, name))
}

/// The ranges from which addresses are given out now.
#[must_use]
pub fn ranges(app: &App) -> Vec<IpNet> {
    objects(app, RANGES).iter().filter(|range| plan::is_open(range)).flat_map(plan::cidrs).collect()
}

/// The objects of one of the two kinds.
fn objects(app: &App, resource: &str) -> Vec<Object> {
    let registry = app.registry.load();
    let Some(kind) = registry.by_resource(GROUP, "v1", resource) else { return Vec::new() };
    let snapshot = app.store.snapshot(&kind.storage);
    snapshot.list(&Scope::All, None).map(|record| serve_object::tree(kind, record)).collect()
}

/// The address of a Service, as the store takes it.
///
/// # Errors
/// Where the kind is not served.
pub fn draft(app: &App, address: IpAddr, namespace: &str, name: &str, now: Timestamp) -> Result<Draft, Status> {
    let registry = app.registry.load();
    let kind = registry.by_resource(GROUP, "v1", ADDRESSES);
    let kind = kind.ok_or_else(|| Status::internal("addresses are not served"))?;
    let mut object = plan::object(address, namespace, name);
    object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
    object["metadata"]["creationTimestamp"] = crate::write::seconds(now).into();
    normalize(&mut object, kind.ty.get());
    let api_version = kind.api_version();
    let manager =
        Manager { name: MANAGER, api_version: &api_version, subresource: "", reset: &[], others: &OneVersion };
    track_update(None, &mut object, kind.ty.get(), &manager, now);
    Ok(serve_object::draft(kind, &object))
}

/// The range that a new cluster has, under the name that upstream gives it.
#[must_use]
pub fn default_range(cidrs: &[IpNet]) -> Object {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": cidrs.iter().map(IpNet::trunc).collect::<Vec<_>>()},
    })
}
