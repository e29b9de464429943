// SPDX-License-Identifier: Apache-2.0
//! The Node object and its lease: registered once, written on change and every five minutes, the
//! lease every ten seconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, Taint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use knarr_client::events::Severity;
use knarr_pki::node_password;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::Notify;

use crate::AgentError;
use crate::events::{EventQueue, QueuedEvent};
use crate::layout::Layout;
use crate::machine::{self, Figures};
use crate::pod::Moment;

/// How often the lease is renewed, a quarter of how long it holds.
const LEASE_EVERY: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
/// How often the status is written though nothing has changed.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// The most images that a Node's status lists.
const IMAGES_MAX: usize = 50;

/// What the node says about itself.
pub struct NodeReporter {
    /// The API.
    pub client: Client,
    /// metadata.name.
    pub name: String,
    /// Its addresses, the main one first.
    pub addresses: Vec<IpAddr>,
    /// Labels beyond the well-known ones.
    pub labels: Vec<(String, String)>,
    /// Taints to begin with.
    pub taints: Vec<Taint>,
    /// How many pods it takes.
    pub max_pods: u32,
    /// Its data dir.
    pub layout: Layout,
    /// Names and sizes of the images here.
    pub images: Arc<dyn Fn() -> Vec<ContainerImage> + Send + Sync>,
    /// Whether pods can be given a network; `Err` says why not.
    pub network: tokio::sync::watch::Receiver<Result<(), String>>,
    /// Rung when the status may have changed.
    pub changed: Arc<Notify>,
    /// What happens to it.
    pub events: EventQueue,
    /// What keeps its name with this machine.
    pub password: String,
}

/// Parses `key=value:Effect` or `key:Effect`.
///
/// # Errors
/// When it is neither.
pub fn parse_taint(text: &str) -> Result<Taint, AgentError> {
    let bad = || AgentError::Setting {
        setting: "--node-taint",
        message: format!("{text:?} is not KEY=VALUE:EFFECT with NoSchedule, PreferNoSchedule or NoExecute"),
    };
    let (pair, effect) = text.rsplit_once(':').ok_or_else(bad)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) || pair.is_empty() {
        return Err(bad());
    }
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let value = Some(value.to_owned()).filter(|value| !value.is_empty());
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

impl NodeReporter {
    /// Registers the node, then keeps its status and lease until dropped.
    pub async fn run(mut self) {
        let uid = self.register().await;
        tracing::info!(node = %self.name, "the node is registered");
        self.tell(Severity::Normal, "Starting", "Starting kubelet.");
        tokio::join!(renew_lease(self.client.clone(), self.name.clone(), uid), self.keep_status());
    }

