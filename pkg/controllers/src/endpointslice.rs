// SPDX-License-Identifier: Apache-2.0
//! EndpointSlices: which addresses stand behind a Service.
//! <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use knarr_types::labels::{ENDPOINTSLICE_MANAGED_BY, SERVICE_NAME};
use kube::api::{Api, DeleteParams, PostParams};
use parking_lot::Mutex;

use crate::controller::{ReconcileError, unless};
use crate::views::PodView;

/// How many endpoints a slice holds. Upstream's default.
const MAX_ENDPOINTS: usize = 100;
/// Who keeps these slices.
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// What a slice is for: its address family and its ports as numbers.
type Group = (&'static str, Vec<(Option<String>, String, i32, Option<String>)>);

/// What `service` should have over `pods` (those that its selector fits): one slice for each family and
/// set of ports, of any size and without a name; [`changes`] cuts them.
#[must_use]
pub fn plan(service: &Service, pods: &[Arc<PodView>]) -> Vec<EndpointSlice> {
    let spec = service.spec.clone().unwrap_or_default();
    let families = spec.ip_families.clone().unwrap_or_else(|| vec!["IPv4".into()]);
    let ports = spec.ports.clone().unwrap_or_default();
    let publish_unready = spec.publish_not_ready_addresses == Some(true);
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for family in ["IPv4", "IPv6"] {
        if !families.iter().any(|f| f == family) {
            continue;
        }
        for pod in pods {
            let Some(address) = pod.addresses.iter().find(|a| a.contains(':') == (family == "IPv6")) else { continue };
            if pod.phase == "Succeeded" || pod.phase == "Failed" {
                continue;
            }
            let group = (family, ports.iter().filter_map(|p| resolve(p, pod)).collect());
            groups.entry(group).or_default().push(endpoint(service, pod, address, publish_unready));
        }
        if groups.keys().all(|(f, _)| *f != family) {
            groups.insert((if family == "IPv4" { "IPv4" } else { "IPv6" }, Vec::new()), Vec::new());
        }
    }
    groups.into_iter().map(|(group, endpoints)| slice(service, group, endpoints)).collect()
}

/// The number of a port on this pod: its own, or that of the container port of that name.
fn resolve(port: &ServicePort, pod: &PodView) -> Option<(Option<String>, String, i32, Option<String>)> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(n)) if *n > 0 => *n,
        Some(IntOrString::Int(_)) => port.port,
        Some(IntOrString::String(name)) => {
            pod.ports.iter().find(|(n, p, _)| n == name && *p == protocol).map(|(_, _, number)| *number)?
        }
    };
    Some((Some(port.name.clone().unwrap_or_default()), protocol, number, port.app_protocol.clone()))
}

fn endpoint(service: &Service, pod: &PodView, address: &str, publish_unready: bool) -> Endpoint {
    let serving = pod.ready_since.is_some();
    let namespace = service.metadata.namespace.clone();
    let named_here = pod.subdomain.is_some() && pod.subdomain == service.metadata.name;
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(publish_unready || (serving && !pod.deleting)),
            serving: Some(serving),
            terminating: Some(pod.deleting),
        }),
        hostname: pod.hostname.clone().filter(|_| named_here),
        node_name: (!pod.node.is_empty()).then(|| pod.node.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace,
            name: Some(pod.name.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

fn slice(service: &Service, (family, ports): Group, mut endpoints: Vec<Endpoint>) -> EndpointSlice {
    endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    let port = |(name, protocol, port, app_protocol)| EndpointPort {
        name,
        protocol: Some(protocol),
        port: Some(port),
        app_protocol,
    };
    EndpointSlice {
        metadata: metadata(service),
        address_type: family.to_owned(),
        endpoints: (!endpoints.is_empty()).then_some(endpoints),
        ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
    }
}

fn metadata(service: &Service) -> ObjectMeta {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), name.clone());
    labels.insert(ENDPOINTSLICE_MANAGED_BY.into(), MANAGER.into());
    if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Service".into(),
            name,
            uid: service.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

/// What to write so that the slices that exist become those that are wanted.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// New slices.
    pub create: Vec<EndpointSlice>,
    /// Slices with other content than they have.
    pub update: Vec<EndpointSlice>,
    /// Names of slices that are not needed.
    pub delete: Vec<String>,
}

