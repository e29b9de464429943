// SPDX-License-Identifier: Apache-2.0

//! What writers, readers and the sequencer have in common: the published states, the rings and the
//! queue. Readers load, never lock; only the sequencer publishes.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use knarr_types::{Key, ResourceId, Revision};
use parking_lot::{Mutex, RwLock};
use slatedb::Db;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::error::ProposeError;
use crate::keyring::KeyRing;
use crate::lanes::Lanes;
use crate::options::{Limits, ResourceOptions};
use crate::prepare::Prepared;
use crate::proposal::Committed;
use crate::record::{Commit, Record};
use crate::ring::Ring;
use crate::view::Root;

/// Whether the store takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The outcome of a batch is unknown: the state is being read anew.
    Reopening,
    /// The same, and the disk has no room for it.
    DiskFull,
    /// Another server has taken the store over, or it was closed.
    Closed,
}

/// The published state of one tier.
pub(crate) struct Published {
    root: ArcSwap<Root>,
    /// All commits up to here are in the rings.
    fed: watch::Sender<Revision>,
}

impl Published {
    pub(crate) fn new(root: Root) -> Self {
        Self { fed: watch::Sender::new(root.revision), root: ArcSwap::from_pointee(root) }
    }

    pub(crate) fn root(&self) -> Arc<Root> {
        self.root.load_full()
    }

    pub(crate) fn fed(&self) -> watch::Receiver<Revision> {
        self.fed.subscribe()
    }

    fn get(&self, key: &Key) -> Option<Arc<Record>> {
        self.root.load().get(key).cloned()
    }
}

/// How far a queued proposal is: taken by the sequencer, or dropped by the writer who waited too
/// long, whoever is first.
#[derive(Default)]
pub(crate) struct Claim(AtomicU8);

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const DROPPED: u8 = 2;

impl Claim {
    fn move_to(&self, state: u8) -> bool {
        self.0.compare_exchange(QUEUED, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The sequencer's: false where the writer has gone.
    pub(crate) fn take(&self) -> bool {
        self.move_to(TAKEN)
    }

    /// The writer's: false where the sequencer has begun.
    pub(crate) fn drop_queued(&self) -> bool {
        self.move_to(DROPPED)
    }
}

/// Why a prepared proposal was not committed.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// For good.
    Final(ProposeError),
    /// An object has another state than the one it was prepared on: prepare again.
    Rebase,
}

pub(crate) type Reply = oneshot::Sender<Result<Committed, Refusal>>;

/// A proposal that waits for its turn.
pub(crate) struct Queued {
    pub(crate) prepared: Prepared,
    pub(crate) claim: Arc<Claim>,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
}

/// What the sequencer is asked to do besides ordering proposals.
pub(crate) enum Control {
    /// Treat a resource in this way from now on.
    Register(ResourceOptions, oneshot::Sender<()>),
    /// Forget the commits up to here, which took so many bytes: delete these names.
    Prune { names: Vec<bytes::Bytes>, floor: Revision, bytes: u64, done: oneshot::Sender<()> },
    /// Write what is volatile and stop.
    Close(oneshot::Sender<()>),
}

pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) keys: KeyRing,
    pub(crate) durable: Published,
    pub(crate) volatile: Published,
    /// The durable tier with writes in flight.
    pub(crate) head: ArcSwap<Root>,
    /// Held while a state and its commits are published, so that both can be read together.
    pub(crate) publishing: Mutex<()>,
    rings: RwLock<HashMap<ResourceId, Arc<Ring>>>,
    /// Where rings begin: commits up to here are in none. Of resources without history, and of
    /// volatile ones, nothing is known from before the start.
    history_floor: Revision,
    start: Revision,
    options: ArcSwap<HashMap<ResourceId, Arc<ResourceOptions>>>,
    pub(crate) queue: Mutex<Lanes<Queued>>,
    pub(crate) wake: Notify,
    pub(crate) controls: mpsc::UnboundedSender<Control>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) database: ArcSwapOption<Db>,
    pub(crate) lock: Mutex<Option<File>>,
    started: Instant,
    /// When the oldest batch in flight began, in milliseconds since `started`, plus one; 0: none.
    in_flight_since: AtomicU64,
    /// Memory held by the rings.
    pub(crate) ring_bytes: AtomicUsize,
}

