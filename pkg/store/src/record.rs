// SPDX-License-Identifier: Apache-2.0

//! What writers hand over and what readers see: drafts, records and commits.
//!
//! A record is the JSON that clients get, byte for byte, beside what selectors need of it: a read
//! never parses.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use knarr_types::{Key, Revision};
use parking_lot::Mutex;

/// Names and values, sorted by name.
pub type Labels = Box<[(Arc<str>, Arc<str>)]>;

/// Selectable fields and their values, sorted by name.
pub type Fields = Box<[(Arc<str>, Arc<str>)]>;

/// What goes before and after the digits where a revision is spliced into an object.
const SPLICE_BEFORE: &[u8] = b"\"resourceVersion\":\"";
const SPLICE_AFTER: &[u8] = b"\",";

/// An object as a writer hands it over: canonical JSON of the storage version without
/// `metadata.resourceVersion`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The object.
    pub json: Bytes,
    /// The offset in bytes where `"resourceVersion":"N",` belongs: right after `"metadata":{`.
    pub revision_at: usize,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The values of the resource's selectable fields.
    pub fields: Fields,
}

/// An object as it is at one revision. Shared, never changed.
#[derive(PartialEq, Eq)]
pub struct Record {
    /// Which object.
    pub key: Key,
    /// Its `resourceVersion`.
    pub revision: Revision,
    /// What clients get: canonical JSON of the storage version, with `metadata.resourceVersion`.
    pub json: Bytes,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The values of the resource's selectable fields.
    pub fields: Fields,
    /// The storage version in which `json` is written.
    pub api_version: Arc<str>,
    /// When it was written, in milliseconds of Unix time.
    pub written_ms: u64,
    /// Where the revision is spliced in.
    pub(crate) revision_at: u32,
    /// How many commits ago the history held this object whole.
    pub(crate) depth: u8,
}

impl fmt::Debug for Record {
    /// Key and revision only: contents may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}@{})", self.key, self.revision)
    }
}

impl Record {
    /// The same object carrying another revision: what a watch sends when an object is deleted or
    /// leaves a selector.
    #[must_use]
    pub fn with_revision(&self, revision: Revision) -> Self {
        Self {
            key: self.key.clone(),
            revision,
            json: splice(&self.draft_json(), self.revision_at as usize, revision),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            api_version: Arc::clone(&self.api_version),
            written_ms: self.written_ms,
            revision_at: self.revision_at,
            depth: self.depth,
        }
    }

    /// The same object in another version, as `draft` has it: what clients of that version see.
    #[must_use]
    pub fn in_version(&self, draft: &Draft, api_version: &str) -> Self {
        Self {
            key: self.key.clone(),
            revision: self.revision,
            json: splice(&draft.json, draft.revision_at, self.revision),
            labels: draft.labels.clone(),
            fields: draft.fields.clone(),
            api_version: api_version.into(),
            written_ms: self.written_ms,
            revision_at: u32::try_from(draft.revision_at).unwrap_or_default(),
            depth: self.depth,
        }
    }

    /// The value of a selectable field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Arc<str>> {
        self.fields.iter().find(|(field, _)| &**field == name).map(|(_, value)| value)
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&Arc<str>> {
        self.labels.iter().find(|(label, _)| &**label == name).map(|(_, value)| value)
    }

    /// The object as a writer would hand it over: for writing it back unchanged, or with changes.
    #[must_use]
    pub fn to_draft(&self) -> Draft {
        Draft {
            json: self.draft_json(),
            revision_at: self.revision_at as usize,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
        }
    }

    /// The JSON without its revision.
    pub(crate) fn draft_json(&self) -> Bytes {
        let at = self.revision_at as usize;
        let spliced = SPLICE_BEFORE.len() + decimal_digits(self.revision.0) + SPLICE_AFTER.len();
        let mut out = BytesMut::with_capacity(self.json.len() - spliced);
        out.put_slice(&self.json[..at]);
        out.put_slice(&self.json[at + spliced..]);
        out.freeze()
    }

