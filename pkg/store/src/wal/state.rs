// SPDX-License-Identifier: Apache-2.0

//! What the writer and its thread have in common: batches that gather, flushes that wait, and how
//! far the log is durable.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use slatedb::RowEntry;
use slatedb::wal::{WalError, WalEvent, WalStatus, WalStatusListener};
use tokio::sync::oneshot;

use super::rows;
use super::segment::Span;

/// Rows that become durable together.
pub(super) struct Batch {
    pub(super) id: u64,
    pub(super) sequences: Span,
    pub(super) rows: Vec<u8>,
    count: usize,
}

/// Someone who waits until all that was appended so far is durable.
pub(super) struct Flush {
    /// What he waits for beside what was flushed before; `None` where there was nothing.
    pub(super) batch: Option<Batch>,
    pub(super) done: oneshot::Sender<Result<(), WalError>>,
}

pub(super) struct State {
    gathering: Option<Batch>,
    waiting: Vec<Flush>,
    /// Bytes and rows that wait or are being written.
    unwritten: (usize, usize),
    writing: bool,
    last_id: u64,
    flushed_id: u64,
    flushed_sequence: Option<u64>,
    closing: bool,
    closed: Option<WalError>,
    listeners: Vec<WalStatusListener>,
}

pub(super) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    /// A log whose last batch is `last_id`.
    pub(super) fn new(last_id: u64) -> Self {
        let state = State {
            gathering: None,
            waiting: Vec::new(),
            unwritten: (0, 0),
            writing: false,
            last_id,
            flushed_id: last_id,
            flushed_sequence: None,
            closing: false,
            closed: None,
            listeners: Vec::new(),
        };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    pub(super) fn append(&self, entries: &[RowEntry]) -> Result<(), WalError> {
        let mut state = self.open_state()?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let id = state.last_id + 1;
        let fresh = || Batch { id, sequences: Span { first: first.seq, last: last.seq }, rows: Vec::new(), count: 0 };
        let batch = state.gathering.get_or_insert_with(fresh);
        let before = batch.rows.len();
        entries.iter().for_each(|entry| rows::put(&mut batch.rows, entry));
        batch.count += entries.len();
        batch.sequences.last = last.seq;
        let added = batch.rows.len() - before;
        state.unwritten.0 += added;
        state.unwritten.1 += entries.len();
        Ok(())
    }

    /// Hands what has gathered to the thread: the id of the last batch, and who tells when it is
    /// durable.
    pub(super) fn flush(&self) -> Result<(u64, oneshot::Receiver<Result<(), WalError>>), WalError> {
        let (done, wait) = oneshot::channel();
        let mut state = self.open_state()?;
        let batch = state.gathering.take();
        state.last_id = batch.as_ref().map_or(state.last_id, |batch| batch.id);
        if batch.is_none() && state.waiting.is_empty() && !state.writing {
            let _ = done.send(Ok(()));
        } else {
            state.waiting.push(Flush { batch, done });
            self.wake.notify_one();
        }
        Ok((state.last_id, wait))
    }

    /// All flushes that wait, as soon as there is one; `None` when the log is to be closed. Blocks.
    pub(super) fn take(&self) -> Option<Vec<Flush>> {
        let mut state = self.state.lock();
        state.writing = false;
        while state.waiting.is_empty() && !state.closing {
            self.wake.wait(&mut state);
        }
        state.writing = !state.waiting.is_empty();
        state.writing.then(|| std::mem::take(&mut state.waiting))
    }

    /// Batches up to this one are durable.
    pub(super) fn settle(&self, batches: &[&Batch]) {
        let mut state = self.state.lock();
        for batch in batches {
            state.flushed_id = batch.id;
            state.flushed_sequence = Some(batch.sequences.last);
            state.unwritten.0 -= batch.rows.len();
            state.unwritten.1 -= batch.count;
        }
        Self::tell(state, WalEvent::WalFlushed);
    }

    /// Nothing will be written any more: whoever waits is told why.
    pub(super) fn close(&self, reason: &WalError) {
        let mut state = self.state.lock();
        state.closed = Some(reason.clone());
        state.gathering = None;
        let waiting = std::mem::take(&mut state.waiting);
        state.unwritten = (0, 0);
        Self::tell(state, WalEvent::WalClosed);
        for flush in waiting {
            let _ = flush.done.send(Err(reason.clone()));
        }
    }

    /// Asks the thread to end when what was flushed is written.
    pub(super) fn end(&self) {
        self.state.lock().closing = true;
        self.wake.notify_one();
    }

    pub(super) fn status(&self) -> Result<WalStatus, WalStatus> {
        let status = self.state.lock().status();
        if status.closed_reason.is_none() { Ok(status) } else { Err(status) }
    }

    pub(super) fn subscribe(&self, listener: WalStatusListener) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            let status = state.status();
            drop(state);
            listener(WalEvent::WalClosed(status));
        } else {
            state.listeners.push(listener);
        }
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, WalError> {
        let state = self.state.lock();
        match &state.closed {
            Some(reason) => Err(reason.clone()),
            None if state.closing => Err(WalError::Closed),
            None => Ok(state),
        }
    }

    /// Only the thread tells, so listeners hear in order; they may ask for the status.
    fn tell(state: MutexGuard<'_, State>, event: fn(WalStatus) -> WalEvent) {
        let (status, listeners) = (state.status(), state.listeners.iter().map(Arc::clone).collect::<Vec<_>>());
        drop(state);
        for listener in listeners {
            listener(event(status.clone()));
        }
    }
}

impl State {
    fn status(&self) -> WalStatus {
        WalStatus {
            closed_reason: self.closed.clone(),
            estimated_bytes: self.unwritten.0,
            last_flushed_wal_id: self.flushed_id,
            last_flushed_seq: self.flushed_sequence,
            buffered_wal_entries_count: self.unwritten.1,
        }
    }
}
