// SPDX-License-Identifier: Apache-2.0
//! All controllers started together over one set of caches.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use knarr_client::Client;
use knarr_client::cache::{Cache, Change, ObjectRef, Selection};
use knarr_client::events::Recorder;
use knarr_pki::service_account::Keys;
use kube::api::Api;
use parking_lot::Mutex;

use crate::controller::spawn;
use crate::endpointslice::Unseen;
use crate::garbage::Collector;
use crate::node_lifecycle::NodeView;
use crate::policy_status::PolicyView;
use crate::queue::Queue;
use crate::resources::Resources;
use crate::service_account_tokens::TokenView;
use crate::service_cidrs::RangeView;
use crate::triggers::{
    Later, any, claims_of_gone, classes_of_former, deployment_of_pod, gone, node_of_pod, own, owner, quotas_of_ended,
    service_of_slice, services_of_pod, sets_of_orphan, within,
};
use crate::views::{Handler, PodView, controller_of, follow, lean};
use crate::volume_protection::Protected;
use crate::workload::{Workload, as_set};
use crate::{
    cluster_role_aggregation, deployment, endpoints, endpointslice, namespace, node_ipam, node_lifecycle,
    policy_status, replicaset, resource_quota, service_account, service_account_tokens, service_cidrs,
    volume_protection,
};

/// Spawns workers for a controller that is shared by them.
macro_rules! start {
    ($name:literal, $queue:expr, $workers:literal, $controller:expr) => {{
        let controller = Arc::new($controller);
        spawn($name, $queue, $workers, move |key| {
            let controller = Arc::clone(&controller);
            async move { controller.reconcile(key).await }
        });
    }};
}

/// What the controllers are told.
#[derive(Clone)]
pub struct Config {
    /// The cluster's CA, PEM, for `kube-root-ca.crt`.
    pub ca: String,
    /// The ranges of pod addresses, one a family.
    pub cluster_cidrs: Vec<IpNet>,
    /// Signs the tokens of secrets.
    pub account_keys: Arc<Keys>,
}

/// How a controller gets a client of its own: by the name of its service account in kube-system.
pub type ClientFor<'a> = &'a (dyn Fn(&str) -> Client + Sync);

/// Runs all controllers until it is dropped.
///
/// # Errors
/// When the API's discovery cannot be read.
pub async fn run(client_for: ClientFor<'_>, config: Config) -> kube::Result<()> {
    let shared = client_for("shared-informers");
    let queues = Queues::default();
    let resources = Resources::start(&shared, &queues.definitions).await?;
    let caches = Caches::start(&shared, &queues);
    caches.synced().await;
    workloads(client_for, &caches, &queues);
    services(client_for, &caches, &queues);
    nodes(client_for, &caches, &queues, config.cluster_cidrs.clone());
    service_tokens(client_for, &queues, &config).await;
    service_ranges(client_for, &queues).await;
    namespaces(client_for, &caches, &queues, resources.clone(), config.ca);
    quotas(client_for, &caches, &queues, resources.clone());
    policies(client_for, &queues);
    volumes(client_for, &caches.pods, &queues).await;
    let client = client_for("clusterrole-aggregation-controller");
    let controller = cluster_role_aggregation::Controller { client, roles: caches.roles.clone() };
    start!("clusterrole-aggregation", &queues.roles, 1, controller);
    let client = client_for("generic-garbage-collector");
    let collector = Arc::new(Collector::start(client, resources, &queues.garbage, &queues.quotas).await);
    let definitions = Arc::clone(&collector);
    spawn("definitions", &queues.definitions, 1, move |key| {
        definitions.follow_definition(&key.name);
        std::future::ready(Ok(()))
    });
    spawn("garbage-collector", &queues.garbage, 8, move |key| {
        let collector = Arc::clone(&collector);
        async move { collector.reconcile(key).await }
    });
    std::future::pending().await
}

/// One queue a controller.
#[derive(Default)]
struct Queues {
    deployments: Queue,
    sets: Queue,
    replications: Queue,
    slices: Queue,
    endpoints: Queue,
    lifecycle: Queue,
    ipam: Queue,
    namespaces: Queue,
    accounts: Queue,
    garbage: Queue,
    quotas: Queue,
    roles: Queue,
    tokens: Queue,
    ranges: Queue,
    policies: Queue,
    definitions: Queue,
    claims: Queue,
    volumes: Queue,
    classes: Queue,
}

