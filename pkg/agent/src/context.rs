// SPDX-License-Identifier: Apache-2.0
//! What the tasks of all pods share: the ways to the API, the runtime, images and network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_client::events::Severity;
use knarr_image::{Image, PullOptions};
use knarr_network::services::HostPort;
use knarr_runtime::{ContainerId, PodRuntime, PodUid};
use kube::Client;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dns::Resolver;
use crate::env::ServiceLink;
use crate::events::{EventQueue, QueuedEvent};
use crate::join::Cluster;
use crate::layout::Layout;
use crate::objects::{Name, Objects};
use crate::pod::{Memory, Role, any_container};
use crate::volumes::Mounted;
use crate::worker::Mail;

/// Where images come from.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// The image, pulled by the options' policy.
    async fn ensure(&self, name: &str, options: PullOptions) -> knarr_image::Result<Image>;
}

/// A pod's network as its sandbox needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNetwork {
    /// The namespace to join; `None` is the host's.
    pub netns: Option<PathBuf>,
    /// status.podIPs.
    pub addresses: Vec<IpAddr>,
}

/// Who gives pods their network.
#[async_trait]
pub trait PodNetworks: Send + Sync {
    /// Makes the pod's network; idempotent.
    async fn set_up(&self, pod_uid: &str, sysctls: &[(String, String)]) -> Result<PodNetwork, String>;
    /// Takes it away; idempotent.
    async fn tear_down(&self, pod_uid: &str) -> Result<(), String>;

    /// The same, but the pod keeps its addresses: it comes back at them.
    async fn disconnect(&self, pod_uid: &str) -> Result<(), String>;
    /// Tells which ports of the host lead to the pod, in place of what was told of it before.
    fn host_ports(&self, pod_uid: &str, ports: Vec<HostPort>);
    /// A ConfigMap or Secret has changed that may be the network's.
    fn object_changed(&self, name: &Name);
    /// The services that a pod of the namespace is told of in its environment.
    async fn service_links(&self, namespace: &str, all: bool) -> Vec<ServiceLink>;
}

/// Giving out what the node has.
#[derive(Debug, Default)]
pub struct Allocation {
    /// Held while a pod that asks for more is given it.
    pub turn: Mutex<()>,
    /// Told when a pod has given some back.
    pub freed: tokio::sync::watch::Sender<()>,
}

/// Shared by the tasks of all pods.
pub struct Context {
    /// The data dir.
    pub layout: Layout,
    /// The node's name.
    pub node_name: String,
    /// The API.
    pub client: Client,
    /// Events on their way to the API.
    pub events: EventQueue,
    /// Runs containers.
    pub runtime: Arc<dyn PodRuntime>,
    /// Images.
    pub images: Arc<dyn ImageSource>,
    /// Mirrors and credentials of registries.
    pub registries: Arc<knarr_image::Registries>,
    /// Pod networks.
    pub network: Arc<dyn PodNetworks>,
    /// ConfigMaps and Secrets.
    pub objects: Arc<Objects>,
    /// The cluster's settings.
    pub cluster: Cluster,
    /// The host's resolver configuration.
    pub resolver: Resolver,
    /// The node's addresses.
    pub addresses: Vec<IpAddr>,
    /// What pods may have of the node.
    pub allocatable: BTreeMap<String, Quantity>,
    /// All memory of the host.
    pub memory_bytes: u64,
    /// Everything that runs for pods.
    pub tasks: TaskTracker,
    /// Ends all of it; pods go on.
    pub cancel: CancellationToken,
    /// Who is given of what the node has.
    pub allocation: Allocation,
    /// The pods by namespace and name, for logs and exec.
    pub pods: RwLock<HashMap<(String, String), Arc<PodView>>>,
}

/// One pod as others see it while its task works on it.
pub struct PodView {
    /// metadata.uid.
    pub uid: PodUid,
    /// The object as last seen.
    pub pod: RwLock<Arc<Pod>>,
    /// What the state machine remembers.
    pub memory: Mutex<Memory>,
    /// The volumes that are there.
    pub volumes: Mutex<Mounted>,
    /// Changes with every step of the pod.
    pub changed: tokio::sync::watch::Sender<()>,
    /// The image of each container's next or current run.
    pub images: Mutex<HashMap<String, Image>>,
    /// To its task.
    pub mail: mpsc::UnboundedSender<Mail>,
}

impl PodView {
    /// The object as last seen.
    #[must_use]
    pub fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.pod.read())
    }

    /// The runtime's id of a run of a container.
    #[must_use]
    pub fn container(&self, name: &str, run: u32) -> ContainerId {
        ContainerId::new(self.uid.clone(), name, run)
    }

    /// The runtime's id of a container's latest run; `None` when it was never started.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<ContainerId> {
        let starts = self.memory.lock().containers.get(name)?.starts;
        Some(self.container(name, starts.checked_sub(1)?))
    }
}

impl Context {
    /// The pod of that namespace and name.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<PodView>> {
        self.pods.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Runs a task for a pod, until it ends or all are to end.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            cancel.run_until_cancelled(task).await;
        });
    }

    /// Has an Event written about the node.
    pub fn tell_of_node(&self, severity: Severity, reason: &str, message: &str) {
        self.events.put(QueuedEvent::of_node(&self.node_name, severity, reason, message));
    }

    /// Has an Event written about a pod, or one of its containers.
    pub fn tell(&self, pod: &Pod, container: Option<&str>, severity: Severity, reason: &str, message: &str) {
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: container.map(|name| field_path(pod, name)),
        };
        self.events.put(QueuedEvent { object, severity, reason: reason.to_owned(), message: message.to_owned() });
    }
}

fn field_path(pod: &Pod, container: &str) -> String {
    let list = match any_container(pod, container) {
        Some((Role::App, _)) => "containers",
        Some((Role::Ephemeral, _)) => "ephemeralContainers",
        _ => "initContainers",
    };
    format!("spec.{list}{{{container}}}")
}
