// SPDX-License-Identifier: Apache-2.0

//! The writer that SlateDB appends to, and the thread that waits for the disk in its place.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use slatedb::RowEntry;
use slatedb::wal::{WalError, WalFlushResult, WalObserver, WalStatus, WalStatusListener, WalWriter};
use tokio::sync::oneshot;

use super::append::Appender;
use super::segment::Span;
use super::state::{Batch, Flush, Shared};

/// The thread writes bytes that others made.
const STACK_BYTES: usize = 256 << 10;

/// Where a writer begins.
pub(super) struct Beginning {
    pub(super) appender: Appender,
    /// The last batch that is in the log or in SlateDB's tables.
    pub(super) last_id: u64,
}

/// Appends batches; flushes that meet while the disk is busy share the next record.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Writer {
    pub(super) fn start(begin: Beginning) -> std::io::Result<Self> {
        let Beginning { appender, last_id } = begin;
        let shared = Arc::new(Shared::new(last_id));
        let (end, ended) = oneshot::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("wal".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            run(&of_thread, appender);
            let _ = end.send(());
        })?;
        Ok(Self { shared, ended: Some(ended) })
    }
}

/// The thread: sleeps until something is flushed; ends after an error or when it is told to.
fn run(shared: &Shared, mut appender: Appender) {
    while let Some(flushes) = shared.take() {
        let result = write(shared, &mut appender, &flushes);
        if let Err(reason) = &result {
            shared.close(reason);
        }
        for flush in flushes {
            let _ = flush.done.send(result.clone());
        }
        if result.is_err() {
            return;
        }
    }
    shared.close(&WalError::Closed);
}

/// Makes all batches of these flushes durable, in one record.
fn write(shared: &Shared, appender: &mut Appender, flushes: &[Flush]) -> Result<(), WalError> {
    let batches: Vec<&Batch> = flushes.iter().filter_map(|flush| flush.batch.as_ref()).collect();
    let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Ok(()) };
    let bodies: Vec<&[u8]> = batches.iter().map(|batch| &batch.rows[..]).collect();
    let ids = Span { first: first.id, last: last.id };
    let sequences = Span { first: first.sequences.first, last: last.sequences.last };
    appender.append(ids, sequences, &bodies)?;
    shared.settle(&batches);
    Ok(())
}

#[async_trait]
impl WalWriter for Writer {
    async fn append(&mut self, write_batch: &[RowEntry]) -> Result<(), WalError> {
        self.shared.append(write_batch)
    }

    async fn flush(&mut self) -> Result<WalFlushResult, WalError> {
        let (wal_id, done) = self.shared.flush()?;
        let completion = async { done.await.unwrap_or_else(|gone| Err(WalError::InternalError(Arc::new(gone)))) };
        Ok(WalFlushResult { wal_id, completion: completion.boxed() })
    }

    fn observer(&self) -> Box<dyn WalObserver> {
        Box::new(Observer(Arc::clone(&self.shared)))
    }

    fn status(&self) -> Result<WalStatus, WalStatus> {
        self.shared.status()
    }

    async fn close(&mut self) -> Result<(), WalError> {
        self.shared.end();
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.end();
    }
}

struct Observer(Arc<Shared>);

impl WalObserver for Observer {
    fn status(&self) -> Result<WalStatus, WalStatus> {
        self.0.status()
    }

    fn subscribe(&self, listener: WalStatusListener) -> Result<(), WalError> {
        self.0.subscribe(listener);
        Ok(())
    }
}
