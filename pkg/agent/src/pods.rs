// SPDX-License-Identifier: Apache-2.0
//! The pods of this node: those that the API assigns to it, and those that already run here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use knarr_client::cache::{Cache, Selection};
use knarr_runtime::{Event as RuntimeEvent, PodUid};
use kube::api::Api;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::objects::Name;
use crate::pod::{Event, Memory, is_static_terminal};
use crate::worker::{self, Mail, Record};

type Mailbox = mpsc::UnboundedSender<Mail>;

/// What the API says of a pod.
enum Told {
    /// It is assigned to this node, or has changed.
    Is(Arc<Pod>),
    /// It is not there any more.
    Gone(String),
    /// All pods of this node have been told once.
    All(HashSet<String>),
}

/// Runs the pods of the node until dropped; what runs goes on afterwards.
pub async fn run(context: Arc<Context>, mut changed_objects: mpsc::UnboundedReceiver<Name>) {
    let mut exits = context.runtime.events();
    let (done_sender, mut done) = mpsc::unbounded_channel();
    let mut pods = Pods { context: Arc::clone(&context), tasks: HashMap::new(), done: done_sender };
    pods.adopt().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    follow(&context, tell);
    loop {
        tokio::select! {
            Some(told) = told.recv() => pods.told(told),
            Some(event) = exits.recv() => pods.happened(event),
            Some(name) = changed_objects.recv() => pods.object_changed(&name),
            Some(uid) = done.recv() => { pods.tasks.remove(uid.as_str()); }
        }
    }
}

struct Pods {
    context: Arc<Context>,
    tasks: HashMap<String, Mailbox>,
    done: mpsc::UnboundedSender<PodUid>,
}

impl Pods {
    /// Takes over what an earlier agent has left: pods on record, and pods that run.
    async fn adopt(&mut self) {
        let listed = self.context.runtime.list().await;
        let listed = listed.inspect_err(|error| tracing::error!(%error, "running pods cannot be listed"));
        let mut found: HashMap<String, _> = listed
            .unwrap_or_default()
            .into_iter()
            .map(|status| (status.config.uid.as_str().to_owned(), status))
            .collect();
        let folders = std::fs::read_dir(self.context.layout.pods()).into_iter().flatten().flatten();
        for folder in folders {
            let Some(record) = Record::read(&folder.path()) else { continue };
            let uid = record.pod.metadata.uid.clone().unwrap_or_default();
            let status = found.remove(&uid);
            self.start(record, status);
        }
        tracing::info!(pods = self.tasks.len(), "adopted the pods that were here");
        for (uid, status) in found {
            tracing::warn!(pod = uid, "a sandbox without a record is removed");
            if let Err(error) = self.context.runtime.remove_pod(&status.config.uid).await {
                tracing::warn!(pod = uid, %error, "it was not removed");
            }
            let _ = self.context.network.tear_down(&uid).await;
        }
    }

    fn start(&mut self, record: Record, found: Option<knarr_runtime::PodStatus>) {
        let uid = record.pod.metadata.uid.clone().unwrap_or_default();
        match worker::start(Arc::clone(&self.context), record, found, self.done.clone()) {
            Some(mailbox) => {
                self.tasks.insert(uid, mailbox);
            }
            None => tracing::error!(pod = uid, "a pod's uid cannot be used as a name"),
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Is(pod) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                match self.tasks.get(&uid) {
                    Some(task) => {
                        let _ = task.send(Mail::Pod(pod));
                    }
                    // It has ended in an earlier life of this node, whose data dir is gone.
                    None if is_static_terminal(&pod) && pod.metadata.deletion_timestamp.is_none() => {}
                    None => self.start(Record { pod: (*pod).clone(), memory: Memory::default() }, None),
                }
            }
            Told::Gone(uid) => self.send(&uid, Mail::Gone),
            Told::All(uids) => {
                let missing: Vec<String> = self.tasks.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
                missing.iter().for_each(|uid| self.send(uid, Mail::Gone));
            }
        }
    }

    fn happened(&self, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Exited(id, exit) => self.send(id.pod.as_str(), Mail::Exit(id.name, id.attempt, exit)),
            RuntimeEvent::ShimLost(uid) => {
                tracing::warn!(pod = %uid, "the shim of a pod is gone");
                // What it leaves is in the way of the next one.
                let (context, task) = (Arc::clone(&self.context), self.tasks.get(uid.as_str()).cloned());
                let spawner = Arc::clone(&self.context);
                spawner.spawn(async move {
                    let _ = context.runtime.remove_pod(&uid).await;
                    if let Some(task) = task {
                        let _ = task.send(Mail::Event(Event::SandboxGone));
                    }
                });
            }
        }
    }

    fn object_changed(&self, name: &Name) {
        self.context.network.object_changed(name);
        self.context.objects.users(name).iter().for_each(|uid| self.send(uid, Mail::Refresh));
    }

    fn send(&self, uid: &str, mail: Mail) {
        if let Some(task) = self.tasks.get(uid) {
            // A task that has just ended is told for nothing.
            let _ = task.send(mail);
        }
    }
}

/// Follows the pods that are assigned to this node.
fn follow(context: &Arc<Context>, tell: mpsc::UnboundedSender<Told>) {
    let api = Api::<Pod>::all(context.client.clone());
    let selection = Selection { fields: format!("spec.nodeName={}", context.node_name), ..Selection::default() };
    let changes = tell.clone();
    let cache = Cache::start(
        api,
        selection,
        |pod: &Pod| {
            let mut pod = pod.clone();
            pod.metadata.managed_fields = None;
            Arc::new(pod)
        },
        move |change| {
            let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone().unwrap_or_default();
            let before = change.before.as_ref().map(|pod| uid(pod));
            let after = change.after.as_ref().map(|pod| uid(pod));
            if before != after
                && let Some(before) = before
            {
                let _ = changes.send(Told::Gone(before));
            }
            if let Some(pod) = &change.after {
                let _ = changes.send(Told::Is(Arc::clone(pod)));
            }
        },
    );
    context.spawn(async move {
        cache.synced().await;
        let uids = cache.list().iter().filter_map(|(_, pod)| pod.metadata.uid.clone()).collect();
        let _ = tell.send(Told::All(uids));
        // The cache follows for as long as it is held.
        std::future::pending::<()>().await;
    });
}

#[cfg(test)]
mod tests;
