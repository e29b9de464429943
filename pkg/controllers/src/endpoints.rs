// SPDX-License-Identifier: Apache-2.0
//! Endpoints: the older form of EndpointSlices, which many clients still read.
//! <https://kubernetes.io/docs/concepts/services-networking/service/#endpoints>

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use kube::api::{Api, DeleteParams, PostParams};

use crate::controller::{ReconcileError, unless};
use crate::endpointslice::{endpoints_of, selected};
use crate::views::PodView;

/// How many addresses an Endpoints object holds; more are left out, and it says so.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#over-capacity-endpoints>
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

type Ports = Vec<(String, String, i32)>;

/// The subsets that say the same as `slices` (those of one Service).
#[must_use]
pub fn plan(slices: &[EndpointSlice]) -> (Vec<EndpointSubset>, bool) {
    let mut subsets: BTreeMap<Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let mut count = 0;
    for slice in slices.iter().filter(|s| s.address_type == "IPv4" || s.address_type == "IPv6") {
        let ports: Ports = slice
            .ports
            .iter()
            .flatten()
            .map(|p| {
                let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
                (p.name.clone().unwrap_or_default(), protocol, p.port.unwrap_or_default())
            })
            .collect();
        for endpoint in endpoints_of(slice) {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.terminating == Some(true) && conditions.ready != Some(true) {
                continue;
            }
            count += 1;
            if count > CAPACITY {
                break;
            }
            let address = EndpointAddress {
                ip: endpoint.addresses.first().cloned().unwrap_or_default(),
                hostname: endpoint.hostname.clone(),
                node_name: endpoint.node_name.clone(),
                target_ref: endpoint.target_ref.clone().map(|r| ObjectReference { api_version: None, ..r }),
            };
            let (ready, unready) = subsets.entry(ports.clone()).or_default();
            if conditions.ready == Some(true) { ready.push(address) } else { unready.push(address) }
        }
    }
    let some = |mut v: Vec<EndpointAddress>| {
        v.sort_by(|a, b| a.ip.cmp(&b.ip));
        (!v.is_empty()).then_some(v)
    };
    let subset = |(ports, (ready, unready)): (Ports, _)| EndpointSubset {
        addresses: some(ready),
        not_ready_addresses: some(unready),
        ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
    };
    (subsets.into_iter().map(subset).collect(), count > CAPACITY)
}

fn port((name, protocol, port): (String, String, i32)) -> EndpointPort {
    EndpointPort { name: (!name.is_empty()).then_some(name), port, protocol: Some(protocol), app_protocol: None }
}

/// Reconciles the Endpoints of Services.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) services: Cache<Service>,
    pub(crate) endpoints: Cache<Endpoints>,
    pub(crate) pods: Cache<PodView>,
}

impl Controller {
    /// Brings the Endpoints of one Service up to date.
    ///
    /// # Errors
    /// The API's, when a write failed; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let api = Api::<Endpoints>::namespaced(self.client.clone(), &key.namespace);
        let existing = self.endpoints.get(&key);
        let Some(service) = self.services.get(&key).filter(|s| s.metadata.deletion_timestamp.is_none()) else {
            if existing.is_some() {
                unless(api.delete(&key.name, &DeleteParams::default()).await, &[404])?;
            }
            return Ok(());
        };
        let Some(pods) = selected(&service, &self.pods, &key.namespace) else { return Ok(()) };
        let (subsets, over) = plan(&crate::endpointslice::plan(&service, &pods));
        let wanted = object(&service, existing.as_deref(), subsets, over);
        match existing {
            None => api.create(&PostParams::default(), &wanted).await.map(drop),
            Some(old) if is_same(&old, &wanted) => Ok(()),
            Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await.map(drop),
        }
    }
}

fn object(service: &Service, old: Option<&Endpoints>, subsets: Vec<EndpointSubset>, over: bool) -> Endpoints {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let old = old.map(|o| o.metadata.clone()).unwrap_or_default();
    let mut annotations = old.annotations.unwrap_or_default();
    if over {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            resource_version: old.resource_version,
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

fn is_same(old: &Endpoints, new: &Endpoints) -> bool {
    old.subsets.as_deref().unwrap_or_default() == new.subsets.as_deref().unwrap_or_default()
        && old.metadata.labels == new.metadata.labels
        && old.metadata.annotations.clone().unwrap_or_default() == new.metadata.annotations.clone().unwrap_or_default()
}

/// The keys of the Services that a pod with these labels may stand behind.
pub(crate) fn services_for(
    services: &Cache<Service>,
    namespace: &str,
    pods: &[Option<&Arc<PodView>>],
) -> Vec<ObjectRef> {
    let fits = |service: &Service| {
        let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
        selector.is_some_and(|s| pods.iter().flatten().any(|p| s.iter().all(|(k, v)| p.labels.get(k) == Some(v))))
    };
    services.list_namespace(namespace).into_iter().filter(|(_, s)| fits(s)).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_and_unready_addresses_are_told_apart() {
        let slice = |endpoints: serde_json::Value| -> EndpointSlice {
            serde_json::from_value(serde_json::json!({
                "metadata": {}, "addressType": "IPv4", "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
                "endpoints": endpoints,
            }))
            .unwrap()
        };
        let endpoint = |ip: &str, ready: bool, terminating: bool| serde_json::json!({"addresses": [ip], "conditions": {"ready": ready, "terminating": terminating}});
        let slices = [slice(serde_json::json!([
            endpoint("10.0.0.2", true, false),
            endpoint("10.0.0.1", true, false),
            endpoint("10.0.0.3", false, false),
            endpoint("10.0.0.4", false, true),
        ]))];
        let (subsets, over) = plan(&slices);
        let ips = |v: &Option<Vec<EndpointAddress>>| v.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>();
        assert_eq!(ips(&subsets[0].addresses), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(ips(&subsets[0].not_ready_addresses), ["10.0.0.3"]);
        assert!(!over);
        assert_eq!(subsets[0].ports.as_ref().unwrap()[0].name, None);
    }
}
