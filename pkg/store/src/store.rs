// SPDX-License-Identifier: Apache-2.0

//! The store as its users see it: open, read, propose, follow, close.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::stream::FuturesOrdered;
use knarr_types::{Key, ResourceId, Revision};
use tokio::sync::{mpsc, oneshot};

use crate::database::{self, Ground};
use crate::error::{OpenError, ProposeError, ReadError, UpdateError};
use crate::load;
use crate::options::{Options, ResourceOptions};
use crate::prepare::{Prepared, Seen, prepare};
use crate::proposal::{Applied, Change, Committed, Decision, Precondition, Proposal, WriteContext};
use crate::record::Record;
use crate::ring::Budget;
use crate::sequencer::Sequencer;
use crate::shared::{Beginning, Claim, Control, HashMap, Phase, Queued, Refusal, Shared};
use crate::view::{Scope, Snapshot, View};
use crate::watch::Watcher;

/// When a client should come back that met a full queue or a store that takes no writes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The state of the cluster. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// Whether the store can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes.
    Ready,
    /// Reads only, for the reason given.
    NotReady(&'static str),
}

/// Figures about the store, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The visible revision of the durable tier.
    pub revision: Revision,
    /// The visible revision of the volatile tier.
    pub volatile_revision: Revision,
    /// Memory held by the present state, about.
    pub view_bytes: usize,
    /// Memory held by commits kept for watches and exact reads, about.
    pub ring_bytes: usize,
    /// Proposals that wait for their turn.
    pub queued: usize,
}

