// SPDX-License-Identifier: Apache-2.0
//! ConfigMaps and Secrets that pods of this node use: each followed by name while a pod needs it,
//! and kept on disk so that pods start again without a server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use knarr_client::cache::{Cache, ObjectRef, Selection};
use kube::Client;
use kube::api::Api;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::layout::{read_record, write_record};
use crate::pod::any_container;

/// Key -> value of a ConfigMap or Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// How long a start waits for the server before it takes what is on disk.
const PATIENCE: Duration = Duration::from_secs(4);

/// Which kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// One object by kind, namespace and name.
pub type Name = (Kind, String, String);

/// The followed objects of a node.
pub struct Objects {
    client: Client,
    dir: PathBuf,
    followed: Mutex<HashMap<Name, Followed>>,
    changes: mpsc::UnboundedSender<Name>,
}

struct Followed {
    cache: Cache<(String, Data)>,
    users: BTreeSet<String>,
}

impl Objects {
    /// Keeps its records in `dir`; names of objects that changed go to `changes`.
    #[must_use]
    pub fn new(client: Client, dir: PathBuf, changes: mpsc::UnboundedSender<Name>) -> Arc<Self> {
        Arc::new(Self { client, dir, followed: Mutex::default(), changes })
    }

    /// The object for the pod `user`, followed from now on; `Ok(None)` when there is no such object.
    ///
    /// # Errors
    /// When the server does not answer and nothing is on disk.
    pub async fn get(&self, name: &Name, user: &str) -> Result<Option<Data>, String> {
        Ok(self.versioned(name, user).await?.map(|(_, data)| data))
    }

    /// Like [`Self::get`], with the type of a Secret.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn versioned(&self, name: &Name, user: &str) -> Result<Option<(String, Data)>, String> {
        let cache = self.follow(name, user);
        let record = self.record(name);
        if tokio::time::timeout(PATIENCE, cache.synced()).await.is_err() {
            return match read_record(&record) {
                Some(known) => Ok(Some(known)),
                None => Err(format!("timed out waiting for {} \"{}\"", kind_name(name.0), name.2)),
            };
        }
        let value = cache.get(&ObjectRef::new(name.1.clone(), name.2.clone())).map(|value| (*value).clone());
        let kept = match &value {
            Some(value) => crate::layout::make_dir(&self.dir).and_then(|()| write_record(&record, value)),
            None => Ok(()),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "an object is not kept for starts without a server");
        }
        Ok(value)
    }

    /// Ends the following of what only `user` needed.
    pub fn release(&self, user: &str) {
        let mut followed = self.followed.lock();
        followed.retain(|name, entry| {
            entry.users.remove(user);
            if entry.users.is_empty() {
                let _ = std::fs::remove_file(self.record(name));
            }
            !entry.users.is_empty()
        });
    }

    /// The pods that use an object.
    #[must_use]
    pub fn users(&self, name: &Name) -> Vec<String> {
        let followed = self.followed.lock();
        followed.get(name).map(|entry| entry.users.iter().cloned().collect()).unwrap_or_default()
    }

    fn follow(&self, name: &Name, user: &str) -> Cache<(String, Data)> {
        let mut followed = self.followed.lock();
        let entry = followed
            .entry(name.clone())
            .or_insert_with(|| Followed { cache: self.start(name), users: BTreeSet::new() });
        entry.users.insert(user.to_owned());
        entry.cache.clone()
    }

    fn start(&self, name: &Name) -> Cache<(String, Data)> {
        let selection = Selection { fields: format!("metadata.name={}", name.2), ..Selection::default() };
        let changes = self.changes.clone();
        let changed = name.clone();
        let tell = move |_: &knarr_client::cache::Change<(String, Data)>| {
            let _ = changes.send(changed.clone());
        };
        match name.0 {
            Kind::ConfigMap => {
                Cache::start(Api::<ConfigMap>::namespaced(self.client.clone(), &name.1), selection, config_map, tell)
            }
            Kind::Secret => {
                Cache::start(Api::<Secret>::namespaced(self.client.clone(), &name.1), selection, secret, tell)
            }
        }
    }

    fn record(&self, name: &Name) -> PathBuf {
        self.dir.join(format!("{}_{}_{}.json", kind_name(name.0), name.1, name.2))
    }
}

/// The ConfigMaps and Secrets that the environment of one container needs.
#[must_use]
pub fn of_environment(pod: &Pod, container: &str) -> BTreeSet<Name> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut names = BTreeSet::new();
    if let Some((_, spec)) = any_container(pod, container) {
        for source in spec.env_from.iter().flatten() {
            names
                .extend(source.config_map_ref.iter().map(|map| (Kind::ConfigMap, namespace.clone(), map.name.clone())));
            names.extend(source.secret_ref.iter().map(|secret| (Kind::Secret, namespace.clone(), secret.name.clone())));
        }
        for source in spec.env.iter().flatten().filter_map(|entry| entry.value_from.as_ref()) {
            let map = source.config_map_key_ref.iter();
            names.extend(map.map(|key| (Kind::ConfigMap, namespace.clone(), key.name.clone())));
            let secret = source.secret_key_ref.iter();
            names.extend(secret.map(|key| (Kind::Secret, namespace.clone(), key.name.clone())));
        }
    }
    names
}

/// The kind's name in messages.
#[must_use]
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::ConfigMap => "configmap",
        Kind::Secret => "secret",
    }
}

fn config_map(object: &ConfigMap) -> (String, Data) {
    let text = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    (String::new(), text.chain(binary).collect())
}

fn secret(object: &Secret) -> (String, Data) {
    let data = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    (object.type_.clone().unwrap_or_default(), data.collect())
}