/// One cache a resource.
struct Caches {
    /// Of `slices`.
    unseen: Unseen,
    pods: Cache<PodView>,
    nodes: Cache<NodeView>,
    leases: Cache<Option<k8s_openapi::jiff::Timestamp>>,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    /// ReplicationControllers, seen as ReplicaSets.
    replications: Cache<ReplicaSet>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    endpoints: Cache<Endpoints>,
    namespaces: Cache<Namespace>,
    accounts: Cache<()>,
    quotas: Cache<ResourceQuota>,
    bundles: Cache<Option<String>>,
    roles: Cache<ClusterRole>,
}

impl Caches {
    fn start(client: &Client, queues: &Queues) -> Self {
        let services_seen = Later::<Service>::default();
        let services =
            follow(client, lean::<Service>, vec![own(&queues.slices), own(&queues.endpoints), within(&queues.quotas)]);
        let _ = services_seen.set(services.clone());
        let (sets_seen, replications_seen): (Later<ReplicaSet>, Later<ReplicaSet>) = Default::default();
        let pods = follow(
            client,
            PodView::of,
            vec![
                owner("ReplicaSet", &queues.sets, |p: &PodView| p.controller.clone()),
                owner("ReplicationController", &queues.replications, |p: &PodView| p.controller.clone()),
                sets_of_orphan(Arc::clone(&sets_seen), &queues.sets),
                sets_of_orphan(Arc::clone(&replications_seen), &queues.replications),
                deployment_of_pod(&queues.deployments),
                services_of_pod(Arc::clone(&services_seen), &queues.slices, &queues.endpoints),
                node_of_pod(&queues.lifecycle),
                quotas_of_ended(&queues.quotas),
                claims_of_gone(&queues.claims),
            ],
        );
        let deployment_of_set =
            owner("Deployment", &queues.deployments, |s: &ReplicaSet| controller_of(&s.metadata).cloned());
        let sets = follow(client, lean::<ReplicaSet>, vec![own(&queues.sets), deployment_of_set]);
        let _ = sets_seen.set(sets.clone());
        let replications = follow(client, as_set, vec![own(&queues.replications)]);
        let _ = replications_seen.set(replications.clone());
        let unseen = Unseen::default();
        Self {
            unseen: unseen.clone(),
            pods,
            sets,
            replications,
            nodes: follow::<Node, _>(client, NodeView::of, vec![own(&queues.lifecycle), own(&queues.ipam)]),
            leases: leases(client, &queues.lifecycle),
            deployments: follow(client, lean::<Deployment>, vec![own(&queues.deployments)]),
            services,
            slices: follow(client, lean::<EndpointSlice>, vec![service_of_slice(&unseen, &queues.slices)]),
            endpoints: follow(client, lean::<Endpoints>, vec![gone(&queues.endpoints)]),
            namespaces: follow(client, lean::<Namespace>, vec![own(&queues.namespaces), own(&queues.accounts)]),
            accounts: named(client, service_account::DEFAULT, |_: &ServiceAccount| (), &queues.accounts),
            quotas: follow(client, lean::<ResourceQuota>, vec![within(&queues.quotas)]),
            bundles: named(client, service_account::ROOT_CA, service_account::bundle, &queues.accounts),
            roles: follow(client, lean::<ClusterRole>, vec![any(&queues.roles)]),
        }
    }

    async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        self.leases.synced().await;
        self.deployments.synced().await;
        self.sets.synced().await;
        self.replications.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
        self.endpoints.synced().await;
        self.namespaces.synced().await;
        self.accounts.synced().await;
        self.quotas.synced().await;
        self.bundles.synced().await;
        self.roles.synced().await;
    }
}

/// The heartbeats of nodes.
fn leases(client: &Client, queue: &Queue) -> Cache<Option<k8s_openapi::jiff::Timestamp>> {
    let api = Api::<Lease>::namespaced(client.clone(), knarr_types::labels::NAMESPACE_NODE_LEASE);
    let queue = queue.clone();
    let tell = move |change: &Change<_>| queue.add(ObjectRef::new("", change.object.name.clone()));
    Cache::start(api, Selection::default(), node_lifecycle::renewed, tell)
}