    /// Makes the Node, or takes over the one that is there; tries until it works.
    async fn register(&self) -> String {
        let api = Api::<Node>::all(self.client.clone());
        let mut pause = Duration::from_millis(200);
        loop {
            match self.try_register(&api).await {
                Ok(node) => return node.metadata.uid.unwrap_or_default(),
                Err(error) => {
                    // The server's words alone: the error repeats them in another form.
                    let error = match error {
                        kube::Error::Api(status) => status.message.clone(),
                        other => other.to_string(),
                    };
                    tracing::warn!(error, "the node cannot be registered yet; it is tried again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(7));
        }
    }

    async fn try_register(&self, api: &Api<Node>) -> kube::Result<Node> {
        let node = Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.all_labels().into_iter().collect()),
                annotations: Some(self.annotations()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: (!self.taints.is_empty()).then(|| self.taints.clone()),
                ..NodeSpec::default()
            }),
            status: Some(self.status(None)),
        };
        match api.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                if taken(&api.get(&self.name).await?, &self.password) {
                    let why = "another machine has registered this name meanwhile: use another --node-name";
                    return Err(kube::Error::Service(why.into()));
                }
                let labels: BTreeMap<_, _> = self.all_labels().into_iter().collect();
                let metadata = serde_json::json!({ "labels": labels, "annotations": self.annotations() });
                let patch = serde_json::json!({ "metadata": metadata });
                api.patch(&self.name, &PatchParams::default(), &Patch::Strategic(patch)).await
            }
            other => other,
        }
    }

    fn tell(&self, severity: Severity, reason: &str, message: &str) {
        self.events.put(QueuedEvent::of_node(&self.name, severity, reason, message));
    }

    /// A host that was started anew says so: its pods' processes are new ones.
    async fn tell_of_reboot(&self, api: &Api<Node>, boot: &str) {
        let known = api.get_opt(&self.name).await.ok().flatten();
        let before = known.and_then(|node| node.status).and_then(|status| status.node_info).map(|info| info.boot_id);
        if before.is_some_and(|before| !before.is_empty() && before != boot) {
            let message = format!("Node {} has been rebooted, boot id: {boot}", self.name);
            self.tell(Severity::Warning, "Rebooted", &message);
        }
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let attached = "volumes.kubernetes.io/controller-managed-attach-detach".to_owned();
        let password = node_password::hash(&self.password);
        [(attached, "true".to_owned()), (node_password::ANNOTATION.to_owned(), password)].into()
    }

    fn all_labels(&self) -> Vec<(String, String)> {
        let arch = knarr_types::architecture();
        let known = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", arch),
        ];
        let known = known.map(|(key, value)| (key.to_owned(), value.to_owned()));
        known.into_iter().chain(self.labels.iter().cloned()).collect()
    }

    async fn keep_status(&mut self) {
        let api = Api::<Node>::all(self.client.clone());
        let mut last: Option<NodeStatus> = None;
        self.tell_of_reboot(&api, &machine::info().boot_id).await;
        loop {
            let status = self.status(last.as_ref());
            let patch = serde_json::json!({ "status": status });
            match api.patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(_) => {
                    for reason in transitions(&status, last.as_ref()) {
                        self.tell(Severity::Normal, reason, &format!("Node {} status is now: {reason}", self.name));
                    }
                    last = Some(status);
                }
                Err(kube::Error::Api(answer)) if answer.code == 404 => {
                    self.register().await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "the node's status was not written; it is tried again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                _ = self.network.changed() => {}
                () = tokio::time::sleep(STATUS_EVERY) => {}
            }
        }
    }

    /// The status as of now; conditions keep their times from `last` where they have not changed.
    fn status(&self, last: Option<&NodeStatus>) -> NodeStatus {
        let figures = Figures::read(&self.layout.root);
        let (capacity, allocatable) = machine::resources(&figures, self.max_pods);
        let mut images = (self.images)();
        images.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
        images.truncate(IMAGES_MAX);
        let mut addresses: Vec<NodeAddress> = self.addresses.iter().map(|ip| address("InternalIP", ip)).collect();
        addresses.push(address("Hostname", &self.name));
        NodeStatus {
            capacity: Some(capacity),
            allocatable: Some(allocatable),
            addresses: Some(addresses),
            conditions: Some(conditions(&figures, &self.network.borrow(), last)),
            node_info: Some(machine::info()),
            images: Some(images),
            daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }) }),
            ..NodeStatus::default()
        }
    }
}

fn taken(node: &Node, password: &str) -> bool {
    let annotations = node.metadata.annotations.as_ref();
    let known = annotations.and_then(|annotations| annotations.get(node_password::ANNOTATION));
    node_password::is_taken(known.map(String::as_str), password)
}

/// The events of conditions that differ from those before, each with upstream's reason.
fn transitions(status: &NodeStatus, last: Option<&NodeStatus>) -> Vec<&'static str> {
    let of = |status: &NodeStatus, type_: &str| {
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
        condition.map(|condition| condition.status == "True")
    };
    let reasons = [
        ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
        ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
        ("Ready", "NodeReady", "NodeNotReady"),
    ];
    let changed = reasons.iter().filter_map(|(type_, on, off)| {
        let now = of(status, type_)?;
        let differs = last.and_then(|last| of(last, type_)) != Some(now);
        differs.then_some(if now { *on } else { *off })
    });
    changed.collect()
}

