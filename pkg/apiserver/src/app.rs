// SPDX-License-Identifier: Apache-2.0
//! What every request shares.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use knarr_auth::{Authenticator, Authorizer, UserInfo};
use knarr_schema::{Kind, Registry};
use knarr_store::{ResourceOptions, Store, Tier};
use knarr_types::{Key, Object};

use crate::join::Joining;
use crate::metrics::Metrics;
use crate::tunnel::Tunnels;

/// What the server was told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ranges of service addresses.
    pub service_cidrs: Vec<IpNet>,
    /// The ports that services may have on nodes, first and last.
    pub node_ports: (u16, u16),
    /// Where clients reach the server: `ADDRESS:PORT`, for discovery.
    pub address: String,
    /// Whom tokens must be for.
    pub audiences: Vec<String>,
}

/// The leaf of a client's certificate chain as the TLS layer verified it. An extension of every request of
/// a connection.
#[derive(Clone, Debug)]
pub struct PeerCertificate(Arc<Peer>);

#[derive(Debug)]
struct Peer {
    der: Box<[u8]>,
    user: OnceLock<Option<UserInfo>>,
}

impl PeerCertificate {
    /// From its DER.
    #[must_use]
    pub fn new(der: &[u8]) -> Self {
        Self(Arc::new(Peer { der: der.into(), user: OnceLock::new() }))
    }

    /// Whom it names; worked out once for a connection.
    #[must_use]
    pub fn user(&self, authenticator: &Authenticator) -> Option<&UserInfo> {
        self.0.user.get_or_init(|| authenticator.certificate(&self.0.der)).as_ref()
    }
}

/// The server's parts.
pub struct App {
    /// The state of the cluster.
    pub store: Store,
    /// The kinds that are served.
    pub registry: ArcSwap<Registry>,
    /// Counts how often `registry` was replaced.
    pub kinds_changed: tokio::sync::watch::Sender<u64>,
    /// Knows who asks.
    pub authenticator: Authenticator,
    /// Knows what they may.
    pub authorizer: Authorizer,
    /// What the server was told.
    pub settings: Settings,
    /// Reads the bodies of requests.
    pub request_bodies: crate::request_body::RequestBodies,
    /// What admission looks at again and again.
    pub trees: crate::trees::Trees,
    /// What is counted.
    pub metrics: Metrics,
    /// The ways to the nodes.
    pub tunnels: Tunnels,
    /// Asks webhooks.
    pub webhooks: knarr_admission::webhooks::Webhooks,
    /// Custom objects in versions that webhooks made of them.
    pub conversions: crate::conversion::Conversions,
    /// Who writes in a namespace with quotas.
    pub quota_turns: crate::write::quotas::Turns,
    /// What nodes need to join.
    pub joining: Joining,
    /// Secrets whose token was shown for the first time today.
    pub used_tokens: crate::legacy_tokens::Used,
    /// Cancelled when the server begins to end.
    pub stopping: tokio_util::sync::CancellationToken,
}

impl App {
    /// The kind in the version that its objects are written in: the stored one. Custom objects are
    /// written in the version that they are sent in, and brought into the stored one at the end.
    #[must_use]
    pub fn stored_kind(&self, kind: &Arc<Kind>) -> Arc<Kind> {
        if *kind.api_version() == *kind.storage_version || kind.custom.is_some() {
            return Arc::clone(kind);
        }
        let registry = self.registry.load();
        let version = knarr_types::GroupVersion::parse(&kind.storage_version);
        let stored = version.and_then(|v| registry.by_kind(&v.group, &v.version, &kind.kind).cloned());
        stored.unwrap_or_else(|| Arc::clone(kind))
    }

    /// An object as a tree with its apiVersion and kind, in the version it is stored in.
    #[must_use]
    pub fn object(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Object> {
        let record = self.store.get(&Key::new(kind.storage.clone(), namespace, name))?;
        Some(crate::serve_object::tree(kind, &record))
    }
}

impl knarr_auth::Objects for App {
    fn core(&self, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        let registry = self.registry.load();
        let kind = registry.by_resource("", "v1", resource)?;
        let record = self.store.get(&Key::new(kind.storage.clone(), namespace, name))?;
        Some(Arc::unwrap_or_clone(self.trees.get(kind, &record)))
    }
}

/// How the store is to treat the objects of each kind.
#[must_use]
pub fn resource_options(registry: &Registry) -> Vec<ResourceOptions> {
    /// Events go an hour after they were last seen.
    const EVENT_LIFE: std::time::Duration = std::time::Duration::from_secs(3600);
    let mut seen = std::collections::BTreeSet::new();
    let stored = registry.iter().filter(|kind| kind.stored() && seen.insert(kind.storage.clone()));
    stored
        .map(|kind| {
            let mut options = ResourceOptions::new(kind.storage.clone(), &kind.storage_version);
            match (&*kind.storage.group, &*kind.storage.resource) {
                ("", "events") => {
                    options.history = false;
                    options.volatile = true;
                    options.expire_after = Some(EVENT_LIFE);
                }
                ("coordination.k8s.io", "leases") => {
                    options.history = false;
                    // Nodes' heartbeats need no disk.
                    options.tier = |key| {
                        let heartbeat = &*key.namespace == knarr_types::labels::NAMESPACE_NODE_LEASE;
                        if heartbeat { Tier::Memory } else { Tier::Durable }
                    };
                }
                ("", "pods") => return options.indexed_by("spec.nodeName"),
                _ => {}
            }
            options
        })
        .collect()
}