/// Maps that every request looks into: a quick hash, seeded by chance.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// What a [`Shared`] begins with.
pub(crate) struct Beginning {
    pub(crate) limits: Limits,
    pub(crate) keys: KeyRing,
    pub(crate) lock: Option<File>,
    pub(crate) options: HashMap<ResourceId, Arc<ResourceOptions>>,
    pub(crate) durable: Root,
    pub(crate) volatile: Root,
    pub(crate) db: Db,
    /// Stored commits above this are put into the rings.
    pub(crate) history_floor: Revision,
}

impl Shared {
    pub(crate) fn new(begin: Beginning, controls: mpsc::UnboundedSender<Control>) -> Self {
        let start = begin.durable.revision;
        Self {
            limits: begin.limits,
            keys: begin.keys,
            head: ArcSwap::from_pointee(begin.durable.clone()),
            durable: Published::new(begin.durable),
            volatile: Published::new(begin.volatile),
            publishing: Mutex::new(()),
            rings: RwLock::default(),
            history_floor: begin.history_floor,
            start,
            options: ArcSwap::from_pointee(begin.options),
            queue: Mutex::default(),
            wake: Notify::new(),
            controls,
            phase: watch::Sender::new(Phase::Open),
            database: ArcSwapOption::from_pointee(Some(begin.db)),
            lock: Mutex::new(begin.lock),
            started: Instant::now(),
            in_flight_since: AtomicU64::new(0),
            ring_bytes: AtomicUsize::new(0),
        }
    }

    /// How a resource is treated.
    pub(crate) fn options(&self, resource: &ResourceId) -> Arc<ResourceOptions> {
        match self.options.load().get(resource) {
            Some(options) => Arc::clone(options),
            None => Arc::new(ResourceOptions::unknown(resource.clone())),
        }
    }

    pub(crate) fn all_options(&self) -> Arc<HashMap<ResourceId, Arc<ResourceOptions>>> {
        self.options.load_full()
    }

    pub(crate) fn set_options(&self, options: &Arc<ResourceOptions>) {
        let mut all = HashMap::clone(&self.options.load());
        all.insert(options.resource.clone(), Arc::clone(options));
        self.options.store(Arc::new(all));
    }

    pub(crate) fn tier(&self, resource: &ResourceId) -> &Published {
        let volatile = self.options.load().get(resource).is_some_and(|options| options.volatile);
        if volatile { &self.volatile } else { &self.durable }
    }

    /// The visible state of an object.
    pub(crate) fn visible(&self, key: &Key) -> Option<Arc<Record>> {
        self.tier(&key.resource).get(key)
    }

    /// The newest state of an object, in flight or visible.
    pub(crate) fn newest(&self, key: &Key) -> Option<Arc<Record>> {
        if self.options(&key.resource).volatile { self.volatile.get(key) } else { self.head.load().get(key).cloned() }
    }

    /// The ring of a resource, made where there is none.
    pub(crate) fn ring(&self, resource: &ResourceId) -> Arc<Ring> {
        if let Some(ring) = self.rings.read().get(resource) {
            return Arc::clone(ring);
        }
        let options = self.options(resource);
        let floor = if options.history && !options.volatile { self.history_floor } else { self.start };
        Arc::clone(self.rings.write().entry(resource.clone()).or_insert_with(|| Arc::new(Ring::new(floor))))
    }

    pub(crate) fn rings(&self) -> Vec<(ResourceId, Arc<Ring>)> {
        self.rings.read().iter().map(|(resource, ring)| (resource.clone(), Arc::clone(ring))).collect()
    }

    /// Makes a state of a tier visible, then its commits (in order), then says so.
    pub(crate) fn publish(&self, tier: &Published, root: Root, commits: &[Arc<Commit>]) {
        let revision = root.revision;
        {
            let _together = self.publishing.lock();
            tier.root.store(Arc::new(root));
            for commits in commits.chunk_by(|a, b| a.key.resource == b.key.resource) {
                self.ring(&commits[0].key.resource).push(commits);
            }
        }
        tier.fed.send_replace(revision);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Since when the oldest batch waits for the disk, as the sequencer sees it.
    pub(crate) fn set_in_flight_since(&self, since: Option<Instant>) {
        let since = since
            .map_or(0, |since| self.now().saturating_sub(since.elapsed().as_millis().try_into().unwrap_or(0)).max(1));
        self.in_flight_since.store(since, Ordering::Release);
    }

    /// Whether the disk keeps us waiting for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        let since = self.in_flight_since.load(Ordering::Acquire);
        since != 0 && u128::from(self.now() - since.min(self.now())) > self.limits.stall.as_millis()
    }
}
