// SPDX-License-Identifier: Apache-2.0
//! The scheduler at work: it keeps the snapshot, decides, binds in the background.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use k8s_openapi::jiff::Timestamp;
use knarr_client::Client;
use knarr_client::cache::{Cache, Change, ObjectRef, Selection};
use knarr_client::events::{Recorder, Severity};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::{Semaphore, mpsc};

use crate::metrics::{self, Attempt};
use crate::pod::PodInfo;
use crate::queue::{Queue, Waiting};
use crate::schedule::{Cursor, schedule};
use crate::snapshot::{Cluster, NodeSpec};

/// The name that pods ask for, and that events carry.
const NAME: &str = "default-scheduler";
/// How many bindings are written at the same time.
const BINDINGS: usize = 128;

enum Message {
    Pod { object: ObjectRef, before: Option<Arc<PodInfo>>, after: Option<Arc<PodInfo>> },
    Node { before: Option<Arc<NodeSpec>>, after: Option<Arc<NodeSpec>> },
    NotBound { uid: String, gone: bool },
}

/// Schedules pods until it is dropped.
pub async fn run(client: Client) {
    let (sender, mut messages) = mpsc::unbounded_channel();
    let nodes = follow_nodes(client.clone(), sender.clone());
    nodes.synced().await;
    let pods = follow_pods(client.clone(), sender.clone());
    pods.synced().await;
    let binder = Arc::new(Binder {
        recorder: Recorder::new(client.clone(), NAME, ""),
        client,
        turns: Semaphore::new(BINDINGS),
        failures: sender,
    });
    let mut scheduler = Scheduler { cluster: Cluster::default(), queue: Queue::default(), cursor: Cursor::default() };
    loop {
        while let Ok(message) = messages.try_recv() {
            scheduler.take_in(message, Instant::now());
        }
        if let Some(waiting) = scheduler.queue.next(Instant::now()) {
            scheduler.place(waiting, &binder);
            tokio::task::consume_budget().await;
            continue;
        }
        metrics::waits(&scheduler.queue.waits());
        let message = match scheduler.queue.wake_at() {
            Some(at) => tokio::time::timeout_at(at.into(), messages.recv()).await.ok().flatten(),
            None => messages.recv().await,
        };
        if let Some(message) = message {
            scheduler.take_in(message, Instant::now());
        }
    }
}

fn follow_nodes(client: Client, sender: mpsc::UnboundedSender<Message>) -> Cache<NodeSpec> {
    let tell = move |change: &Change<NodeSpec>| {
        // The receiver is gone only when the scheduler ends.
        let _ = sender.send(Message::Node { before: change.before.clone(), after: change.after.clone() });
    };
    Cache::start(Api::<Node>::all(client), Selection::default(), NodeSpec::of, tell)
}

fn follow_pods(client: Client, sender: mpsc::UnboundedSender<Message>) -> Cache<PodInfo> {
    let tell = move |change: &Change<PodInfo>| {
        let (object, before, after) = (change.object.clone(), change.before.clone(), change.after.clone());
        let _ = sender.send(Message::Pod { object, before, after });
    };
    Cache::start(Api::<Pod>::all(client), Selection::default(), PodInfo::of, tell)
}

struct Scheduler {
    cluster: Cluster,
    queue: Queue,
    cursor: Cursor,
}

impl Scheduler {
    fn take_in(&mut self, message: Message, now: Instant) {
        match message {
            Message::Node { before, after: Some(node) } => {
                let news = before.as_ref() != Some(&node);
                self.cluster.set_node(node);
                if news {
                    self.queue.cluster_changed(now);
                }
            }
            Message::Node { before, after: None } => {
                if let Some(node) = before {
                    self.cluster.remove_node(&node.name);
                }
            }
            Message::Pod { object, before, after } => self.take_in_pod(object, before, after, now),
            Message::NotBound { uid, gone } => {
                self.cluster.displace(&uid);
                if gone { self.queue.remove(&uid) } else { self.queue.pause(&uid, now) }
            }
        }
    }