    /// What it holds in memory, about.
    pub(crate) fn size_bytes(&self) -> usize {
        const FIXED: usize = 256;
        const PAIR: usize = 80;
        self.json.len() + FIXED + PAIR * (self.labels.len() + self.fields.len())
    }
}

/// The JSON of `json` with `revision` spliced in at `at`.
pub(crate) fn splice(json: &[u8], at: usize, revision: Revision) -> Bytes {
    let mut digits = [0_u8; 20];
    let digits = write_decimal(revision.0, &mut digits);
    let mut out = BytesMut::with_capacity(json.len() + SPLICE_BEFORE.len() + digits.len() + SPLICE_AFTER.len());
    out.put_slice(&json[..at]);
    out.put_slice(SPLICE_BEFORE);
    out.put_slice(digits);
    out.put_slice(SPLICE_AFTER);
    out.put_slice(&json[at..]);
    out.freeze()
}

fn decimal_digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn write_decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(number % 10).expect("a remainder of ten is one digit");
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

/// One change of one object, as watches tell it.
pub struct Commit {
    /// The revision of the change.
    pub revision: Revision,
    /// Which object.
    pub key: Key,
    /// The object before; `None` when it was created.
    pub before: Option<Arc<Record>>,
    /// The object after; `None` when it was deleted.
    pub after: Option<Arc<Record>>,
    /// On a deletion: the last state, carrying the revision of the deletion.
    pub deleted: Option<Arc<Record>>,
    /// `None` once the commit is old: whoever comes late encodes for itself.
    frames: Mutex<Option<Vec<(u64, Bytes)>>>,
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit({}@{})", self.key, self.revision)
    }
}

impl Commit {
    pub(crate) fn new(revision: Revision, key: Key, before: Option<Arc<Record>>, after: Option<Arc<Record>>) -> Self {
        let deleted = match (&before, &after) {
            (Some(before), None) => Some(Arc::new(before.with_revision(revision))),
            _ => None,
        };
        Self { revision, key, before, after, deleted, frames: Mutex::new(Some(Vec::new())) }
    }

    /// The bytes that carry this commit in `form` (a number of the caller's choosing: version,
    /// encoding, table or metadata): encoded by the first watcher, shared by all others while the commit is new.
    pub fn frame(&self, form: u64, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut kept = self.frames.lock();
        let Some(frames) = kept.as_mut() else {
            drop(kept);
            return encode();
        };
        if let Some((_, frame)) = frames.iter().find(|(known, _)| *known == form) {
            return frame.clone();
        }
        let frame = encode();
        frames.push((form, frame.clone()));
        frame
    }

    /// Gives the frames back, and keeps no more.
    pub(crate) fn forget_frames(&self) {
        *self.frames.lock() = None;
    }

    /// What it costs to keep this commit: the state after it, or the last one, and a frame of the
    /// same size, which the newest commits have.
    pub(crate) fn size_bytes(&self) -> usize {
        const FIXED: usize = 192;
        let record = self.deleted.as_ref().or(self.after.as_ref());
        FIXED + record.map_or(0, |record| 2 * record.size_bytes())
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::ResourceId;

    use super::*;

    #[test]
    fn a_revision_is_spliced_in_and_taken_out() {
        let json = Bytes::from_static(br#"{"kind":"Pod","metadata":{"name":"a"}}"#);
        let at = 26;
        for number in [0, 1, 9, 10, 99, 100, u64::MAX] {
            let record = Record {
                key: Key::new(ResourceId::new("", "pods"), "default", "a"),
                revision: Revision(number),
                json: splice(&json, at, Revision(number)),
                labels: Box::default(),
                fields: Box::default(),
                api_version: "v1".into(),
                written_ms: 0,
                revision_at: u32::try_from(at).unwrap(),
                depth: 0,
            };
            let want = format!(r#"{{"kind":"Pod","metadata":{{"resourceVersion":"{number}","name":"a"}}}}"#);
            assert_eq!(record.json, want);
            assert_eq!(record.draft_json(), json);
            assert!(
                record
                    .with_revision(Revision(7))
                    .json
                    .starts_with(br#"{"kind":"Pod","metadata":{"resourceVersion":"7""#)
            );
        }
    }
}