/// The objects of this name in all namespaces; their namespace is what changes.
fn named<K, P>(client: &Client, name: &str, project: fn(&K) -> P, queue: &Queue) -> Cache<P>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
    P: Send + Sync + 'static,
{
    let queue = queue.clone();
    let selection = Selection { fields: format!("metadata.name={name}"), ..Selection::default() };
    let tell = move |change: &Change<P>| queue.add(ObjectRef::new("", change.object.namespace.clone()));
    Cache::start(Api::<K>::all(client.clone()), selection, project, tell)
}

// === the controllers ===

fn workloads(client_for: ClientFor<'_>, caches: &Caches, queues: &Queues) {
    let client = client_for("deployment-controller");
    let controller = deployment::Controller {
        recorder: Arc::new(Recorder::new(client.clone(), "deployment-controller", "")),
        client,
        deployments: caches.deployments.clone(),
        sets: caches.sets.clone(),
        pods: caches.pods.clone(),
        queue: queues.deployments.clone(),
    };
    start!("deployment", &queues.deployments, 4, controller);
    let replicas = |name: &'static str, workload, sets: &Cache<ReplicaSet>, queue: &Queue| {
        let client = client_for(name);
        replicaset::Controller {
            workload,
            recorder: Arc::new(Recorder::new(client.clone(), name, "")),
            client,
            sets: sets.clone(),
            pods: caches.pods.clone(),
            queue: queue.clone(),
            pending: Mutex::default(),
        }
    };
    let controller = replicas("replicaset-controller", Workload::ReplicaSet, &caches.sets, &queues.sets);
    start!("replicaset", &queues.sets, 4, controller);
    let (sets, queue) = (&caches.replications, &queues.replications);
    let controller = replicas("replication-controller", Workload::ReplicationController, sets, queue);
    start!("replicationcontroller", queue, 2, controller);
}

fn services(client_for: ClientFor<'_>, caches: &Caches, queues: &Queues) {
    let controller = endpointslice::Controller {
        unseen: caches.unseen.clone(),
        client: client_for("endpointslice-controller"),
        services: caches.services.clone(),
        slices: caches.slices.clone(),
        pods: caches.pods.clone(),
    };
    start!("endpointslice", &queues.slices, 4, controller);
    let controller = endpoints::Controller {
        client: client_for("endpoint-controller"),
        services: caches.services.clone(),
        endpoints: caches.endpoints.clone(),
        pods: caches.pods.clone(),
    };
    // What was left by Services that went while nobody looked; later ones may be made by hand.
    caches.endpoints.list().into_iter().for_each(|(key, _)| queues.endpoints.add(key));
    start!("endpoints", &queues.endpoints, 4, controller);
}

fn nodes(client_for: ClientFor<'_>, caches: &Caches, queues: &Queues, ranges: Vec<IpNet>) {
    let controller = node_lifecycle::Controller::new(
        client_for("node-controller"),
        caches.nodes.clone(),
        caches.leases.clone(),
        caches.pods.clone(),
        queues.lifecycle.clone(),
    );
    start!("node-lifecycle", &queues.lifecycle, 2, controller);
    let controller = node_ipam::Controller {
        client: client_for("node-controller"),
        nodes: caches.nodes.clone(),
        ranges,
        given: Arc::default(),
    };
    start!("node-ipam", &queues.ipam, 1, controller);
}

fn namespaces(client_for: ClientFor<'_>, caches: &Caches, queues: &Queues, resources: Resources, ca: String) {
    let controller = namespace::Controller {
        client: client_for("namespace-controller"),
        namespaces: caches.namespaces.clone(),
        resources,
        queue: queues.namespaces.clone(),
    };
    start!("namespace", &queues.namespaces, 4, controller);
    let controller = service_account::Controller {
        client: client_for("service-account-controller"),
        publisher: client_for("root-ca-cert-publisher"),
        namespaces: caches.namespaces.clone(),
        accounts: caches.accounts.clone(),
        bundles: caches.bundles.clone(),
        ca,
    };
    start!("service-account", &queues.accounts, 2, controller);
}

