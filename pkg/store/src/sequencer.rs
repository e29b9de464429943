// SPDX-License-Identifier: Apache-2.0

//! The one task that orders proposals: it compares, numbers, writes a batch, lets the next gather
//! while that one is made durable, and publishes batches in their order. Nothing else writes to the
//! database.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use knarr_types::{Key, Revision};
use slatedb::Db;
use slatedb::config::{FlushOptions, FlushType, WriteOptions};
use tokio::sync::mpsc;

use crate::batch::{Batch, number};
use crate::commit::HistoryMark;
use crate::conditions;
use crate::database::Ground;
use crate::error::ProposeError;
use crate::keys;
use crate::prepare::{Prepared, now_ms};
use crate::proposal::Committed;
use crate::ring::Budget;
use crate::shared::{Control, Phase, Queued, Refusal, Shared};
use crate::value::Sealed;
use crate::view::Root;

/// A batch may take this many revisions beyond the durable ceiling's distance before the sequencer
/// waits for a higher one.
const CEILING_MARGIN: u64 = 2048;
/// Volatile writes of this many bytes do not wait for a batch of others.
const VOLATILE_BYTES: usize = 1 << 20;

/// The state of the task.
pub(crate) struct Sequencer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ground: Ground,
    pub(crate) db: Db,
    pub(crate) controls: mpsc::UnboundedReceiver<Control>,
    /// The durable tier with everything ordered so far.
    pub(crate) head: Root,
    /// The last revision handed out, and the last that the database knows.
    pub(crate) last: Revision,
    pub(crate) written: Revision,
    /// The ceiling that is written, and the one that is durable.
    pub(crate) ceiling: Revision,
    pub(crate) durable_ceiling: Revision,
    pub(crate) history: HistoryMark,
    pub(crate) history_written: HistoryMark,
    /// Batches on their way, and whether they got there.
    pub(crate) batches: VecDeque<Batch>,
    pub(crate) flushes: FuturesOrdered<BoxFuture<'static, Result<(), slatedb::Error>>>,
    pub(crate) budget: Budget,
    /// Volatile writes that no batch has taken along yet, by name.
    pub(crate) pending: BTreeMap<Bytes, (Revision, Option<Bytes>)>,
    pub(crate) pending_bytes: usize,
    pub(crate) pending_since: Option<Instant>,
    /// What expires, and when (Unix time in milliseconds), in this order.
    pub(crate) expiring: VecDeque<(u64, Key, Revision)>,
}

impl Sequencer {
    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            while self.has_room() && !shared.queue.lock().is_empty() {
                self.gather().await;
            }
            if self.pending_bytes >= VOLATILE_BYTES && self.has_room() {
                self.flush_volatile().await;
            }
            let timer = self.next_timer();
            let flow = tokio::select! {
                biased;
                Some(flushed) = self.flushes.next(), if !self.flushes.is_empty() => self.settle(flushed).await,
                Some(control) = self.controls.recv() => self.obey(control).await,
                () = shared.wake.notified() => ControlFlow::Continue(()),
                () = sleep_until(timer) => self.tick().await,
            };
            if flow.is_break() {
                return;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.batches.len() < self.shared.limits.batches_in_flight
    }

    /// Orders what waits into one batch and writes it.
    async fn gather(&mut self) {
        if self.last.0 + CEILING_MARGIN > self.durable_ceiling.0 {
            self.raise_ceiling().await;
        }
        let limits = &self.shared.limits;
        let queued = self.shared.queue.lock().take(limits.batch_changes, limits.batch_bytes);
        let mut batch = Batch::new();
        let now = Instant::now();
        for queued in queued {
            // Not taken: the writer may drop it at the same time, and says the same.
            if queued.deadline <= now {
                let _ = queued.reply.send(Err(Refusal::Final(ProposeError::Timeout)));
            } else if queued.claim.take() && !queued.reply.is_closed() {
                self.order(queued, &mut batch);
            }
        }
        if batch.commits.is_empty() && batch.replies.is_empty() {
            return;
        }
        self.submit(batch).await;
    }

    /// Compares one proposal with the newest state and gives its changes their revisions.
    fn order(&mut self, queued: Queued, batch: &mut Batch) {
        let Queued { prepared, reply, .. } = queued;
        let volatile = self.shared.volatile.root();
        if let Err(refusal) = conditions::check(&prepared, &self.shared, &self.head, &volatile) {
            // What refuses it may be in flight: it is answered once that is durable.
            batch.replies.push((reply, Err(refusal)));
        } else if prepared.volatile {
            let committed = self.apply_volatile(prepared, Root::clone(&volatile));
            let _ = reply.send(Ok(committed));
        } else {
            let committed = self.apply(prepared, batch);
            batch.replies.push((reply, Ok(committed)));
        }
    }

