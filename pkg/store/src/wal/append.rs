// SPDX-License-Identifier: Apache-2.0

//! The end of the log: a record goes to the disk, is made durable, and counts only if no newer
//! writer has come.

use std::sync::Arc;

use slatedb::wal::WalError;

use super::folder::{File, Folder};
use super::segment::{self, Name, Span};
use super::unavailable;

/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 256 << 10;

/// Appends to segments of one writer. After an error it must not be used again.
pub(super) struct Appender {
    folder: Arc<dyn Folder>,
    name: Name,
    file: Box<dyn File>,
    at: usize,
    buffer: Vec<u8>,
}

impl Appender {
    /// Makes the first segment of a writer.
    pub(super) fn create(folder: Arc<dyn Folder>, epoch: u64) -> Result<Self, WalError> {
        let name = Name { epoch, index: 0 };
        let file = folder.create(&name.file(), folder.segment_bytes() as u64).map_err(unavailable)?;
        Ok(Self { folder, name, file, at: 0, buffer: Vec::new() })
    }

    /// The segment that is appended to.
    pub(super) const fn name(&self) -> Name {
        self.name
    }

    /// Makes a record durable. Blocks.
    pub(super) fn append(&mut self, ids: Span, sequences: Span, bodies: &[&[u8]]) -> Result<(), WalError> {
        let bytes = segment::record_bytes(bodies.iter().map(|body| body.len()).sum());
        if self.at > 0 && self.at + bytes > self.folder.segment_bytes() {
            self.next_segment(bytes)?;
        }
        self.buffer.clear();
        if self.at == 0 {
            segment::put_header(&mut self.buffer, self.name, ids.first);
        }
        segment::put_record(&mut self.buffer, self.name, ids, sequences, bodies);
        self.file.write_at(&self.buffer, self.at as u64).map_err(unavailable)?;
        self.file.sync().map_err(unavailable)?;
        self.at += self.buffer.len();
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        older_segments(&*self.folder, self.name.epoch).map(|_| ())
    }

    fn next_segment(&mut self, record_bytes: usize) -> Result<(), WalError> {
        self.name.index += 1;
        let bytes = self.folder.segment_bytes().max(segment::HEADER_BYTES + record_bytes);
        self.file = self.folder.create(&self.name.file(), bytes as u64).map_err(unavailable)?;
        self.at = 0;
        Ok(())
    }
}

/// The segments up to an epoch, as they follow each other.
///
/// # Errors
/// [`WalError::Fenced`] where there is one of a newer epoch.
pub(super) fn older_segments(folder: &dyn Folder, epoch: u64) -> Result<Vec<Name>, WalError> {
    let segments = segments(folder)?;
    if segments.last().is_some_and(|newest| newest.epoch > epoch) {
        return Err(WalError::Fenced);
    }
    Ok(segments)
}

/// All segments, as they follow each other.
pub(super) fn segments(folder: &dyn Folder) -> Result<Vec<Name>, WalError> {
    let files = folder.list().map_err(unavailable)?;
    let mut names: Vec<_> = files.iter().filter_map(|file| Name::parse(file)).collect();
    names.sort_unstable();
    Ok(names)
}
