// SPDX-License-Identifier: Apache-2.0

//! The bytes of a segment: what is written, and what can be told of what is read. Pure functions.
//!
//! ```text
//! segment  magic [8] | version u32 | epoch u64 | first id u64 | sum u32 | record...
//! record   mark u32 | body length u32 | ids u64, u64 | sequences u64, u64 | sum u32 | body | end u8
//! ```
//! Numbers are little endian. A record holds the batches of all ids from its first to its last. The
//! sums begin with the segment's epoch and index, so that bytes of another segment never verify: what
//! a file held before it became this segment is nothing. The end is not zero, so that a record never
//! ends in the zeroes of space that is not yet written.

use std::ops::Range;

use bytes::{Buf, BufMut};

const MAGIC: &[u8; 8] = b"knarrwal";
const VERSION: u32 = 1;
const MARK: u32 = 0x6b5e_a1d7;
const END: u8 = 0xed;

/// Bytes of a segment before its first record.
pub(crate) const HEADER_BYTES: usize = 32;
/// Bytes of a record before its body.
const RECORD_BYTES: usize = 44;
/// Bytes of a record or a segment's header that its sum, which follows, covers.
const SUMMED_RECORD_BYTES: usize = RECORD_BYTES - 4;
const SUMMED_HEADER_BYTES: usize = HEADER_BYTES - 4;

/// Which segment: that of a writer, and which of its own. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The epoch of the writer.
    pub epoch: u64,
    /// Counts the writer's segments.
    pub index: u32,
}

impl Name {
    /// The file's name: names sort as the segments follow each other.
    #[must_use]
    pub fn file(self) -> String {
        format!("{:016x}-{:08x}.wal", self.epoch, self.index)
    }

    /// The segment that a file of this name holds; `None` where it holds none.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let (epoch, index) = file.strip_suffix(".wal")?.split_once('-')?;
        let name = Self { epoch: u64::from_str_radix(epoch, 16).ok()?, index: u32::from_str_radix(index, 16).ok()? };
        (name.file() == file).then_some(name)
    }

    fn sum(self) -> crc32fast::Hasher {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.epoch.to_le_bytes());
        sum.update(&self.index.to_le_bytes());
        sum
    }

    fn sum_of(self, parts: &[&[u8]]) -> u32 {
        let mut sum = self.sum();
        parts.iter().for_each(|part| sum.update(part));
        sum.finalize()
    }
}

/// From the first to the last of something that rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last, which may be the same.
    pub last: u64,
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The ids of the batches in it.
    pub ids: Span,
    /// Their sequence numbers.
    pub sequences: Span,
    /// Where in the segment its body lies.
    pub body: Range<usize>,
}

/// What follows the last good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing was written.
    Clean,
    /// Something that is no record of this segment, and nothing good after it.
    Torn {
        /// Where it begins.
        at: usize,
    },
    /// Something that is no record, and a good one after it.
    Damaged {
        /// Where it begins.
        at: usize,
        /// Where the good record begins.
        good: usize,
    },
    /// The segment has another version.
    Foreign(u32),
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// All good records up to the first bad one.
    pub records: Vec<Record>,
    /// What follows them.
    pub tail: Tail,
}

/// Appends the header of a segment whose first record begins with the id `first`.
pub fn put_header(out: &mut Vec<u8>, name: Name, first: u64) {
    let start = out.len();
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u64_le(name.epoch);
    out.put_u64_le(first);
    let sum = name.sum_of(&[&out[start..]]);
    out.put_u32_le(sum);
}

/// Appends a record of these bodies.
pub fn put_record(out: &mut Vec<u8>, name: Name, ids: Span, sequences: Span, bodies: &[&[u8]]) {
    let start = out.len();
    let length: usize = bodies.iter().map(|body| body.len()).sum();
    out.reserve(record_bytes(length));
    out.put_u32_le(MARK);
    out.put_u32_le(u32::try_from(length).expect("a record is below 4 GiB"));
    for number in [ids.first, ids.last, sequences.first, sequences.last] {
        out.put_u64_le(number);
    }
    let mut sum = name.sum();
    sum.update(&out[start..]);
    bodies.iter().for_each(|body| sum.update(body));
    out.put_u32_le(sum.finalize());
    bodies.iter().for_each(|body| out.put_slice(body));
    out.put_u8(END);
}

/// How many bytes a record takes whose body has `body` bytes.
pub(crate) const fn record_bytes(body: usize) -> usize {
    RECORD_BYTES + body + 1
}

