// SPDX-License-Identifier: Apache-2.0
//! What happened, told to people as Events.
//! <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;

/// How many different events one recorder remembers in order to count repetitions.
const REMEMBERED: usize = 1024;

/// Whether an event is news or trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// News.
    Normal,
    /// Trouble.
    Warning,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Writes Events for one component. The same event about the same object is counted, not repeated.
pub struct Recorder {
    client: Client,
    component: &'static str,
    host: String,
    known: Mutex<HashMap<Identity, Known>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    uid: String,
    field: String,
    severity: Severity,
    reason: String,
    message: String,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    count: i32,
}

impl Recorder {
    /// A recorder for `component` (`kubelet`, `default-scheduler`, ...) on `host`, which may be empty.
    #[must_use]
    pub fn new(client: Client, component: &'static str, host: &str) -> Self {
        Self { client, component, host: host.to_owned(), known: Mutex::default() }
    }

    /// Says that `reason` happened to `object`, in words in `message`. A failure to write is logged
    /// and otherwise ignored: events are hints.
    pub async fn record(&self, object: &ObjectReference, severity: Severity, reason: &str, message: &str) {
        let identity = Identity {
            uid: object.uid.clone().unwrap_or_default(),
            field: object.field_path.clone().unwrap_or_default(),
            severity,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let repeated = {
            let mut known = self.known.lock();
            known.get_mut(&identity).map(|k| {
                k.count += 1;
                k.clone()
            })
        };
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let now = Timestamp::now();
        let written = match repeated {
            Some(known) => {
                let patch = serde_json::json!({"count": known.count, "lastTimestamp": Time(now)});
                match api.patch(&known.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    // Events expire; the next repetition is a new one.
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        self.known.lock().remove(&identity);
                        self.create(&api, object, identity, now).await
                    }
                    other => other.map(drop),
                }
            }
            None => self.create(&api, object, identity, now).await,
        };
        if let Err(error) = written {
            tracing::debug!(%error, reason, message, "an event was not written");
        }
    }

    async fn create(
        &self,
        api: &Api<Event>,
        object: &ObjectReference,
        identity: Identity,
        now: Timestamp,
    ) -> kube::Result<()> {
        let name = object.name.clone().unwrap_or_default();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:016x}", fastrand::u64(..))),
                namespace: Some(object.namespace.clone().unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
            reason: Some(identity.reason.clone()),
            message: Some(identity.message.clone()),
            type_: Some(identity.severity.as_str().to_owned()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: (!self.host.is_empty()).then(|| self.host.clone()),
            }),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(self.host.clone()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        };
        let created = api.create(&PostParams::default(), &event).await?;
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(identity, Known { name: created.metadata.name.unwrap_or_default(), count: 1 });
        Ok(())
    }
}
