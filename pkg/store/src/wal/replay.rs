// SPDX-License-Identifier: Apache-2.0

//! Taking over a log: which of its segments are read, which records count, and how SlateDB gets them.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use slatedb::wal::{WalError, WalIterator, WalRows};

use super::append::{Appender, older_segments};
use super::folder::Folder;
use super::segment::{self, Name, Record, Scan, Span, Tail};
use super::writer::Beginning;
use super::{Damaged, rows, unavailable};

/// How much is read at a time: most of a segment is often not yet written.
const CHUNK_BYTES: usize = 256 << 10;
const PAGE_BYTES: usize = 4096;
/// What is not more than this is taken over whole, so that restarts do not make the log longer.
const SMALL_BYTES: usize = 512 << 10;
/// So many segments are taken over whole, whatever they hold.
const MANY_SEGMENTS: usize = 8;

/// A segment that was read.
struct Piece {
    name: Name,
    bytes: Bytes,
    scan: Scan,
}

/// A record that SlateDB's tables lack.
struct Kept {
    file: String,
    ids: Span,
    sequences: Span,
    body: Bytes,
}

/// Gives SlateDB the rows of records.
pub(super) struct Replay(VecDeque<Kept>);

#[cfg(test)]
impl Replay {
    /// The id with which the first record begins, and the bodies of all.
    pub(super) fn bodies(&self) -> (Option<u64>, Vec<u8>) {
        let bodies = self.0.iter().flat_map(|kept| kept.body.to_vec()).collect();
        (self.0.front().map(|kept| kept.ids.first), bodies)
    }
}

/// Fences all older writers, reads what they wrote after the id `after`, and takes the last record
/// over into a segment of our own: only then is it known to be durable. Blocks.
pub(super) fn open(folder: Arc<dyn Folder>, epoch: u64, after: u64) -> Result<(Replay, Beginning), WalError> {
    let older = older_segments(&*folder, epoch)?;
    let appender = Appender::create(Arc::clone(&folder), epoch)?;
    let own = appender.name();
    let taken = take_over(&*folder, &older, after, appender);
    if taken.is_err() {
        // Opens that fail again and again must not fill the disk.
        let _ = folder.remove(&own.file());
    }
    taken
}

fn take_over(
    folder: &dyn Folder,
    older: &[Name],
    after: u64,
    mut appender: Appender,
) -> Result<(Replay, Beginning), WalError> {
    let pieces = read_back_to(folder, older, after)?;
    let mut kept = chain(&pieces, after).map_err(|damaged| WalError::DataError(Arc::new(damaged)))?;
    let last_id = kept.back().map_or(after, |last| last.ids.last);
    let bytes: usize = kept.iter().map(|kept| kept.body.len()).sum();
    let whole = bytes <= SMALL_BYTES || pieces.len() >= MANY_SEGMENTS;
    let from = if whole { 0 } else { kept.len() - 1 };
    append_as_one(&mut appender, kept.make_contiguous().get(from..).unwrap_or_default())?;
    if whole {
        // All that they hold is in SlateDB's tables, or was taken over: they do no harm where they stay.
        for name in older {
            if let Err(error) = folder.remove(&name.file()) {
                tracing::warn!(%error, segment = name.file(), "a needless segment of the log stays");
            }
        }
    }
    Ok((Replay(kept), Beginning { appender, last_id }))
}

fn append_as_one(appender: &mut Appender, records: &[Kept]) -> Result<(), WalError> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    let ids = Span { first: first.ids.first, last: last.ids.last };
    let sequences = Span { first: first.sequences.first, last: last.sequences.last };
    let bodies: Vec<&[u8]> = records.iter().map(|record| &record.body[..]).collect();
    appender.append(ids, sequences, &bodies)
}

/// The segments from the newest back to the one that holds what follows `after`, oldest first.
fn read_back_to(folder: &dyn Folder, names: &[Name], after: u64) -> Result<Vec<Piece>, WalError> {
    let mut pieces = Vec::new();
    for name in names.iter().rev() {
        let bytes = read(folder, *name).map_err(unavailable)?;
        let scan = segment::scan(&bytes, *name);
        let reached = scan.records.first().is_some_and(|record| record.ids.first <= after + 1);
        pieces.push(Piece { name: *name, bytes, scan });
        if reached {
            break;
        }
    }
    pieces.reverse();
    Ok(pieces)
}