/// The id with which a segment begins; `None` where its header is not there or not good.
pub(crate) fn first_id(bytes: &[u8], name: Name) -> Option<u64> {
    match header(bytes, name) {
        Some(Ok(first)) => Some(first),
        _ => None,
    }
}

/// The first id, or the version where that is another.
fn header(bytes: &[u8], name: Name) -> Option<Result<u64, u32>> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (summed, mut sum) = header.split_at(SUMMED_HEADER_BYTES);
    let mut fields = summed.strip_prefix(MAGIC)?;
    if name.sum_of(&[summed]) != sum.get_u32_le() {
        return None;
    }
    let (version, epoch, first) = (fields.get_u32_le(), fields.get_u64_le(), fields.get_u64_le());
    if version != VERSION {
        return Some(Err(version));
    }
    (epoch == name.epoch).then_some(Ok(first))
}

/// Reads a segment. `bytes` may lack the zeroes at its end.
#[must_use]
pub fn scan(bytes: &[u8], name: Name) -> Scan {
    let mut records = Vec::new();
    let mut at = HEADER_BYTES;
    match header(bytes, name) {
        Some(Ok(_)) => {}
        Some(Err(version)) => return Scan { records, tail: Tail::Foreign(version) },
        None => return Scan { records, tail: tail(bytes, name, 0, 0) },
    }
    while let Some(record) = record(bytes, name, at) {
        at = record.body.end + 1;
        records.push(record);
    }
    let last = records.last().map_or(0, |record| record.ids.last);
    Scan { records, tail: tail(bytes, name, at, last) }
}

/// The record at `at`, if there is a good one.
fn record(bytes: &[u8], name: Name, at: usize) -> Option<Record> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk::<RECORD_BYTES>()?;
    let (summed, mut sum) = header.split_at(SUMMED_RECORD_BYTES);
    let mut fields = summed;
    if fields.get_u32_le() != MARK {
        return None;
    }
    let length = usize::try_from(fields.get_u32_le()).ok()?;
    let (body, end) = rest.split_at_checked(length)?;
    let mut span = || Span { first: fields.get_u64_le(), last: fields.get_u64_le() };
    let (ids, sequences) = (span(), span());
    let good = end.first() == Some(&END) && name.sum_of(&[summed, body]) == sum.get_u32_le() && ids.first <= ids.last;
    let start = at + RECORD_BYTES;
    good.then_some(Record { ids, sequences, body: start..start + length })
}

