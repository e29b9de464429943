// SPDX-License-Identifier: Apache-2.0

//! A write-ahead log of our own, for local disks: SlateDB's makes a file a flush, this one appends.
//!
//! Batches that SlateDB hands to the writer are gathered, written at the end of a preallocated
//! segment, and made durable with one `fdatasync`. At an open the segments are read (`replay`), the
//! tail is taken over into a new segment, and SlateDB gets every row that its tables lack. Segments
//! that nobody needs are removed (`collect`).
//!
//! What is known about damage. A record is written only when the one before it is durable, and only
//! into a segment of the writer's own: so whatever a crash tears is the last record of the log, and
//! nobody was told that it is durable. A bad record is therefore cut where nothing good follows it,
//! and an error that names the file where something does: a good record later in the segment, or a
//! later segment that does not go on where this one ends. What cannot be told apart is a last
//! record torn by a crash from one that was durable and went bad later: it is cut.
//!
//! A failed write or sync closes the log. The next open copies the last record to its own segment
//! before anyone sees what it says: what the kernel shows of it need not be on the disk. Where there
//! is little, it copies all, and the older segments go.
//!
//! Fencing. A newer writer makes its first segment before it reads the others; an older one looks,
//! after each sync and before it says so, whether there is a segment of a newer epoch. So whatever
//! an older writer acknowledged is in what the newer one reads.

mod append;
mod collect;
mod folder;
mod replay;
mod rows;
pub mod segment;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use slatedb::wal::{WalError, WriterInit, WriterInitResult, WriterManifest};

pub(crate) use collect::Collector;
pub(crate) use folder::Directory;
pub use folder::{File, Folder};
pub use rows::decode as decode_rows;

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the write-ahead log is damaged: {file}: {why}")]
struct Damaged {
    file: String,
    why: String,
}

/// Opens the log in a folder.
pub(crate) struct Log(pub(crate) Arc<dyn Folder>);

#[async_trait]
impl WriterInit for Log {
    async fn fence_and_init(&self, manifest: &mut WriterManifest) -> Result<WriterInitResult, WalError> {
        let (folder, epoch, after) = (Arc::clone(&self.0), manifest.epoch(), manifest.replay_after_wal_id());
        let opened = tokio::task::spawn_blocking(move || replay::open(folder, epoch, after));
        let (replay, tail) = opened.await.map_err(|error| WalError::InternalError(Arc::new(error)))??;
        let writer = writer::Writer::start(tail).map_err(unavailable)?;
        Ok(WriterInitResult { replay_iterator: Box::new(replay), wal_writer: Box::new(writer) })
    }
}

/// The disk refused.
fn unavailable(error: std::io::Error) -> WalError {
    WalError::Unavailable(Arc::new(error))
}
