// SPDX-License-Identifier: Apache-2.0

//! How values are written: a header, then the body, compressed and then encrypted.
//!
//! ```text
//! format u8 | codec u8 | key id u32 | revision u64 | length u8, apiVersion | body
//! ```
//! The revision is known only when the sequencer orders the write, long after the body was sealed:
//! it has a fixed place and is not authenticated by the body's tag.

use std::sync::Arc;

use bytes::Bytes;
use knarr_types::{Key, Revision};

use crate::crypt;
use crate::delta::{self, Codec};
use crate::keyring::KeyRing;
use crate::record::{Draft, Fields, Labels, Record, splice};

/// The format that this release writes.
pub(crate) const FORMAT: u16 = 2;
/// The oldest release that can read it knows this format.
pub(crate) const OLDEST_READER: u16 = 2;

const REVISION_AT: usize = 6;
const FIXED_HEADER_BYTES: usize = 15;
/// Key id of values that are not encrypted.
const CLEAR: u32 = 0;

/// Why a stored value is not what it should be.
pub(crate) type Damage = &'static str;

/// A value, sealed, that lacks only its revision.
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    /// Compresses and encrypts a body for the place `name`.
    pub(crate) fn new(ring: &KeyRing, name: &[u8], api_version: &str, body: &[u8]) -> Self {
        delta::pack(body, b"", |codec, packed| Self::encrypted(ring, name, api_version, codec, packed))
    }

    /// Encrypts a body that is small or compressed already.
    pub(crate) fn packed(ring: &KeyRing, name: &[u8], api_version: &str, body: &[u8]) -> Self {
        Self::encrypted(ring, name, api_version, Codec::Plain, body)
    }

    fn encrypted(ring: &KeyRing, name: &[u8], api_version: &str, codec: Codec, plain: &[u8]) -> Self {
        let (id, key) = ring.primary();
        let mut out = header(codec, id, api_version, plain.len() + crypt::NONCE_BYTES + crypt::TAG_BYTES);
        crypt::seal(key, &bound_to(name, codec, api_version), plain, &mut out);
        Self(out)
    }

    /// A body that is neither compressed nor encrypted: what lies under `m/` and `h/`.
    pub(crate) fn clear(body: &[u8]) -> Self {
        let mut out = header(Codec::Plain, CLEAR, "", body.len());
        out.extend_from_slice(body);
        Self(out)
    }

    /// How long the value will be.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The value as it is stored.
    pub(crate) fn at(mut self, revision: Revision) -> Bytes {
        self.0[REVISION_AT..REVISION_AT + 8].copy_from_slice(&revision.0.to_be_bytes());
        self.0.into()
    }
}

/// A value read back.
pub(crate) struct Opened {
    pub(crate) revision: Revision,
    pub(crate) api_version: Arc<str>,
    pub(crate) body: Vec<u8>,
}

/// Reads a value that lies at `name`.
pub(crate) fn open(ring: &KeyRing, name: &[u8], value: &[u8]) -> Result<Opened, Damage> {
    let (header, rest) = value.split_first_chunk::<FIXED_HEADER_BYTES>().ok_or("too short for a header")?;
    if u16::from(header[0]) != FORMAT {
        return Err("it has another format: one of before the first release, or of a newer one");
    }
    let codec = Codec::from_stored(header[1]).ok_or("unknown codec")?;
    let key_id = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let revision = keys_revision(header);
    let (api_version, stored) = rest.split_at_checked(header[14].into()).ok_or("too short for its header")?;
    let api_version = std::str::from_utf8(api_version).map_err(|_| "apiVersion is not text")?;
    let packed = if key_id == CLEAR {
        stored.to_vec()
    } else {
        let key = ring.key(key_id).ok_or("its key is not in the key ring")?;
        crypt::open(key, &bound_to(name, codec, api_version), stored).ok_or("it was changed, or its key is another")?
    };
    let body = match codec {
        Codec::Plain => packed,
        _ => delta::unpack(codec, &packed, b"").ok_or("damaged compression")?,
    };
    Ok(Opened { revision, api_version: api_version.into(), body })
}

fn keys_revision(header: &[u8; FIXED_HEADER_BYTES]) -> Revision {
    let mut digits = [0; 8];
    digits.copy_from_slice(&header[REVISION_AT..REVISION_AT + 8]);
    Revision(u64::from_be_bytes(digits))
}