    fn apply(&mut self, prepared: Prepared, batch: &mut Batch) -> Committed {
        let mut applied = Vec::with_capacity(prepared.changes.len());
        for change in prepared.changes {
            self.last = self.last.next();
            let before = self.head.get(&change.key).cloned();
            let numbered = number(change, self.last, before);
            match numbered.stored {
                Some((name, Some(value))) => batch.put(name, value),
                Some((name, None)) => batch.delete(&name),
                None => {}
            }
            if let Some(value) = numbered.history {
                self.history.bytes += batch.put_commit(&numbered.commit, value);
            }
            let commit = numbered.commit;
            let options = || self.shared.options(&commit.key.resource);
            self.head.set(&commit.key, commit.revision, commit.after.clone(), options);
            batch.commits.push(commit);
            applied.push(numbered.applied);
        }
        Committed { revision: self.last, applied }
    }

    /// Publishes volatile changes at once and leaves their writing to the next batch.
    pub(crate) fn apply_volatile(&mut self, prepared: Prepared, mut root: Root) -> Committed {
        let mut applied = Vec::with_capacity(prepared.changes.len());
        let mut commits = Vec::with_capacity(prepared.changes.len());
        for change in prepared.changes {
            self.last = self.last.next();
            let before = root.get(&change.key).cloned();
            let numbered = number(change, self.last, before);
            let commit = numbered.commit;
            let options = self.shared.options(&commit.key.resource);
            if let (Some(age), Some(record)) = (options.expire_after, &commit.after) {
                let due = record.written_ms + u64::try_from(age.as_millis()).unwrap_or(u64::MAX / 2);
                self.expiring.push_back((due, commit.key.clone(), commit.revision));
            }
            root.set(&commit.key, commit.revision, commit.after.clone(), || options);
            if let Some((name, value)) = numbered.stored {
                self.pending_bytes += name.len() + value.as_ref().map_or(0, Bytes::len);
                self.pending.insert(name, (self.last, value));
                self.pending_since.get_or_insert_with(Instant::now);
            }
            commits.push(commit);
            applied.push(numbered.applied);
        }
        root.revision = self.last;
        self.keep(&commits);
        self.shared.publish(&self.shared.volatile, root, &commits);
        self.shrink();
        Committed { revision: self.last, applied }
    }

    /// Hands a batch to the database and asks it to make it durable.
    pub(crate) async fn submit(&mut self, mut batch: Batch) {
        if self.last.0 + self.shared.limits.revision_block / 2 > self.ceiling.0 {
            self.ceiling = Revision(self.last.0 + self.shared.limits.revision_block);
            batch.ceiling = Some(self.ceiling);
            batch.put(Bytes::from_static(keys::CEILING), Sealed::clear(&self.ceiling.0.to_be_bytes()).at(self.last));
            self.put_history(&mut batch);
        }
        if !batch.is_empty {
            self.take_pending(&mut batch);
            if self.last == self.written {
                self.last = self.last.next();
            }
        }
        self.head.revision = self.last;
        batch.root = Some(self.head.clone());
        self.shared.head.store(Arc::new(self.head.clone()));
        let writes = std::mem::take(&mut batch.writes);
        if self.batches.is_empty() {
            self.shared.set_in_flight_since(Some(batch.begun));
        }
        let is_empty = batch.is_empty;
        self.batches.push_back(batch);
        if is_empty {
            self.flushes.push_back(Box::pin(async { Ok(()) }));
            return;
        }
        self.written = self.last;
        let options = WriteOptions { seqnum: self.last.0 };
        let flush: BoxFuture<_> = match self.db.write_with_options(writes, &options).await {
            Ok(_) => {
                let db = self.db.clone();
                Box::pin(async move { db.flush_with_options(FlushOptions { flush_type: FlushType::Wal }).await })
            }
            Err(error) => Box::pin(async { Err(error) }),
        };
        self.flushes.push_back(flush);
    }

    fn take_pending(&mut self, batch: &mut Batch) {
        for (name, (revision, value)) in std::mem::take(&mut self.pending) {
            match &value {
                Some(value) => batch.put(name.clone(), value.clone()),
                None => batch.delete(&name),
            }
            batch.volatile.push((name, (revision, value)));
        }
        self.pending_bytes = 0;
        self.pending_since = None;
    }

    /// The oldest batch is durable, or its outcome is unknown.
    async fn settle(&mut self, flushed: Result<(), slatedb::Error>) -> ControlFlow<()> {
        match flushed {
            Ok(()) => {
                if let Some(batch) = self.batches.pop_front() {
                    self.publish(batch);
                }
                self.shared.set_in_flight_since(self.batches.front().map(|batch| batch.begun));
                ControlFlow::Continue(())
            }
            Err(error) => self.recover(&error).await,
        }
    }