fn address(type_: &str, value: &impl ToString) -> NodeAddress {
    NodeAddress { type_: type_.to_owned(), address: value.to_string() }
}

fn conditions(figures: &Figures, network: &Result<(), String>, last: Option<&NodeStatus>) -> Vec<NodeCondition> {
    let now = Moment::now().time();
    let one = |type_: &str, on: bool, reason: &str, message: &str| {
        let status = if on { "True" } else { "False" };
        let before = last
            .and_then(|last| last.conditions.as_ref())
            .and_then(|all| all.iter().find(|condition| condition.type_ == type_ && condition.status == status));
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or(Some(now.clone())),
        }
    };
    let pressure = |type_: &str, on: bool, calm: (&str, &str), tight: (&str, &str)| {
        let (reason, message) = if on { tight } else { calm };
        one(type_, on, reason, message)
    };
    let ready = match network {
        Ok(()) => one("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        Err(why) => one("Ready", false, "KubeletNotReady", why),
    };
    vec![
        pressure(
            "MemoryPressure",
            figures.memory_pressure(),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            figures.disk_pressure(),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ),
        pressure(
            "PIDPressure",
            figures.pid_pressure(),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ),
        ready,
    ]
}

/// The heartbeat. It survives every error: the node's controller decides what silence means.
async fn renew_lease(client: Client, node: String, uid: String) {
    let api = Api::<Lease>::namespaced(client, "kube-node-lease");
    let mut timer = tokio::time::interval(LEASE_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let renew = serde_json::json!({ "spec": { "renewTime": MicroTime(Timestamp::now()) } });
        let answer = match api.patch(&node, &PatchParams::default(), &Patch::Merge(renew)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                api.create(&PostParams::default(), &lease(&node, &uid)).await
            }
            other => other,
        };
        if let Err(error) = answer {
            tracing::debug!(%error, "the lease was not renewed");
            timer.reset_after(Duration::from_secs(1));
        }
    }
}

fn lease(node: &str, uid: &str) -> Lease {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some("kube-node-lease".to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn taints_are_key_value_and_effect() {
        let taint = parse_taint("a=b:NoSchedule").unwrap();
        assert_eq!((taint.key.as_str(), taint.value.as_deref(), taint.effect.as_str()), ("a", Some("b"), "NoSchedule"));
        assert_eq!(parse_taint("a:NoExecute").unwrap().value, None);
        for bad in ["a", "a=b", ":NoSchedule", "a=b:Never"] {
            assert!(parse_taint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_condition_that_changes_is_an_event() {
        let status = |figures: &Figures, ready: Result<(), String>| NodeStatus {
            conditions: Some(conditions(figures, &ready, None)),
            ..NodeStatus::default()
        };
        let roomy =
            Figures { memory_available_bytes: 1 << 30, disk_bytes: 1, disk_available_bytes: 1, ..Figures::default() };
        let first = status(&roomy, Err("no network".to_owned()));
        assert_eq!(
            transitions(&first, None),
            ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeNotReady"]
        );
        let full = Figures { disk_available_bytes: 0, disk_bytes: 100, ..roomy };
        assert_eq!(transitions(&status(&full, Ok(())), Some(&first)), ["NodeHasDiskPressure", "NodeReady"]);
        assert!(transitions(&first, Some(&first)).is_empty());
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let old = Time(Timestamp::from_second(1).unwrap());
        let mut first = conditions(&Figures::default(), &Err("no network".to_owned()), None);
        first.iter_mut().for_each(|condition| condition.last_transition_time = Some(old.clone()));
        let last = NodeStatus { conditions: Some(first), ..NodeStatus::default() };
        let next = conditions(&Figures::default(), &Ok(()), Some(&last));
        let of = |type_: &str| next.iter().find(|c| c.type_ == type_).unwrap().last_transition_time.clone().unwrap();
        assert_eq!(of("MemoryPressure"), old);
        assert_ne!(of("Ready"), old);
    }
}