/// A segment without the zeroes at its end.
fn read(folder: &dyn Folder, name: Name) -> std::io::Result<Bytes> {
    let (file, mut chunk) = (name.file(), vec![0; CHUNK_BYTES]);
    let (mut bytes, mut at) = (Vec::new(), 0);
    loop {
        let length = folder.read(&file, at as u64, &mut chunk)?;
        if length == 0 {
            return Ok(bytes.into());
        }
        let written = written(&chunk[..length]);
        if written > 0 {
            bytes.resize(at, 0);
            bytes.extend_from_slice(&chunk[..written]);
        }
        at += length;
    }
}

/// How many bytes there are without the zeroes at the end.
fn written(chunk: &[u8]) -> usize {
    let zeroes = [0; PAGE_BYTES];
    let pages = chunk.chunks(PAGE_BYTES).collect::<Vec<_>>();
    let Some(last) = pages.iter().rposition(|page| **page != zeroes[..page.len()]) else { return 0 };
    let in_page = pages[last].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    last * PAGE_BYTES + in_page
}

/// The records above `after`, in order. What a later segment begins with it took over from an
/// earlier one, whose records from there on count no more.
fn chain(pieces: &[Piece], after: u64) -> Result<VecDeque<Kept>, Damaged> {
    let mut kept = VecDeque::new();
    let mut begins: Option<u64> = None;
    for piece in pieces.iter().rev() {
        check_tail(piece)?;
        let limit = begins.unwrap_or(u64::MAX);
        let superseded = |record: &&Record| record.ids.first >= limit;
        let counting = piece.scan.records.iter().rev().skip_while(superseded);
        for record in counting.take_while(|record| record.ids.last > after) {
            if begins.is_some_and(|begins| record.ids.last + 1 != begins) {
                return Err(lacks(piece, record.ids.last + 1));
            }
            begins = Some(record.ids.first);
            kept.push_front(Kept {
                file: piece.name.file(),
                ids: record.ids,
                sequences: record.sequences,
                body: piece.bytes.slice(record.body.clone()),
            });
        }
    }
    match (begins, pieces.first()) {
        (Some(begins), Some(piece)) if begins > after + 1 => Err(lacks(piece, after + 1)),
        _ => Ok(kept),
    }
}

fn check_tail(piece: &Piece) -> Result<(), Damaged> {
    let why = match piece.scan.tail {
        Tail::Clean | Tail::Torn { .. } => return Ok(()),
        Tail::Damaged { at, good } => format!("the record at byte {at} is bad, but the one at byte {good} is good"),
        Tail::Foreign(version) => format!("it has version {version}: use the release that wrote it"),
    };
    Err(Damaged { file: piece.name.file(), why })
}

fn lacks(piece: &Piece, id: u64) -> Damaged {
    Damaged { file: piece.name.file(), why: format!("it lacks batch {id}, which later ones follow") }
}

