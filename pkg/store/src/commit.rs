// SPDX-License-Identifier: Apache-2.0

//! A commit as it is stored: who changed which object, from what, and how to get back.
//!
//! `o/` holds the newest state whole. A commit holds the state *before* it, as a delta from the
//! state after it, or whole where there is no state after it (a deletion) and once in
//! [`WHOLE_EVERY`]: so the oldest commits can be dropped at any time.

use std::sync::Arc;

use bytes::Bytes;
use knarr_types::{Key, Revision};

use crate::delta::{self, Codec};
use crate::keys;
use crate::proposal::Author;
use crate::record::Record;
use crate::value::{Damage, Reader, State, put_text};

/// One commit in so many holds the state before it whole.
pub(crate) const WHOLE_EVERY: u8 = 32;

const NOTHING_BEFORE: u8 = 0;
const DELTA: u8 = 1;
const WHOLE: u8 = 2;

/// The body of a commit's value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredCommit {
    pub(crate) key: Key,
    pub(crate) author: Author,
    pub(crate) time_ms: u64,
    /// The object's previous revision, where it had one, and that from which the new state was
    /// computed, where that is another.
    pub(crate) parents: Vec<Revision>,
    pub(crate) deleted: bool,
    pub(crate) previous: Previous,
}

/// The state before a commit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Previous {
    Nothing,
    Delta { api_version: Arc<str>, packed: Packed },
    Whole { api_version: Arc<str>, packed: Packed },
}

/// The bytes of a state, alone or as a difference.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    codec: Codec,
    bytes: Vec<u8>,
}

impl Packed {
    fn of(state: &[u8], newer: &[u8]) -> Self {
        delta::pack(state, newer, |codec, packed| Self { codec, bytes: packed.to_vec() })
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, Damage> {
        let codec = Codec::from_stored(reader.u8()?).ok_or("unknown codec")?;
        Ok(Self { codec, bytes: reader.0.to_vec() })
    }
}

impl Previous {
    /// What to keep of `before` in a commit that leads to `after` (encoded; `None` deletes).
    pub(crate) fn of(before: Option<&Record>, after: Option<(&State, &[u8])>) -> Self {
        let Some(before) = before else { return Self::Nothing };
        let api_version = Arc::clone(&before.api_version);
        let state = State::of(before).encode();
        match after {
            Some((after, newer)) if after.depth != 0 => Self::Delta { api_version, packed: Packed::of(&state, newer) },
            _ => Self::Whole { api_version, packed: Packed::of(&state, b"") },
        }
    }
}

impl StoredCommit {
    /// The object before this commit, given what it was after it.
    pub(crate) fn before(&self, after: Option<&Record>) -> Result<Option<Record>, Damage> {
        let (api_version, packed, newer) = match &self.previous {
            Previous::Nothing => return Ok(None),
            Previous::Whole { api_version, packed } => (api_version, packed, Vec::new()),
            Previous::Delta { api_version, packed } => {
                let after = after.ok_or("a delta from a state that is not there")?;
                (api_version, packed, State::of(after).encode())
            }
        };
        let state = delta::unpack(packed.codec, &packed.bytes, &newer).ok_or("a damaged delta")?;
        let revision = *self.parents.first().ok_or("a state without its revision")?;
        let record = State::decode(&state)?.into_record(self.key.clone(), revision, Arc::clone(api_version));
        Ok(Some(record))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        put_text(&mut out, std::str::from_utf8(&keys::object(&self.key)).expect("keys are text"));
        put_text(&mut out, &self.author.user);
        put_text(&mut out, &self.author.manager);
        put_text(&mut out, &self.author.verb);
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.push(u8::from(self.deleted));
        out.push(u8::try_from(self.parents.len()).expect("a commit has two parents at most"));
        for parent in &self.parents {
            out.extend_from_slice(&parent.0.to_be_bytes());
        }
        match &self.previous {
            Previous::Nothing => out.push(NOTHING_BEFORE),
            Previous::Delta { api_version, packed } => put_previous(&mut out, DELTA, api_version, packed),
            Previous::Whole { api_version, packed } => put_previous(&mut out, WHOLE, api_version, packed),
        }
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader(body);
        let key = keys::parse_object(reader.text()?.as_bytes()).ok_or("not a key")?;
        let author = Author { user: reader.text()?, manager: reader.text()?, verb: reader.text()? };
        let time_ms = reader.u64()?;
        let deleted = reader.u8()? != 0;
        let parents = (0..reader.u8()?).map(|_| reader.u64().map(Revision)).collect::<Result<_, _>>()?;
        let previous = match reader.u8()? {
            NOTHING_BEFORE => Previous::Nothing,
            DELTA => Previous::Delta { api_version: reader.text()?, packed: Packed::read(reader)? },
            WHOLE => Previous::Whole { api_version: reader.text()?, packed: Packed::read(reader)? },
            _ => return Err("an unknown kind of previous state"),
        };
        Ok(Self { key, author, time_ms, parents, deleted, previous })
    }
}

fn put_previous(out: &mut Vec<u8>, kind: u8, api_version: &str, packed: &Packed) {
    out.push(kind);
    put_text(out, api_version);
    out.push(packed.codec as u8);
    out.extend_from_slice(&packed.bytes);
}

/// What `m/history` holds: commits up to here are pruned, and about how many bytes the others take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistoryMark {
    pub(crate) floor: Revision,
    pub(crate) bytes: u64,
}

impl HistoryMark {
    pub(crate) fn encode(self) -> Bytes {
        [self.floor.0.to_be_bytes(), self.bytes.to_be_bytes()].concat().into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader(body);
        Ok(Self { floor: Revision(reader.u64()?), bytes: reader.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::ResourceId;

    use super::*;
    use crate::record::Draft;

    fn record(revision: u64, depth: u8, text: &str) -> Record {
        let json = Bytes::from(format!(r#"{{"metadata":{{"name":"a"}},"text":"{text}"}}"#));
        let draft = Draft { json, revision_at: 13, labels: Box::default(), fields: Box::default() };
        let key = Key::new(ResourceId::new("apps", "deployments"), "default", "a");
        State { draft, written_ms: 1, depth }.into_record(key, Revision(revision), "apps/v1".into())
    }

    #[test]
    fn the_state_before_a_commit_comes_back() {
        let old = record(5, 0, "old");
        for (after, is_delta) in [(Some(record(9, 1, "new")), true), (Some(record(9, 0, "new")), false), (None, false)]
        {
            let state = after.as_ref().map(|after| (State::of(after), State::of(after).encode()));
            let previous = Previous::of(Some(&old), state.as_ref().map(|(state, body)| (state, &body[..])));
            assert_eq!(matches!(previous, Previous::Delta { .. }), is_delta);
            let author = Author { user: "u".into(), manager: "m".into(), verb: "update".into() };
            let parents = vec![Revision(5), Revision(2)];
            let deleted = after.is_none();
            let commit = StoredCommit { key: old.key.clone(), author, time_ms: 3, parents, deleted, previous };
            let read = StoredCommit::decode(&commit.encode()).unwrap();
            assert_eq!(read, commit);
            assert_eq!(read.before(after.as_ref()).unwrap().as_ref(), Some(&old));
        }
    }

    #[test]
    fn nothing_was_before_a_creation() {
        assert_eq!(Previous::of(None, None), Previous::Nothing);
    }
}