/// What begins at `at`, where no good record does; one would have ids after `last`.
fn tail(bytes: &[u8], name: Name, at: usize, last: u64) -> Tail {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.iter().all(|byte| *byte == 0) {
        return Tail::Clean;
    }
    let mark = MARK.to_le_bytes();
    let candidates = (at..bytes.len()).filter(|from| bytes[*from..].starts_with(&mark));
    let is_good = |from: &usize| record(bytes, name, *from).is_some_and(|record| record.ids.first > last);
    match candidates.into_iter().find(is_good) {
        Some(good) => Tail::Damaged { at, good },
        None => Tail::Torn { at },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: Name = Name { epoch: 3, index: 1 };

    fn span(first: u64, last: u64) -> Span {
        Span { first, last }
    }

    /// A segment of three records, and where they end.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let mut out = Vec::new();
        put_header(&mut out, NAME, 10);
        let mut ends = Vec::new();
        for (ids, body) in [(span(10, 10), &b"one"[..]), (span(11, 13), b""), (span(14, 14), b"three\0\0")] {
            put_record(&mut out, NAME, ids, ids, &[body]);
            ends.push(out.len());
        }
        (out, ends)
    }

    #[test]
    fn records_come_back_whether_or_not_zeroes_follow() {
        let (bytes, _) = segment();
        for zeroes in [0, 1, 5000] {
            let bytes = [&bytes[..], &vec![0; zeroes]].concat();
            let Scan { records, tail } = scan(&bytes, NAME);
            let ids: Vec<_> = records.iter().map(|record| record.ids).collect();
            assert_eq!(ids, [span(10, 10), span(11, 13), span(14, 14)]);
            assert_eq!(&bytes[records[2].body.clone()], b"three\0\0");
            assert_eq!(tail, Tail::Clean);
        }
        assert_eq!(first_id(&bytes, NAME), Some(10));
    }

    /// (what is done to the segment, records that are left, what is said of the rest)
    #[test]
    fn a_bad_last_record_is_torn_and_a_bad_one_before_a_good_one_is_damage() {
        let (bytes, ends) = segment();
        let first = HEADER_BYTES;
        let flip = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            bytes
        };
        let cut = |length: usize| bytes[..length].to_vec();
        let damaged = |at, good| Tail::Damaged { at, good };
        let cases = [
            ("nothing", Vec::new(), 0, Tail::Clean),
            ("half a header", cut(20), 0, Tail::Torn { at: 0 }),
            ("a header alone", cut(first), 0, Tail::Clean),
            ("the first record cut", cut(first + 10), 0, Tail::Torn { at: first }),
            ("the last record cut", cut(ends[2] - 1), 2, Tail::Torn { at: ends[1] }),
            ("the last record's mark", flip(ends[1]), 2, Tail::Torn { at: ends[1] }),
            ("the last record's length", flip(ends[1] + 4), 2, Tail::Torn { at: ends[1] }),
            ("the last record's body", flip(ends[2] - 4), 2, Tail::Torn { at: ends[1] }),
            ("the last record's end", flip(ends[2] - 1), 2, Tail::Torn { at: ends[1] }),
            ("the second record's mark", flip(ends[0]), 1, damaged(ends[0], ends[1])),
            ("the second record's length", flip(ends[0] + 7), 1, damaged(ends[0], ends[1])),
            ("the first record's body", flip(ends[0] - 2), 0, damaged(first, ends[0])),
            ("the header", flip(9), 0, damaged(0, first)),
        ];
        for (what, bytes, records, tail) in cases {
            let found = scan(&bytes, NAME);
            assert_eq!((found.records.len(), found.tail), (records, tail), "{what}");
        }
    }

    #[test]
    fn bytes_of_another_segment_never_verify() {
        let (bytes, _) = segment();
        for other in [Name { epoch: 4, ..NAME }, Name { index: 2, ..NAME }] {
            assert_eq!(scan(&bytes, other), Scan { records: Vec::new(), tail: Tail::Torn { at: 0 } });
        }
    }

    #[test]
    fn what_a_file_held_before_is_no_part_of_the_segment() {
        let before = Name { epoch: 3, index: 0 };
        let mut old = Vec::new();
        put_header(&mut old, before, 1);
        (1..9).for_each(|id| put_record(&mut old, before, span(id, id), span(id, id), &[&[7; 30]]));
        let (new, ends) = segment();
        for written in [&new[..0], &new[..HEADER_BYTES + 5], &new[..ends[0]], &new[..ends[2] - 1], &new] {
            let bytes = [written, &old[written.len()..]].concat();
            let found = scan(&bytes, NAME);
            assert_eq!(found.records, scan(written, NAME).records);
            assert!(matches!(found.tail, Tail::Torn { .. }), "{:?}", found.tail);
        }
    }

    #[test]
    fn another_version_is_told() {
        let mut bytes = Vec::new();
        put_header(&mut bytes, NAME, 1);
        bytes[8] = 2;
        let sum = NAME.sum_of(&[&bytes[..SUMMED_HEADER_BYTES]]);
        bytes[SUMMED_HEADER_BYTES..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(scan(&bytes, NAME).tail, Tail::Foreign(2));
    }

    #[test]
    fn names_are_read_back_and_sort() {
        let names = [(1, 0), (1, 1), (2, 0), (u64::MAX, u32::MAX)].map(|(epoch, index)| Name { epoch, index });
        let files = names.map(Name::file);
        assert!(files.is_sorted() && names.is_sorted());
        assert_eq!(files.each_ref().map(|file| Name::parse(file)), names.map(Some));
        for bad in ["", "x.wal", "1-1.wal", "0000000000000001-00000000.tmp", "+000000000000001-00000000.wal"] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_never_loses_a_whole_record_nor_shows_a_part(length in 0..400_usize) {
            let (bytes, ends) = segment();
            let bytes = &bytes[..length.min(bytes.len())];
            let whole = ends.iter().filter(|end| **end <= bytes.len()).count();
            let found = scan(bytes, NAME);
            prop_assert_eq!(found.records.len(), whole);
            let damaged = matches!(found.tail, Tail::Damaged { .. });
            prop_assert!(!damaged);
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), keep in 0..100_usize) {
            let (good, _) = segment();
            let _ = scan(&[&good[..keep.min(good.len())], &bytes].concat(), NAME);
        }
    }
}