impl Store {
    /// Opens the store, or makes it; reads all objects and as many commits as the memory budget
    /// allows, so that watches go on where they were.
    ///
    /// # Errors
    /// [`OpenError`]: in use, another cluster's, too new, damaged, or out of reach.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let Options { backend, resources, limits } = options;
        let mut ground = Ground::prepare(&backend)?;
        let db = ground.open(&limits).await.map_err(|error| OpenError::Database(error.to_string()))?;
        let by_resource: HashMap<_, _> =
            resources.into_iter().map(|options| (options.resource.clone(), Arc::new(options))).collect();
        let loaded = match load::load(&db, &ground.keys, &by_resource, &limits).await {
            Ok(loaded) => loaded,
            Err(error) => {
                database::close(&db).await;
                return Err(error);
            }
        };
        let ring_bytes = limits.ring_bytes.max(loaded.durable.bytes / 4);
        let (commits, floor) =
            load::replay(&db, &ground.keys, &loaded.durable, loaded.history.floor, ring_bytes).await?;
        let (controls, orders) = mpsc::unbounded_channel();
        let start = loaded.durable.revision;
        let head = loaded.durable.clone();
        let shared = Arc::new(Shared::new(
            Beginning {
                limits,
                keys: ground.keys.clone(),
                lock: ground.lock.take(),
                options: by_resource,
                durable: loaded.durable,
                volatile: loaded.volatile,
                db: db.clone(),
                history_floor: floor,
            },
            controls,
        ));
        let mut sequencer = Sequencer {
            shared: Arc::clone(&shared),
            ground,
            db,
            controls: orders,
            last: start,
            written: start,
            ceiling: loaded.ceiling,
            durable_ceiling: loaded.ceiling,
            history: loaded.history,
            history_written: loaded.history,
            batches: VecDeque::new(),
            flushes: FuturesOrdered::new(),
            budget: Budget::default(),
            pending: std::collections::BTreeMap::new(),
            pending_bytes: 0,
            pending_since: None,
            expiring: VecDeque::new(),
            head: head.clone(),
        };
        sequencer.keep(&commits);
        shared.publish(&shared.durable, head, &commits);
        sequencer.shrink();
        sequencer.schedule_expiry();
        tokio::spawn(sequencer.run());
        tokio::spawn(crate::prune::run(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Whose state this is: random, given when the store was made.
    #[must_use]
    pub fn cluster(&self) -> &str {
        self.shared.keys.cluster()
    }

    /// Says how a resource is to be treated from now on: for those that were not known at the start.
    pub async fn register(&self, options: ResourceOptions) {
        let (done, wait) = oneshot::channel();
        if self.shared.controls.send(Control::Register(options, done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// The visible state of an object. Copies nothing.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Record>> {
        self.shared.visible(key)
    }

    /// The visible state of a resource. Costs the same whatever its size.
    #[must_use]
    pub fn snapshot(&self, resource: &ResourceId) -> Snapshot {
        let root = self.shared.tier(resource).root();
        let view = match root.views.get(resource) {
            Some(view) => Arc::clone(view),
            None => Arc::new(View::new(self.shared.options(resource), root.revision)),
        };
        Snapshot::new(root.revision, view)
    }

    /// The visible revision of a resource's tier.
    #[must_use]
    pub fn revision(&self, resource: &ResourceId) -> Revision {
        self.shared.tier(resource).root().revision
    }

    /// The revision of the newest visible change of any of these durable resources; what was before the
    /// store was opened counts as one change. Allocates nothing.
    #[must_use]
    pub fn changed(&self, resources: &[ResourceId]) -> Revision {
        let root = self.shared.durable.root();
        let newest = resources.iter().filter_map(|resource| root.views.get(resource)).map(|view| view.changed()).max();
        newest.unwrap_or(Revision::ZERO)
    }

    /// The state of a resource exactly at `revision`: the present one with later commits undone.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] where those are no longer kept, [`ReadError::TooLarge`] where the
    /// revision has not been reached.
    pub fn snapshot_at(&self, resource: &ResourceId, revision: Revision) -> Result<Snapshot, ReadError> {
        let ring = self.shared.ring(resource);
        let (now, later) = {
            let _together = self.shared.publishing.lock();
            (self.snapshot(resource), ring.undo(revision))
        };
        if revision > now.revision() {
            return Err(ReadError::TooLarge { requested: revision, current: now.revision() });
        }
        if revision == now.revision() {
            return Ok(now);
        }
        let later = later.ok_or_else(|| ReadError::Compacted { requested: revision, oldest: ring.floor() })?;
        Ok(now.undone(revision, &later))
    }

    /// The state of a resource at `revision` or later: waits up to `patience` for it.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`] where it was not reached.
    pub async fn not_older_than(
        &self,
        resource: &ResourceId,
        revision: Revision,
        patience: Duration,
    ) -> Result<Snapshot, ReadError> {
        let mut fed = self.shared.tier(resource).fed();
        let reached = tokio::time::timeout(patience, fed.wait_for(|fed| *fed >= revision)).await;
        if reached.is_ok_and(|reached| reached.is_ok()) {
            return Ok(self.snapshot(resource));
        }
        Err(ReadError::TooLarge { requested: revision, current: self.revision(resource) })
    }

    /// Follows a scope of a resource: all commits after `from`.
    #[must_use]
    pub fn watch(&self, resource: &ResourceId, from: Revision, scope: Scope) -> Watcher {
        Watcher::new(self.shared.ring(resource), scope, from, self.shared.tier(resource).fed())
    }

    /// Commits a proposal: durable and visible when this returns. Cancelling does not take it back.
    ///
    /// # Errors
    /// [`ProposeError`]; only [`ProposeError::Unknown`] leaves open whether it was applied.
    pub async fn propose(&self, proposal: Proposal) -> Result<Committed, ProposeError> {
        loop {
            self.check_open()?;
            let prepared = prepare(&self.shared, &proposal, None)?;
            match self.submit(prepared, &proposal.context).await {
                Ok(committed) => return Ok(committed),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Rebase) => {}
            }
        }
    }

    /// Computes the new state of an object from its newest, writes in flight included, and commits
    /// it; again where another write came between. What was decided is given back with the object
    /// after it; `None` where there was and is none.
    ///
    /// # Errors
    /// What `decide` says, or [`ProposeError`].
    pub async fn update<E>(
        &self,
        key: &Key,
        context: &WriteContext,
        mut decide: impl FnMut(Option<&Arc<Record>>) -> Result<Decision, E> + Send,
    ) -> Result<Option<Applied>, UpdateError<E>> {
        self.update_with(key, context, |record| std::future::ready(decide(record.as_ref()))).await
    }

    /// [`Store::update`] for decisions that wait for others (webhooks).
    ///
    /// # Errors
    /// As [`Store::update`].
    pub async fn update_with<E, F>(
        &self,
        key: &Key,
        context: &WriteContext,
        mut decide: impl FnMut(Option<Arc<Record>>) -> F,
    ) -> Result<Option<Applied>, UpdateError<E>>
    where
        F: Future<Output = Result<Decision, E>>,
    {
        loop {
            self.check_open()?;
            let newest = self.shared.newest(key);
            let seen_at = self.shared.head.load().revision;
            let (preconditions, changes) = match decide(newest.clone()).await {
                Ok(Decision::Put(draft)) => (Vec::new(), vec![Change::Put(key.clone(), draft)]),
                Ok(Decision::Delete) => (Vec::new(), vec![Change::Delete(key.clone())]),
                Ok(Decision::With { draft, preconditions, changes: others }) => {
                    let own = match draft {
                        Some(draft) => Change::Put(key.clone(), draft),
                        None => Change::Delete(key.clone()),
                    };
                    (preconditions, std::iter::once(own).chain(others).collect())
                }
                Ok(Decision::Keep) => {
                    self.settled(key, newest.as_ref(), seen_at, context).await?;
                    return Ok(newest.map(|record| Applied { revision: record.revision, record }));
                }
                Err(error) => {
                    self.settled(key, newest.as_ref(), seen_at, context).await?;
                    return Err(UpdateError::Refused(error));
                }
            };
            let seen = Seen { key, record: newest.as_ref() };
            let proposal = Proposal { preconditions, changes, based_on: None, context: context.clone() };
            let prepared = prepare(&self.shared, &proposal, Some(&seen))?;
            match self.submit(prepared, context).await {
                Ok(committed) => return Ok(committed.applied.into_iter().next()),
                Err(Refusal::Final(error)) => return Err(error.into()),
                Err(Refusal::Rebase) => {}
            }
        }
    }

    /// Waits until a state that a decision was taken on is durable: an answer must not tell of a
    /// write that may still be lost.
    async fn settled(
        &self,
        key: &Key,
        seen: Option<&Arc<Record>>,
        seen_at: Revision,
        context: &WriteContext,
    ) -> Result<(), ProposeError> {
        let revision = |record: Option<&Arc<Record>>| record.map(|record| record.revision);
        if revision(seen) == revision(self.get(key).as_ref()) {
            return Ok(());
        }
        let mut fed = self.shared.durable.fed();
        let durable = tokio::time::timeout_at(context.deadline.into(), fed.wait_for(|fed| *fed >= seen_at)).await;
        if durable.is_ok_and(|fed| fed.is_ok()) { Ok(()) } else { Err(ProposeError::Timeout) }
    }

    /// Queues what was prepared and waits for the answer, up to the deadline.
    async fn submit(&self, prepared: Prepared, context: &WriteContext) -> Result<Committed, Refusal> {
        let (bytes, deadline) = (prepared.bytes, context.deadline);
        if deadline <= Instant::now() {
            return Err(Refusal::Final(ProposeError::Timeout));
        }
        let claim = Arc::new(Claim::default());
        let (reply, mut answer) = oneshot::channel();
        let queued = Queued { prepared, claim: Arc::clone(&claim), deadline, reply };
        self.enqueue(context, bytes, queued).map_err(Refusal::Final)?;
        self.shared.wake.notify_one();
        match tokio::time::timeout_at(deadline.into(), &mut answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Refusal::Final(ProposeError::Unknown)),
            Err(_) if claim.drop_queued() => Err(Refusal::Final(ProposeError::Timeout)),
            Err(_) => Err(Refusal::Final(ProposeError::Unknown)),
        }
    }

    fn enqueue(&self, context: &WriteContext, bytes: usize, queued: Queued) -> Result<(), ProposeError> {
        let mut queue = self.shared.queue.lock();
        // Under the lock: who ends the store says so before it empties the queue for the last time.
        if *self.shared.phase.borrow() == Phase::Closed {
            return Err(ProposeError::Closed);
        }
        queue
            .push(context.lane, &context.flow, bytes, queued, &self.shared.limits)
            .map_err(|_| ProposeError::TooManyRequests { retry_after: RETRY_AFTER })
    }

    fn check_open(&self) -> Result<(), ProposeError> {
        if *self.shared.phase.borrow() == Phase::Closed {
            return Err(ProposeError::Closed);
        }
        match self.health() {
            Health::Ready => Ok(()),
            Health::NotReady(why) => Err(ProposeError::Unavailable { why: why.into(), retry_after: RETRY_AFTER }),
        }
    }

    /// Whether reads and writes are served.
    #[must_use]
    pub fn health(&self) -> Health {
        match *self.shared.phase.borrow() {
            Phase::Open if self.shared.is_stalled() => Health::NotReady("the disk does not confirm writes"),
            Phase::Open => Health::Ready,
            Phase::Reopening => Health::NotReady("the outcome of a write is unknown, the store is being read again"),
            Phase::DiskFull => Health::NotReady("the disk is full: free some of it, then writes go on by themselves"),
            Phase::Closed => Health::NotReady("the store is closed or was taken over by another server"),
        }
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (durable, volatile) = (self.shared.durable.root(), self.shared.volatile.root());
        Stats {
            revision: durable.revision,
            volatile_revision: volatile.revision,
            view_bytes: durable.bytes + volatile.bytes,
            ring_bytes: self.shared.ring_bytes.load(Ordering::Relaxed),
            queued: self.shared.queue.lock().len(),
        }
    }

    /// Writes what waits, ends all watches and gives the directory free.
    pub async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.shared.controls.send(Control::Close(done)).is_ok() {
            let _ = wait.await;
        }
    }
}

impl Proposal {
    /// One change under one condition: what most writers need.
    #[must_use]
    pub fn single(precondition: Option<Precondition>, change: Change, context: WriteContext) -> Self {
        Self { preconditions: precondition.into_iter().collect(), changes: vec![change], based_on: None, context }
    }
}

impl WriteContext {
    /// In the normal lane, with the author's user as flow.
    #[must_use]
    pub fn new(author: crate::proposal::Author, patience: Duration) -> Self {
        let flow = Arc::clone(&author.user);
        Self { author, lane: crate::proposal::Lane::Normal, flow, deadline: Instant::now() + patience }
    }
}
