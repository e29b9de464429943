// SPDX-License-Identifier: Apache-2.0

//! What the caller decides: where the state is kept, and how each resource is treated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use knarr_types::{Key, ResourceId};
use object_store::ObjectStore;

use crate::keyring::KeyRing;
use crate::wal::Folder;

/// Where the state is kept.
#[derive(Clone)]
pub enum Backend {
    /// A directory of this host, with key ring and lock beside the data.
    Directory {
        /// Made when it is not there.
        path: PathBuf,
        /// Whether a write is on the disk before it is acknowledged. `false` is for clusters that
        /// may be lost.
        sync: bool,
    },
    /// Any object store, with the keys to read it.
    Objects {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The keys.
        keys: KeyRing,
        /// A folder for the write-ahead log; without one it lies in the store, too.
        log: Option<Arc<dyn Folder>>,
    },
}

/// What happens to a write of an object before it is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// Durable first, then visible and acknowledged.
    #[default]
    Durable,
    /// In memory only: heartbeats.
    Memory,
}

/// How a resource is treated.
#[derive(Clone)]
pub struct ResourceOptions {
    /// The collection.
    pub resource: ResourceId,
    /// The `apiVersion` in which objects are written.
    pub storage_version: Arc<str>,
    /// The tier of an object, by its key.
    pub tier: fn(&Key) -> Tier,
    /// Objects of the whole resource are visible at once and durable with the next batch, at the
    /// latest after [`Limits::volatile_delay`]: Events. `tier` is then not asked.
    pub volatile: bool,
    /// Whether commits are kept.
    pub history: bool,
    /// Volatile objects are removed this long after they were last written.
    pub expire_after: Option<Duration>,
    /// Fields by which lists and watches are indexed: `spec.nodeName`.
    pub indexed: Vec<Arc<str>>,
}

impl ResourceOptions {
    /// Durable, with history, without indexes.
    #[must_use]
    pub fn new(resource: ResourceId, storage_version: &str) -> Self {
        Self {
            resource,
            storage_version: storage_version.into(),
            tier: |_| Tier::Durable,
            volatile: false,
            history: true,
            expire_after: None,
            indexed: Vec::new(),
        }
    }

    /// What is assumed of a resource that nobody has registered.
    pub(crate) fn unknown(resource: ResourceId) -> Self {
        Self::new(resource, "")
    }

    /// The same, indexed by `field`.
    #[must_use]
    pub fn indexed_by(mut self, field: &str) -> Self {
        self.indexed.push(field.into());
        self
    }
}

/// The bounds of the store.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Changes in one batch.
    pub batch_changes: usize,
    /// Bytes in one batch; a larger proposal goes alone.
    pub batch_bytes: usize,
    /// Batches written but not yet durable.
    pub batches_in_flight: usize,
    /// Proposals waiting in one lane.
    pub lane_proposals: usize,
    /// Bytes waiting in one lane.
    pub lane_bytes: usize,
    /// Bytes waiting in one flow.
    pub flow_bytes: usize,
    /// Commits kept in memory for watches and exact reads: at least this, at most a quarter of the
    /// view where that is more.
    pub ring_bytes: usize,
    /// How long a volatile write may wait for a batch.
    pub volatile_delay: Duration,
    /// How long durability may take until the store counts as not ready.
    pub stall: Duration,
    /// How many revisions are reserved at a time.
    pub revision_block: u64,
    /// How often a request to the object store is tried again.
    pub object_store_retries: u32,
    /// History older than this is pruned.
    pub history_age: Duration,
    /// History beyond this size is pruned.
    pub history_bytes: u64,
    /// How often history is looked through.
    pub prune_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_changes: 1024,
            batch_bytes: 1 << 20,
            batches_in_flight: 4,
            lane_proposals: 16_384,
            lane_bytes: 64 << 20,
            flow_bytes: 16 << 20,
            ring_bytes: 16 << 20,
            volatile_delay: Duration::from_secs(10),
            stall: Duration::from_secs(5),
            revision_block: 65_536,
            object_store_retries: 5,
            history_age: Duration::from_secs(7 * 24 * 3600),
            history_bytes: 1 << 30,
            prune_every: Duration::from_secs(3600),
        }
    }
}

/// All that [`crate::Store::open`] needs.
#[derive(Clone)]
pub struct Options {
    /// Where.
    pub backend: Backend,
    /// The resources known from the start. Objects of others are loaded too, and treated as durable
    /// with history until [`crate::Store::register`] says otherwise.
    pub resources: Vec<ResourceOptions>,
    /// The bounds.
    pub limits: Limits,
}

impl Options {
    /// A directory of this host, synced.
    #[must_use]
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::with(Backend::Directory { path: path.into(), sync: true })
    }

    /// An object store.
    #[must_use]
    pub fn objects(store: Arc<dyn ObjectStore>, keys: KeyRing) -> Self {
        Self::with(Backend::Objects { store, keys, log: None })
    }

    fn with(backend: Backend) -> Self {
        Self { backend, resources: Vec::new(), limits: Limits::default() }
    }
}
