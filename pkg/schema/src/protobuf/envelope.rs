// SPDX-License-Identifier: Apache-2.0
//! What is around an object's bytes: its envelope, the list that it is in, the event that carries it.

use super::decode::{Fault, text, walk};
use super::wire::{WireType, put_bytes, put_nested, put_tag, put_varint, varint_length};

/// What every document begins with.
const MAGIC: &[u8; 4] = b"k8s\0";

/// A document that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The object's `apiVersion`; may be empty.
    pub api_version: String,
    /// The object's `kind`; may be empty.
    pub kind: String,
    /// The object's own bytes.
    pub object: &'a [u8],
}

/// Opens a document.
///
/// # Errors
/// In upstream's words, where it does not begin as one or breaks off.
pub fn open(document: &[u8]) -> Result<Envelope<'_>, String> {
    if document.is_empty() {
        return Err("empty data".into());
    }
    let Some(body) = document.strip_prefix(MAGIC) else {
        return Err("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into());
    };
    if body.is_empty() {
        return Err("empty body".into());
    }
    read(body).map_err(|fault| fault.to_string())
}

fn read(body: &[u8]) -> Result<Envelope<'_>, Fault> {
    let fields = ["TypeMeta", "Raw", "ContentEncoding", "ContentType"].map(|name| (name, WireType::Bytes));
    let mut envelope = Envelope::default();
    walk("Unknown", &fields, body, |number, reader| {
        let bytes = reader.bytes()?;
        match number {
            1 => read_type(bytes, &mut envelope)?,
            2 => envelope.object = bytes,
            _ => {}
        }
        Ok(())
    })?;
    Ok(envelope)
}

fn read_type(bytes: &[u8], envelope: &mut Envelope<'_>) -> Result<(), Fault> {
    walk("TypeMeta", &["APIVersion", "Kind"].map(|name| (name, WireType::Bytes)), bytes, |number, reader| {
        *if number == 1 { &mut envelope.api_version } else { &mut envelope.kind } = text(reader.bytes()?);
        Ok(())
    })
}

/// A document with the object that `fill` writes.
#[must_use]
pub fn seal(api_version: &str, kind: &str, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = head(api_version, kind);
    put_nested(&mut out, 2, fill);
    put_tail(&mut out);
    out
}

fn head(api_version: &str, kind: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(MAGIC);
    put_nested(&mut out, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
    });
    out
}

/// The content's encoding and type, both empty.
fn put_tail(out: &mut Vec<u8>) {
    put_bytes(out, 3, b"");
    put_bytes(out, 4, b"");
}

/// A list whose items are written one by one: as its length stands in front, the length of each item
/// must be known before.
#[derive(Debug)]
pub struct ListFrame {
    /// What comes before the items.
    pub head: Vec<u8>,
    /// What comes behind them.
    pub tail: Vec<u8>,
}

impl ListFrame {
    /// What is around items of these lengths in all, each with [`ListFrame::item_length`]; `metadata`
    /// writes the list's own.
    pub fn new(api_version: &str, kind: &str, items_length: usize, metadata: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut own = Vec::new();
        put_nested(&mut own, 1, metadata);
        let mut out = head(api_version, kind);
        put_tag(&mut out, 2, WireType::Bytes);
        put_varint(&mut out, (own.len() + items_length) as u64);
        out.extend_from_slice(&own);
        let mut tail = Vec::new();
        put_tail(&mut tail);
        Self { head: out, tail }
    }

    /// How many bytes an item takes that is that long itself.
    #[must_use]
    pub const fn item_length(length: usize) -> usize {
        1 + varint_length(length as u64) + length
    }

    /// Writes the item that `fill` writes.
    pub fn put_item(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        put_nested(out, 2, fill);
    }
}

/// An event of a watch: its length in four bytes, then its type and its document.
#[must_use]
pub fn watch_frame(event: &str, document: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_bytes(&mut out, 1, event.as_bytes());
    put_nested(&mut out, 2, |out| put_bytes(out, 1, document));
    let length = u32::try_from(out.len() - 4).expect("an object is far below 4 GiB");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}