    fn take_in_pod(
        &mut self,
        object: ObjectRef,
        before: Option<Arc<PodInfo>>,
        after: Option<Arc<PodInfo>>,
        now: Instant,
    ) {
        // A pod of the same name may be another one: what was known of the old is gone.
        let replaced = before.as_ref().filter(|b| after.as_ref().is_none_or(|a| a.uid != b.uid));
        let mut freed = replaced.is_some_and(|old| self.release(&old.uid));
        if let Some(pod) = after {
            if pod.finished {
                freed |= self.release(&pod.uid);
            } else if !pod.node.is_empty() {
                self.queue.remove(&pod.uid);
                self.cluster.place(pod);
            } else if pod.scheduler != NAME || pod.gated || pod.terminating {
                freed |= self.release(&pod.uid);
            } else if !self.cluster.is_placed(&pod.uid) && before.is_none_or(|b| differs(&b, &pod)) {
                self.queue.add(object, pod);
            }
        }
        if freed {
            self.queue.cluster_changed(now);
        }
    }

    fn release(&mut self, uid: &str) -> bool {
        self.queue.remove(uid);
        self.cluster.displace(uid)
    }

    fn place(&mut self, waiting: Waiting, binder: &Arc<Binder>) {
        match schedule(&waiting.pod, &self.cluster, &mut self.cursor, &mut |n| fastrand::usize(..n)) {
            Ok(node) => {
                metrics::attempted(Attempt::Scheduled);
                let node = node.spec.name.clone();
                let pod = PodInfo { node: node.clone(), ..(*waiting.pod).clone() };
                self.cluster.place(Arc::new(pod));
                tokio::spawn(Arc::clone(binder).bind(waiting, node));
            }
            Err(reasons) => {
                metrics::attempted(Attempt::Unschedulable);
                self.queue.park(&waiting.pod.uid, Instant::now());
                tokio::spawn(Arc::clone(binder).explain(waiting, reasons.to_string()));
            }
        }
    }
}

/// Whether a waiting pod changed in what a decision depends on.
fn differs(before: &PodInfo, after: &PodInfo) -> bool {
    let strip = |pod: &PodInfo| PodInfo { resource_version: String::new(), unschedulable_message: None, ..pod.clone() };
    strip(before) != strip(after)
}

/// Writes decisions.
struct Binder {
    client: Client,
    recorder: Recorder,
    turns: Semaphore,
    failures: mpsc::UnboundedSender<Message>,
}

impl Binder {
    async fn bind(self: Arc<Self>, waiting: Waiting, node: String) {
        let Ok(_turn) = self.turns.acquire().await else { return };
        let ObjectRef { namespace, name } = &waiting.object;
        let binding = serde_json::json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": waiting.pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        match self.post_binding(namespace, name, &binding).await {
            Ok(()) => {
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                self.recorder.record(&reference(&waiting), Severity::Normal, "Scheduled", &message).await;
            }
            Err(error) => {
                metrics::attempted(Attempt::Error);
                let gone = matches!(&error, kube::Error::Api(status) if status.code == 404 || status.code == 409);
                tracing::warn!(pod = %waiting.object, node, %error, "a binding was not written");
                let _ = self.failures.send(Message::NotBound { uid: waiting.pod.uid.clone(), gone });
            }
        }
    }

    async fn post_binding(&self, namespace: &str, name: &str, binding: &serde_json::Value) -> kube::Result<()> {
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let answer: kube::Result<serde_json::Value> =
            api.create_subresource("binding", name, &PostParams::default(), binding).await;
        answer.map(drop)
    }

    /// Tells on the pod and in an Event why there is no node for it.
    async fn explain(self: Arc<Self>, waiting: Waiting, message: String) {
        let ObjectRef { namespace, name } = &waiting.object;
        self.recorder.record(&reference(&waiting), Severity::Warning, "FailedScheduling", &message).await;
        if waiting.pod.unschedulable_message.as_ref() == Some(&message) {
            return;
        }
        let condition = serde_json::json!({"metadata": {"uid": waiting.pod.uid}, "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]}});
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        if let Err(error) = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(condition)).await {
            tracing::debug!(pod = %waiting.object, %error, "the condition PodScheduled was not written");
        }
    }
}

fn reference(waiting: &Waiting) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(waiting.object.namespace.clone()),
        name: Some(waiting.object.name.clone()),
        uid: Some(waiting.pod.uid.clone()),
        resource_version: Some(waiting.pod.resource_version.clone()),
        field_path: None,
    }
}