/// Fits `wanted` onto `existing` so that as few slices as possible change: an endpoint stays in the slice
/// that it is in, a new one goes where there is room.
#[must_use]
pub fn changes(wanted: Vec<EndpointSlice>, existing: &[Arc<EndpointSlice>]) -> Changes {
    let mut free: Vec<_> = existing.iter().filter(|s| s.metadata.deletion_timestamp.is_none()).collect();
    let mut changes = Changes::default();
    // First each group takes what fits it, or one without slices would take those of a later one.
    let mut groups: Vec<_> = wanted
        .into_iter()
        .map(|group| {
            let mine: Vec<_> = free.extract_if(.., |slice| same_group(slice, &group)).collect();
            (group, mine)
        })
        .collect();
    for (group, mine) in groups.iter_mut().filter(|(_, mine)| mine.is_empty()) {
        // A Service whose ports changed keeps its slice under the new ports.
        let place = free.iter().position(|slice| slice.address_type == group.address_type);
        mine.extend(place.map(|place| free.remove(place)));
    }
    for (group, mine) in groups {
        pack(group, &mine, &mut changes);
    }
    changes.delete.extend(free.iter().filter_map(|s| s.metadata.name.clone()));
    changes
}

/// Whether two slices are of one address family and have the same ports.
fn same_group(one: &EndpointSlice, other: &EndpointSlice) -> bool {
    one.address_type == other.address_type
        && one.ports.as_deref().unwrap_or_default() == other.ports.as_deref().unwrap_or_default()
}

/// Spreads the endpoints of one group over the slices that it has, and new ones where those are full.
fn pack(mut group: EndpointSlice, existing: &[&Arc<EndpointSlice>], changes: &mut Changes) {
    let mut left: BTreeMap<Vec<String>, Endpoint> =
        group.endpoints.take().into_iter().flatten().map(|e| (e.addresses.clone(), e)).collect();
    let mut filled: Vec<Vec<Endpoint>> = existing
        .iter()
        .map(|slice| endpoints_of(slice).iter().filter_map(|e| left.remove(&e.addresses)).collect())
        .collect();
    let mut new = left.into_values();
    for endpoints in &mut filled {
        endpoints.extend(new.by_ref().take(MAX_ENDPOINTS.saturating_sub(endpoints.len())));
    }
    let rest: Vec<_> = new.collect();
    let with = |endpoints: Vec<Endpoint>| EndpointSlice {
        endpoints: (!endpoints.is_empty()).then_some(endpoints),
        ..group.clone()
    };
    let used = filled.iter().filter(|e| !e.is_empty()).count();
    for (i, (old, endpoints)) in existing.iter().zip(filled).enumerate() {
        // One empty slice says that there is nothing; a second one says no more.
        if endpoints.is_empty() && (used > 0 || i > 0) {
            changes.delete.extend(old.metadata.name.clone());
            continue;
        }
        let mut slice = with(endpoints);
        let same = endpoints_of(old) == endpoints_of(&slice)
            && old.ports.as_deref().unwrap_or_default() == slice.ports.as_deref().unwrap_or_default()
            && old.metadata.labels == slice.metadata.labels;
        if !same {
            slice.metadata.generate_name = None;
            slice.metadata.name = old.metadata.name.clone();
            slice.metadata.resource_version = old.metadata.resource_version.clone();
            changes.update.push(slice);
        }
    }
    if existing.is_empty() && rest.is_empty() {
        changes.create.push(with(Vec::new()));
    }
    changes.create.extend(rest.chunks(MAX_ENDPOINTS).map(|chunk| with(chunk.to_vec())));
}

/// Whether this controller keeps the slice.
fn is_ours(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref().and_then(|l| l.get(ENDPOINTSLICE_MANAGED_BY)).is_some_and(|m| m == MANAGER)
}