/// What follows secrets and accounts is of the control plane itself, as upstream's.
async fn service_tokens(client_for: ClientFor<'_>, queues: &Queues, config: &Config) {
    let client = client_for("tokens-controller");
    let selection = Selection { fields: format!("type={}", service_account_tokens::TYPE), ..Selection::default() };
    let (ca, queue) = (config.ca.clone(), queues.tokens.clone());
    let secrets = Cache::start(
        Api::<Secret>::all(client.clone()),
        selection,
        move |secret: &Secret| TokenView::of(secret, &ca),
        move |change: &Change<TokenView>| queue.add(change.object.clone()),
    );
    let (seen, queue) = (secrets.clone(), queues.tokens.clone());
    let tell = move |change: &Change<String>| {
        // Only an account that went, or came again, changes what its secrets are.
        if change.before == change.after {
            return;
        }
        for (key, secret) in seen.list_namespace(&change.object.namespace) {
            if secret.account == change.object.name {
                queue.add(key);
            }
        }
    };
    let uid = |account: &ServiceAccount| account.metadata.uid.clone().unwrap_or_default();
    let accounts = Cache::start(Api::<ServiceAccount>::all(client.clone()), Selection::default(), uid, tell);
    secrets.synced().await;
    accounts.synced().await;
    let keys = Arc::clone(&config.account_keys);
    let controller = service_account_tokens::Controller { client, secrets, accounts, keys, ca: config.ca.clone() };
    start!("service-account-tokens", &queues.tokens, 2, controller);
}

async fn service_ranges(client_for: ClientFor<'_>, queues: &Queues) {
    let client = client_for("service-cidrs-controller");
    let ranges_seen = Later::<RangeView>::default();
    let going = |seen: &Later<RangeView>, queue: &Queue| {
        let all = seen.get().into_iter().flat_map(Cache::list);
        all.filter(|(_, range)| range.is_going()).for_each(|(key, _)| queue.add(key));
    };
    let (seen, queue) = (Arc::clone(&ranges_seen), queues.ranges.clone());
    let others: Handler<RangeView> = Box::new(move |_| going(&seen, &queue));
    let ranges = follow::<ServiceCIDR, _>(&client, RangeView::of, vec![own(&queues.ranges), others]);
    let _ = ranges_seen.set(ranges.clone());
    let (seen, queue) = (ranges_seen, queues.ranges.clone());
    let freed: Handler<Option<IpAddr>> = Box::new(move |change| {
        if change.after.is_none() {
            going(&seen, &queue);
        }
    });
    let addresses = follow::<IPAddress, _>(&client, service_cidrs::address_of, vec![freed]);
    ranges.synced().await;
    addresses.synced().await;
    let controller = service_cidrs::Controller { client, ranges, addresses, queue: queues.ranges.clone() };
    start!("service-cidrs", &queues.ranges, 1, controller);
}

fn quotas(client_for: ClientFor<'_>, caches: &Caches, queues: &Queues, resources: Resources) {
    let controller = resource_quota::Controller {
        client: client_for("resourcequota-controller"),
        quotas: caches.quotas.clone(),
        resources,
    };
    start!("resource-quota", &queues.quotas, 2, controller);
}

fn policies(client_for: ClientFor<'_>, queues: &Queues) {
    let client = client_for("validatingadmissionpolicy-status-controller");
    let policies = follow::<ValidatingAdmissionPolicy, _>(&client, PolicyView::of, vec![own(&queues.policies)]);
    start!("validatingadmissionpolicy-status", &queues.policies, 1, policy_status::Controller { client, policies });
}

async fn volumes(client_for: ClientFor<'_>, pods: &Cache<PodView>, queues: &Queues) {
    let client = client_for("pvc-protection-controller");
    let former = || classes_of_former(&queues.classes);
    let claims = follow::<PersistentVolumeClaim, _>(&client, Protected::claim, vec![own(&queues.claims), former()]);
    claims.synced().await;
    let controller = volume_protection::Claims { client, claims: claims.clone(), pods: pods.clone() };
    start!("pvc-protection", &queues.claims, 1, controller);
    let client = client_for("pv-protection-controller");
    let volumes = follow::<PersistentVolume, _>(&client, Protected::volume, vec![own(&queues.volumes), former()]);
    volumes.synced().await;
    let controller = volume_protection::Volumes { client, volumes: volumes.clone() };
    start!("pv-protection", &queues.volumes, 1, controller);
    let client = client_for("volumeattributesclass-protection-controller");
    let classes = follow::<VolumeAttributesClass, _>(&client, Protected::class, vec![own(&queues.classes)]);
    let controller = volume_protection::Classes { client, classes, claims, volumes };
    start!("volumeattributesclass-protection", &queues.classes, 1, controller);
}