fn header(codec: Codec, key_id: u32, api_version: &str, body_bytes: usize) -> Vec<u8> {
    let length = u8::try_from(api_version.len()).expect("an apiVersion is shorter than 256 bytes");
    let mut out = Vec::with_capacity(FIXED_HEADER_BYTES + api_version.len() + body_bytes);
    out.push(u8::try_from(FORMAT).expect("formats are numbered from 1"));
    out.push(codec as u8);
    out.extend_from_slice(&key_id.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.push(length);
    out.extend_from_slice(api_version.as_bytes());
    out
}

/// What the tag covers beside the body.
fn bound_to(name: &[u8], codec: Codec, api_version: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + api_version.len() + 2);
    out.push(codec as u8);
    out.extend_from_slice(api_version.as_bytes());
    out.push(0);
    out.extend_from_slice(name);
    out
}

/// One state of an object: the body of its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) draft: Draft,
    pub(crate) written_ms: u64,
    pub(crate) depth: u8,
}

impl State {
    /// The state that a record shows.
    pub(crate) fn of(record: &Record) -> Self {
        Self { draft: record.to_draft(), written_ms: record.written_ms, depth: record.depth }
    }

    /// The record that shows this state.
    pub(crate) fn into_record(self, key: Key, revision: Revision, api_version: Arc<str>) -> Record {
        let Draft { json, revision_at, labels, fields } = self.draft;
        Record {
            key,
            revision,
            json: splice(&json, revision_at, revision),
            labels,
            fields,
            api_version,
            written_ms: self.written_ms,
            revision_at: u32::try_from(revision_at).expect("an object is below 4 GiB"),
            depth: self.depth,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.draft.json.len() + 256);
        out.extend_from_slice(&self.written_ms.to_be_bytes());
        out.push(self.depth);
        let at = u32::try_from(self.draft.revision_at).expect("an object is below 4 GiB");
        out.extend_from_slice(&at.to_be_bytes());
        put_pairs(&mut out, &self.draft.labels);
        put_pairs(&mut out, &self.draft.fields);
        out.extend_from_slice(&self.draft.json);
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader(body);
        let written_ms = reader.u64()?;
        let depth = reader.u8()?;
        let revision_at = reader.u32()? as usize;
        let labels: Labels = reader.pairs()?;
        let fields: Fields = reader.pairs()?;
        if revision_at > reader.0.len() {
            return Err("the revision's place is outside the object");
        }
        let json = Bytes::copy_from_slice(reader.0);
        Ok(Self { draft: Draft { json, revision_at, labels, fields }, written_ms, depth })
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("a name is below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(Arc<str>, Arc<str>)]) {
    let count = u32::try_from(pairs.len()).expect("an object has fewer than 2^32 labels");
    out.extend_from_slice(&count.to_be_bytes());
    for (name, value) in pairs {
        put_text(out, name);
        put_text(out, value);
    }
}

/// Takes a body apart from its front.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn text(&mut self) -> Result<Arc<str>, Damage> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.take(length)?).map(Arc::from).map_err(|_| "a name is not text")
    }

    fn pairs(&mut self) -> Result<Labels, Damage> {
        let count = self.u32()? as usize;
        (0..count).map(|_| Ok((self.text()?, self.text()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let json = Bytes::from(format!(r#"{{"metadata":{{"name":"{}"}}}}"#, "a".repeat(100)));
        let labels = Box::new([("app".into(), "web".into())]);
        let fields = Box::new([("spec.nodeName".into(), "n1".into())]);
        State { draft: Draft { json, revision_at: 13, labels, fields }, written_ms: 5, depth: 3 }
    }

    #[test]
    fn a_value_is_read_back_with_the_revision_it_was_given() {
        let ring = KeyRing::generate();
        let value = Sealed::new(&ring, b"o/x", "apps/v1", &state().encode()).at(Revision(77));
        let opened = open(&ring, b"o/x", &value).unwrap();
        assert_eq!((opened.revision, &*opened.api_version), (Revision(77), "apps/v1"));
        assert_eq!(State::decode(&opened.body).unwrap(), state());
        assert!(!value.windows(3).any(|window| window == b"web"), "names and values inside are not readable");
    }

    #[test]
    fn damaged_values_are_refused_not_misread() {
        let ring = KeyRing::generate();
        let value = Sealed::new(&ring, b"o/x", "v1", &state().encode()).at(Revision(1));
        for length in 0..value.len() {
            assert!(open(&ring, b"o/x", &value[..length]).is_err(), "cut to {length}");
        }
        assert!(open(&ring, b"o/y", &value).is_err());
        assert!(open(&KeyRing::generate(), b"o/x", &value).is_err());
        let body = state().encode();
        for length in 0..20 {
            assert!(State::decode(&body[..length]).is_err(), "body cut to {length}");
        }
    }
}