/// Slices that were created and are not in the cache yet, by the name of their Service: until they are, others like them
/// would be created again.
#[derive(Clone, Debug, Default)]
pub struct Unseen(Arc<Mutex<HashMap<ObjectRef, String>>>);

impl Unseen {
    /// A slice is about to be created.
    fn note(&self, slice: ObjectRef, service: &str) {
        self.0.lock().insert(slice, service.to_owned());
    }

    /// The cache knows of the slice, or it will never be there.
    pub fn forget(&self, slice: &ObjectRef) {
        self.0.lock().remove(slice);
    }

    fn concern(&self, service: &ObjectRef) -> bool {
        self.0.lock().iter().any(|(slice, of)| slice.namespace == service.namespace && *of == service.name)
    }
}

/// The slice under a name made here, so that it can be noted before it is there.
fn named(mut slice: EndpointSlice) -> EndpointSlice {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let base: String = slice.metadata.generate_name.iter().flat_map(|base| base.chars()).take(58).collect();
    let end = (0..5).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]));
    slice.metadata.name = Some(base.chars().chain(end).collect());
    slice
}

/// Reconciles the slices of Services.
pub struct Controller {
    pub(crate) unseen: Unseen,
    pub(crate) client: Client,
    pub(crate) services: Cache<Service>,
    pub(crate) slices: Cache<EndpointSlice>,
    pub(crate) pods: Cache<PodView>,
}

impl Controller {
    /// Brings the slices of one Service up to date.
    ///
    /// # Errors
    /// The API's, when a write failed; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        if self.unseen.concern(&key) {
            // The slice comes, and with it the key.
            return Ok(());
        }
        let all = self.slices.list_namespace(&key.namespace).into_iter().map(|(_, slice)| slice);
        let existing: Vec<_> = all.filter(|s| is_ours(s) && service_of(s) == Some(key.name.as_str())).collect();
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.namespace);
        let service = self.services.get(&key).filter(|s| s.metadata.deletion_timestamp.is_none());
        let Some(service) = service else {
            for slice in existing {
                let name = slice.metadata.name.as_deref().unwrap_or_default();
                unless(api.delete(name, &DeleteParams::default()).await, &[404])?;
            }
            return Ok(());
        };
        // Without a selector the slices are somebody else's.
        let Some(pods) = selected(&service, &self.pods, &key.namespace) else { return Ok(()) };
        let changes = changes(plan(&service, &pods), &existing);
        for slice in changes.create {
            let slice = named(slice);
            let noted = ObjectRef::of(&slice);
            self.unseen.note(noted.clone(), &key.name);
            if let Err(error) = api.create(&PostParams::default(), &slice).await {
                self.unseen.forget(&noted);
                return Err(error);
            }
        }
        for slice in &changes.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            api.replace(name, &PostParams::default(), slice).await?;
        }
        for name in &changes.delete {
            unless(api.delete(name, &DeleteParams::default()).await, &[404])?;
        }
        Ok(())
    }
}