    fn publish(&mut self, batch: Batch) {
        let root = batch.root.expect("submit gave the batch its state");
        let revision = root.revision;
        if let Some(ceiling) = batch.ceiling {
            self.durable_ceiling = ceiling;
        }
        self.keep(&batch.commits);
        self.shared.publish(&self.shared.durable, root, &batch.commits);
        // Whatever is volatile and older was visible at once.
        let volatile = self.shared.volatile.root();
        if volatile.revision < revision {
            self.shared.publish(&self.shared.volatile, Root { revision, ..Root::clone(&volatile) }, &[]);
        }
        self.shrink();
        for (reply, result) in batch.replies {
            let _ = reply.send(result);
        }
    }

    /// Counts commits that are about to enter the rings.
    pub(crate) fn keep(&mut self, commits: &[Arc<crate::record::Commit>]) {
        for commit in commits {
            self.budget.add(&self.shared.ring(&commit.key.resource), commit);
        }
    }

    /// One budget for all that is kept besides the present state.
    pub(crate) fn shrink(&mut self) {
        let view = self.head.bytes + self.shared.volatile.root().bytes;
        self.budget.shrink(self.shared.limits.ring_bytes.max(view / 4));
        self.shared.ring_bytes.store(self.budget.bytes(), Ordering::Relaxed);
    }

    async fn raise_ceiling(&mut self) {
        let mut batch = Batch::new();
        self.ceiling = Revision(self.last.0 + 2 * self.shared.limits.revision_block.max(CEILING_MARGIN));
        batch.ceiling = Some(self.ceiling);
        batch.put(Bytes::from_static(keys::CEILING), Sealed::clear(&self.ceiling.0.to_be_bytes()).at(self.last));
        self.submit(batch).await;
        self.drain().await;
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn drain(&mut self) {
        while let Some(flushed) = self.flushes.next().await {
            if self.settle(flushed).await.is_break() {
                return;
            }
        }
    }

    async fn flush_volatile(&mut self) {
        let mut batch = Batch::new();
        batch.is_empty = self.pending.is_empty();
        if !batch.is_empty {
            self.submit(batch).await;
        }
    }

    /// Makes durable what no batch has taken along: volatile writes, and how long the history is.
    async fn write_rest(&mut self) {
        let mut batch = Batch::new();
        batch.is_empty = self.pending.is_empty();
        if self.history != self.history_written {
            self.put_history(&mut batch);
        }
        if !batch.is_empty {
            self.submit(batch).await;
        }
        self.drain().await;
    }

    fn put_history(&mut self, batch: &mut Batch) {
        self.history_written = self.history;
        batch.put(Bytes::from_static(keys::HISTORY), Sealed::clear(&self.history.encode()).at(self.last));
    }

    fn next_timer(&self) -> Option<Instant> {
        let write = self.pending_since.map(|since| since + self.shared.limits.volatile_delay);
        let expire = self
            .expiring
            .front()
            .map(|(due, ..)| Instant::now() + std::time::Duration::from_millis(due.saturating_sub(now_ms())));
        write.into_iter().chain(expire).min()
    }

    async fn tick(&mut self) -> ControlFlow<()> {
        self.expire();
        let due = self.pending_since.is_some_and(|since| since.elapsed() >= self.shared.limits.volatile_delay);
        if due && self.has_room() {
            self.flush_volatile().await;
        } else if due && let Some(flushed) = self.flushes.next().await {
            return self.settle(flushed).await;
        }
        ControlFlow::Continue(())
    }

    async fn obey(&mut self, control: Control) -> ControlFlow<()> {
        match control {
            Control::Register(options, done) => {
                self.drain().await;
                self.register(Arc::new(options));
                let _ = done.send(());
            }
            Control::Prune { names, floor, bytes, done } => {
                let mut batch = Batch::new();
                for name in &names {
                    batch.delete(name);
                }
                self.history = HistoryMark {
                    floor: self.history.floor.max(floor),
                    bytes: self.history.bytes.saturating_sub(bytes),
                };
                self.put_history(&mut batch);
                self.submit(batch).await;
                let _ = done.send(());
            }
            Control::Close(done) => {
                while !self.shared.queue.lock().is_empty() && *self.shared.phase.borrow() == Phase::Open {
                    self.gather().await;
                    self.drain().await;
                }
                self.write_rest().await;
                crate::database::close(&self.db).await;
                self.stop();
                let _ = done.send(());
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Nothing is ordered any more: whoever waits is told.
    pub(crate) fn stop(&mut self) {
        self.shared.phase.send_replace(Phase::Closed);
        self.shared.lock.lock().take();
        self.shared.database.store(None);
        for queued in self.shared.queue.lock().drain() {
            let _ = queued.reply.send(Err(Refusal::Final(ProposeError::Closed)));
        }
        for (_, ring) in self.shared.rings() {
            ring.close();
        }
    }
}

impl Drop for Sequencer {
    /// However the task ends, nobody waits for it.
    fn drop(&mut self) {
        self.stop();
    }
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
