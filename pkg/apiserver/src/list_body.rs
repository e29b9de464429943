// SPDX-License-Identifier: Apache-2.0
//! The body of a list: its items' bytes between a head and a tail, in chunks that are made as they are
//! sent, so a long list takes no more memory than a short one.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use knarr_schema::Kind;
use knarr_schema::protobuf::{self, ListFrame, Message};
use knarr_store::Record;
use knarr_types::tree::Value;

use crate::body::{self, Response};
use crate::negotiate::Encoding;
use crate::serve_object;

/// How much of a list goes into one chunk of the response.
const CHUNK_BYTES: usize = 64 * 1024;

/// The list as JSON.
#[must_use]
pub fn json(kind: &Kind, records: Vec<Arc<Record>>, meta: &Value) -> Response {
    let head =
        format!(r#"{{"kind":"{}","apiVersion":"{}","metadata":{meta},"items":["#, kind.list_kind, kind.api_version());
    respond(kind, records, Items::Json, head.into_bytes(), b"]}\n".to_vec())
}

/// The list as protobuf. The length of all items stands in front of them: for a long list they are
/// measured first and written again as they are sent, off the threads that serve others.
pub async fn protobuf(kind: &Kind, message: &'static Message, records: Vec<Arc<Record>>, meta: &Value) -> Response {
    let frame = |items: usize| {
        ListFrame::new(&kind.api_version(), &kind.list_kind, items, |out| {
            let meta_type = knarr_schema::builtin_types::find("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
            if let Some(Err(why)) = meta_type.map(|named| protobuf::put_tree(named.message(), meta, out)) {
                tracing::error!(%why, "the metadata of a list does not fit its type");
            }
        })
    };
    let length = if is_short(&records) {
        measure(kind, message, &records)
    } else {
        let (kind, records) = (kind.clone(), records.clone());
        tokio::task::spawn_blocking(move || measure(&kind, message, &records)).await.unwrap_or_default()
    };
    let frame = frame(length);
    respond(kind, records, Items::Protobuf(message), frame.head, frame.tail)
}

fn measure(kind: &Kind, message: &Message, records: &[Arc<Record>]) -> usize {
    let mut scratch = Vec::new();
    let length = |record: &Arc<Record>| {
        scratch.clear();
        serve_object::put_record(kind, message, record, &mut scratch);
        ListFrame::item_length(scratch.len())
    };
    records.iter().map(length).sum()
}

fn is_short(records: &[Arc<Record>]) -> bool {
    records.iter().map(|r| r.json.len() + 1).sum::<usize>() < CHUNK_BYTES
}

fn respond(kind: &Kind, records: Vec<Arc<Record>>, items: Items, head: Vec<u8>, tail: Vec<u8>) -> Response {
    let media = items.media_type();
    if is_short(&records) {
        let mut out = head;
        for (at, record) in records.iter().enumerate() {
            items.put(kind, record, at == 0, &mut out);
        }
        out.extend_from_slice(&tail);
        return body::bytes(200, media, out);
    }
    let chunks = Chunks { kind: kind.clone(), records, at: 0, items, head: Some(head), tail: Some(tail) };
    let stream = futures::stream::iter(chunks.map(Ok::<_, Infallible>));
    let mut response = http::Response::new(Body::from_stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// How items are written.
#[derive(Clone, Copy)]
enum Items {
    Json,
    Protobuf(&'static Message),
}

impl Items {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => Encoding::Json.media_type(),
            Self::Protobuf(_) => Encoding::Protobuf.media_type(),
        }
    }

    fn put(self, kind: &Kind, record: &Record, first: bool, out: &mut Vec<u8>) {
        match self {
            Self::Json => {
                if !first {
                    out.push(b',');
                }
                out.extend_from_slice(&serve_object::item_json(kind, record));
            }
            Self::Protobuf(message) => {
                ListFrame::put_item(out, |out| serve_object::put_record(kind, message, record, out));
            }
        }
    }
}

/// A long list, chunk by chunk.
struct Chunks {
    kind: Kind,
    records: Vec<Arc<Record>>,
    at: usize,
    items: Items,
    head: Option<Vec<u8>>,
    /// Until it is sent.
    tail: Option<Vec<u8>>,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.tail.as_ref()?;
        let mut out = Vec::with_capacity(CHUNK_BYTES + 8 * 1024);
        out.extend(self.head.take().unwrap_or_default());
        while out.len() < CHUNK_BYTES
            && let Some(record) = self.records.get(self.at)
        {
            self.items.put(&self.kind, record, self.at == 0, &mut out);
            self.at += 1;
        }
        if self.at == self.records.len() {
            out.extend(self.tail.take().unwrap_or_default());
        }
        Some(out.into())
    }
}