/// The endpoints of a slice.
#[must_use]
pub fn endpoints_of(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

/// The Service that a slice says it belongs to.
#[must_use]
pub fn service_of(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get(SERVICE_NAME).map(String::as_str)
}

/// The pods that a Service's selector fits; `None` where it has none, or is another name for something.
#[must_use]
pub fn selected(service: &Service, pods: &Cache<PodView>, namespace: &str) -> Option<Vec<Arc<PodView>>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let selector = spec.selector.as_ref().filter(|s| !s.is_empty())?;
    let fits = |pod: &PodView| selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v));
    Some(pods.list_namespace(namespace).into_iter().map(|(_, pod)| pod).filter(|p| fits(p)).collect())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn service() -> Service {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
        }))
        .unwrap()
    }

    fn pod(name: &str, address: &str, change: impl FnOnce(&mut PodView)) -> Arc<PodView> {
        let mut pod = PodView {
            name: name.into(),
            addresses: vec![address.into()],
            phase: "Running".into(),
            ready_since: Some(Timestamp::UNIX_EPOCH),
            ports: vec![("web".into(), "TCP".into(), 8080)],
            ..PodView::default()
        };
        change(&mut pod);
        Arc::new(pod)
    }

    #[test]
    fn endpoints_follow_the_pods_conditions_and_named_ports() {
        let pods = [
            pod("a", "10.0.0.1", |_| ()),
            pod("b", "10.0.0.2", |p| p.ready_since = None),
            pod("c", "10.0.0.3", |p| p.deleting = true),
            pod("d", "10.0.0.4", |p| p.phase = "Succeeded".into()),
            pod("e", "10.0.0.5", |p| p.addresses.clear()),
            pod("f", "10.0.0.6", |p| p.ports[0].2 = 9090),
        ];
        let slices = plan(&service(), &pods);
        let conditions: Vec<_> = endpoints_of(&slices[0])
            .iter()
            .map(|e| {
                let c = e.conditions.as_ref().unwrap();
                (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())
            })
            .collect();
        assert_eq!(conditions, [(true, true, false), (false, false, false), (false, true, true)]);
        let ports: Vec<_> = slices.iter().map(|s| s.ports.as_ref().unwrap()[0].port.unwrap()).collect();
        assert_eq!(ports, [8080, 9090]);
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice() {
        let slices = plan(&service(), &[]);
        assert_eq!((slices.len(), endpoints_of(&slices[0]).len()), (1, 0));
    }

    #[test]
    fn many_endpoints_fill_several_slices_and_only_what_differs_is_written() {
        let pods: Vec<_> = (0..150).map(|i| pod(&i.to_string(), &format!("10.0.1.{i}"), |_| ())).collect();
        let made = changes(plan(&service(), &pods), &[]).create;
        assert_eq!(made.iter().map(|s| endpoints_of(s).len()).collect::<Vec<_>>(), [100, 50]);
        let existing: Vec<_> = made
            .into_iter()
            .enumerate()
            .map(|(i, mut s)| {
                s.metadata.name = Some(format!("web-{i}"));
                Arc::new(s)
            })
            .collect();
        assert_eq!(changes(plan(&service(), &pods), &existing), Changes::default());
        let fewer = changes(plan(&service(), &pods[..149]), &existing);
        assert_eq!((fewer.create.len(), fewer.update.len(), fewer.delete.len()), (0, 1, 0));
        let none = changes(plan(&service(), &[]), &existing);
        assert_eq!((none.create.len(), none.update.len(), none.delete.len()), (0, 1, 1));
    }

    #[test]
    fn groups_without_slices_leave_those_of_others_alone() {
        let pods = [pod("a", "10.0.0.1", |_| ()), pod("b", "10.0.0.2", |p| p.ports[0].2 = 9090)];
        let wanted = plan(&service(), &pods);
        let existing = |i: usize, port: i32| {
            let mut slice = wanted[i].clone();
            slice.metadata.name = Some(format!("web-{port}"));
            slice.ports.as_mut().unwrap()[0].port = Some(port);
            Arc::new(slice)
        };
        // The first group's slice was deleted: it is made again.
        let again = changes(wanted.clone(), &[existing(1, 9090)]);
        assert_eq!((again.create.as_slice(), again.update.len(), again.delete.len()), (&wanted[..1], 0, 0));
        // One of ports that nobody has any more is taken over.
        let taken = changes(wanted.clone(), &[existing(0, 7070), existing(1, 9090)]);
        assert_eq!((taken.create.len(), taken.update.len(), taken.delete.len()), (0, 1, 0));
        assert_eq!(
            (taken.update[0].metadata.name.as_deref(), &taken.update[0].ports),
            (Some("web-7070"), &wanted[0].ports)
        );
    }

    #[test]
    fn what_was_created_is_waited_for() {
        let slice = named(plan(&service(), &[]).remove(0));
        let name = slice.metadata.name.clone().unwrap();
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        let (unseen, key, slice) = (Unseen::default(), ObjectRef::new("n", "web"), ObjectRef::of(&slice));
        unseen.note(slice.clone(), "web");
        assert!(unseen.concern(&key) && !unseen.concern(&ObjectRef::new("n", "other")));
        unseen.forget(&slice);
        assert!(!unseen.concern(&key));
    }
}
