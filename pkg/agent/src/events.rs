// SPDX-License-Identifier: Apache-2.0
//! Events wait in a queue of their own: nothing that a pod needs waits for the server.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use knarr_client::events::{Recorder, Severity};
use tokio::sync::mpsc;

/// Events that wait at most; what comes on top while the server is away is dropped.
const QUEUE: usize = 1000;
/// How long one Event may take to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// An Event to be written.
#[derive(Clone, Debug)]
pub struct QueuedEvent {
    /// What it is about.
    pub object: ObjectReference,
    /// Normal or Warning.
    pub severity: Severity,
    /// Upstream's reason.
    pub reason: String,
    /// Upstream's wording.
    pub message: String,
}

impl QueuedEvent {
    /// An Event about a node, which is its own uid here, as upstream has it.
    #[must_use]
    pub fn of_node(name: &str, severity: Severity, reason: &str, message: &str) -> Self {
        let object = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        Self { object, severity, reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// Takes Events, in order.
#[derive(Clone, Debug)]
pub struct EventQueue(mpsc::Sender<QueuedEvent>);

impl EventQueue {
    /// A queue and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<QueuedEvent>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Adds one, or drops it where too many wait.
    pub fn put(&self, event: QueuedEvent) {
        if let Err(error) = self.0.try_send(event) {
            tracing::debug!(%error, "an event is dropped");
        }
    }
}

/// Writes what is queued, one after the other, until the queue's other end is dropped.
pub async fn write(recorder: Recorder, mut queue: mpsc::Receiver<QueuedEvent>) {
    while let Some(event) = queue.recv().await {
        let written = recorder.record(&event.object, event.severity, &event.reason, &event.message);
        if tokio::time::timeout(PATIENCE, written).await.is_err() {
            tracing::debug!(reason = event.reason, "an event was not written in time");
        }
    }
}
