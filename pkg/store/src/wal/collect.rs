// SPDX-License-Identifier: Apache-2.0

//! Removing segments whose batches are all in SlateDB's tables.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use slatedb::wal::{WalError, WalFileRange, WalGc};

use super::append::segments;
use super::folder::Folder;
use super::segment::{self, Name};
use super::unavailable;

/// Removes segments, the oldest first.
pub(crate) struct Collector(pub(crate) Arc<dyn Folder>);

#[async_trait]
impl WalGc for Collector {
    /// Age is not asked: nobody but the writer and the next open reads the log.
    async fn collect(&self, referenced: Vec<WalFileRange>, _: Duration, dry_run: bool) -> Result<(), WalError> {
        let folder = Arc::clone(&self.0);
        let collected =
            tokio::task::spawn_blocking(move || if dry_run { Ok(()) } else { collect(&*folder, &referenced) });
        collected.await.map_err(|error| WalError::InternalError(Arc::new(error)))?
    }
}

/// Gives back the segments that hold nothing that is referenced. Blocks.
pub(super) fn collect(folder: &dyn Folder, referenced: &[WalFileRange]) -> Result<(), WalError> {
    let found = with_first_ids(folder)?;
    for name in needless(&found, referenced) {
        // To one of an older writer that writer may still write, not knowing that it is fenced.
        let is_of_newest = found.last().is_some_and(|(newest, _)| newest.epoch == name.epoch);
        let end = if is_of_newest { folder.recycle(&name.file()) } else { folder.remove(&name.file()) };
        end.map_err(unavailable)?;
    }
    Ok(())
}

/// All segments with the id they begin with, where they have one.
fn with_first_ids(folder: &dyn Folder) -> Result<Vec<(Name, Option<u64>)>, WalError> {
    let mut found = Vec::new();
    for name in segments(folder)? {
        let mut header = [0; segment::HEADER_BYTES];
        let length = folder.read(&name.file(), 0, &mut header).map_err(unavailable)?;
        found.push((name, segment::first_id(&header[..length], name)));
    }
    Ok(found)
}

/// The segments at the front that hold nothing that is referenced. One reaches at most to the id
/// that the next one begins with, which it may have taken over; the newest is never needless.
fn needless(found: &[(Name, Option<u64>)], referenced: &[WalFileRange]) -> Vec<Name> {
    let newest = found.last().map(|(name, _)| name.epoch);
    let is_needless = |at: usize| match found[at] {
        (name, None) => Some(name.epoch) != newest,
        (_, Some(first)) => {
            let last = found[at + 1..].iter().find_map(|(_, first)| *first);
            last.is_some_and(|last| !referenced.iter().any(|range| meets(range, first, last)))
        }
    };
    (0..found.len()).take_while(|at| is_needless(*at)).map(|at| found[at].0).collect()
}

/// Whether a range has one of the ids from `first` to `last`.
fn meets(range: &WalFileRange, first: u64, last: u64) -> bool {
    let begins = match range.0 {
        Bound::Included(from) => from <= last,
        Bound::Excluded(from) => from < last,
        Bound::Unbounded => true,
    };
    let ends = match range.1 {
        Bound::Included(to) => to >= first,
        Bound::Excluded(to) => to > first,
        Bound::Unbounded => true,
    };
    begins && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_go_from_the_front_and_the_newest_stays() {
        let found = |firsts: &[(u64, u32, Option<u64>)]| -> Vec<_> {
            firsts.iter().map(|(epoch, index, first)| (Name { epoch: *epoch, index: *index }, *first)).collect()
        };
        let three = found(&[(1, 0, Some(1)), (1, 1, Some(10)), (2, 0, Some(19))]);
        let void = found(&[(1, 0, None), (2, 0, Some(5)), (3, 0, None), (3, 1, None)]);
        let from = |id: u64| WalFileRange::from(id..);
        for (what, found, referenced, gone) in [
            ("all is needed", &three, vec![from(0)], 0),
            ("the first may hold what the second took over", &three, vec![from(10)], 0),
            ("the first is in the tables", &three, vec![from(11)], 1),
            ("the newest stays", &three, vec![from(100)], 2),
            ("a checkpoint holds the second", &three, vec![from(100), WalFileRange::from(12..14)], 1),
            ("one that holds the first keeps all", &three, vec![from(100), WalFileRange::from(2..3)], 0),
            ("a segment that came to nothing", &void, vec![from(100)], 1),
        ] {
            let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
            assert_eq!(needless(found, &referenced), names[..gone], "{what}");
        }
    }
}