#[async_trait]
impl WalIterator for Replay {
    async fn next(&mut self) -> Result<Option<WalRows>, WalError> {
        let Some(Kept { file, ids, body, .. }) = self.0.pop_front() else { return Ok(None) };
        // Of its own memory: rows must not keep the whole segment.
        let Some(rows) = rows::decode(Bytes::copy_from_slice(&body)) else {
            let why = format!("batch {} does not consist of rows", ids.last);
            return Err(WalError::DataError(Arc::new(Damaged { file, why })));
        };
        Ok(Some(WalRows { rows, last_consumed_wal_file_id: ids.last }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment that holds records of these ids, and so many bytes less.
    fn piece(epoch: u64, records: &[(u64, u64)], cut: usize) -> Piece {
        let name = Name { epoch, index: 0 };
        let mut bytes = Vec::new();
        if let Some((first, _)) = records.first() {
            segment::put_header(&mut bytes, name, *first);
        }
        for (first, last) in records {
            let ids = Span { first: *first, last: *last };
            segment::put_record(&mut bytes, name, ids, ids, &[&epoch.to_le_bytes()]);
        }
        bytes.truncate(bytes.len() - cut);
        let scan = segment::scan(&bytes, name);
        Piece { name, bytes: bytes.into(), scan }
    }

    /// What was read, by epoch and ids.
    fn chained(pieces: &[Piece], after: u64) -> Result<Vec<(u64, u64, u64)>, String> {
        let kept = chain(pieces, after).map_err(|damaged| damaged.to_string())?;
        let epoch = |kept: &Kept| u64::from_le_bytes(kept.body[..].try_into().unwrap());
        Ok(kept.iter().map(|kept| (epoch(kept), kept.ids.first, kept.ids.last)).collect())
    }

    #[test]
    fn later_segments_supersede_what_they_took_over() {
        let torn = || piece(1, &[(1, 1), (2, 3), (4, 4)], 1);
        let whole = || piece(1, &[(1, 1), (2, 3), (4, 4)], 0);
        let void = || piece(2, &[], 0);
        let over = || piece(3, &[(2, 3), (4, 4), (5, 5)], 0);
        let all = vec![(1, 1, 1), (3, 2, 3), (3, 4, 4), (3, 5, 5)];
        for (what, pieces, after, expected) in [
            ("nothing", vec![], 7, vec![]),
            ("a torn tail is cut", vec![torn()], 0, vec![(1, 1, 1), (1, 2, 3)]),
            ("what the tables have is left out", vec![torn()], 1, vec![(1, 2, 3)]),
            ("all of it", vec![torn()], 3, vec![]),
            ("the tail was taken over", vec![torn(), over()], 0, all.clone()),
            ("what was torn then shows now", vec![whole(), over()], 0, all.clone()),
            ("a segment that came to nothing", vec![whole(), void(), over()], 0, all),
            ("the last one came to nothing", vec![torn(), void()], 1, vec![(1, 2, 3)]),
        ] {
            assert_eq!(chained(&pieces, after), Ok(expected), "{what}");
        }
    }

    /// Files that were given back come round twice; the records of the last ones are all there is.
    #[test]
    fn a_log_in_recycled_files_reads_back() {
        const SIZE: usize = 1 << 20;
        let dir = tempfile::tempdir().unwrap();
        let folder: Arc<dyn Folder> = Arc::new(super::super::Directory::new(dir.path().to_owned(), false).unwrap());
        let mut appender = Appender::create(Arc::clone(&folder), 1).unwrap();
        let mut given_back = Vec::new();
        for id in 1..=20_u64 {
            appender
                .append(Span { first: id, last: id }, Span { first: id, last: id }, &[&vec![id as u8; SIZE]])
                .unwrap();
            let segments = super::super::append::segments(&*folder).unwrap();
            if let [oldest, _, _] = segments[..] {
                folder.recycle(&oldest.file()).unwrap();
                given_back.push(oldest);
            }
        }
        assert!(given_back.len() >= 4, "{given_back:?}");
        drop(appender);
        let (replay, begin) = open(folder, 2, 16).map_err(|error| error.to_string()).unwrap();
        assert_eq!(begin.last_id, 20);
        let kept: Vec<_> = replay.0.iter().map(|kept| (kept.ids.first, kept.body[0], kept.body.len())).collect();
        assert_eq!(kept, [17, 18, 19, 20].map(|id| (id, id as u8, SIZE)));
    }

    #[test]
    fn zeroes_at_the_end_are_not_read() {
        for (length, last) in [(0, 0), (10, 0), (9000, 0), (9000, 1), (9000, 4096), (9000, 4097), (9000, 9000)] {
            let mut chunk = vec![0; length];
            chunk[..last].fill(1);
            assert_eq!(written(&chunk), last, "{length}");
        }
    }

    #[test]
    fn what_is_missing_in_the_middle_is_an_error_that_names_the_file() {
        let file = |epoch| Name { epoch, index: 0 }.file();
        let mut bad = piece(1, &[(1, 1), (2, 2)], 0);
        let mut bytes = bad.bytes.to_vec();
        bytes[segment::HEADER_BYTES + 50] ^= 1;
        bad.scan = segment::scan(&bytes, bad.name);
        for (pieces, after, epoch, why) in [
            (vec![piece(1, &[(1, 1)], 0), piece(2, &[(3, 3)], 0)], 0, 1, "it lacks batch 2"),
            (vec![piece(1, &[(1, 1), (2, 2)], 1), piece(2, &[(3, 3)], 0)], 0, 1, "it lacks batch 2"),
            (vec![piece(2, &[(3, 3)], 0)], 1, 2, "it lacks batch 2"),
            (vec![bad], 0, 1, "the one at byte"),
        ] {
            let error = chained(&pieces, after).unwrap_err();
            assert!(error.contains(why) && error.contains(&file(epoch)), "{error}");
        }
    }
}
