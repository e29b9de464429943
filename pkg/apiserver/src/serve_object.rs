// SPDX-License-Identifier: Apache-2.0
//! From a stored record to what a client gets.
//!
//! Records of built-in kinds are stored without `apiVersion` and `kind`, as the items of a list are
//! sent; a single object gets them put in front. So the bytes of a record go out as they are, and
//! only tables, other versions and YAML are made from a tree.

use bytes::{BufMut as _, Bytes, BytesMut};
use jiff::Timestamp;
use knarr_schema::crd::Custom;
use knarr_schema::managed_fields::folded;
use knarr_schema::protobuf::{self, Message};
use knarr_schema::{Encoded, Kind, builtin_types, convert, encode, table};
use knarr_store::{Draft, Record};
use knarr_types::Object;
use knarr_types::tree::Value;

use crate::body::{self, Response};
use crate::negotiate::{self, Answer, Encoding, Form};

/// The record as a tree with its apiVersion and kind, in the version that it is stored in. Writes of
/// custom objects work on the version that they are sent in, and so get that one.
#[must_use]
pub fn stored_tree(kind: &Kind, record: &Record) -> Object {
    if kind.custom.is_some() {
        return tree(kind, record);
    }
    // What the store holds was JSON when it was written.
    named(kind, serde_json::from_slice(&record.json).unwrap_or_default())
}

/// A stored object with what its place says.
fn named(kind: &Kind, mut object: Object) -> Object {
    object["apiVersion"] = (*kind.storage_version).into();
    object["kind"] = (*kind.kind).into();
    object
}

/// As [`stored_tree`]; the owners of its fields are [folded].
#[must_use]
pub fn folded_tree(kind: &Kind, record: &Record) -> Object {
    if kind.custom.is_some() {
        return tree(kind, record);
    }
    named(kind, folded::read_folded(&record.json).unwrap_or_default())
}

/// The record as a tree with its apiVersion and kind, in the version of `kind`.
#[must_use]
pub fn tree(kind: &Kind, record: &Record) -> Object {
    if let Some(custom) = &kind.custom {
        return custom_tree(kind, custom, record);
    }
    let mut object = stored_tree(kind, record);
    if convert::is_converted(kind) {
        convert::from_storage(kind, &mut object);
    }
    object
}

fn custom_tree(kind: &Kind, custom: &Custom, record: &Record) -> Object {
    let mut object: Object = serde_json::from_slice(&record.json).unwrap_or_default();
    let written = if record.api_version.is_empty() { &kind.storage_version } else { &record.api_version };
    object["apiVersion"] = (**written).into();
    object["kind"] = (*kind.kind).into();
    if is_rewritten(kind) {
        custom.read(&kind.api_version(), &mut object);
    }
    object
}

/// Clients do not get the bytes of the record, but an object made of them.
#[must_use]
pub fn is_rewritten(kind: &Kind) -> bool {
    match &kind.custom {
        // What a webhook converts was brought into this version before it comes here.
        Some(custom) => custom.webhook().is_none() && custom.rewrites(&kind.storage_version),
        None => convert::is_converted(kind),
    }
}

/// The one object of a get, or of an event of a watch, as JSON.
#[must_use]
pub fn object_json(kind: &Kind, record: &Record) -> Bytes {
    if is_rewritten(kind) {
        return Bytes::from(serde_json::to_vec(&tree(kind, record)).unwrap_or_default());
    }
    let head = head(kind);
    let mut out = BytesMut::with_capacity(head.len() + record.json.len());
    out.put_slice(head.as_bytes());
    out.put_slice(&record.json[1..]);
    out.freeze()
}

fn head(kind: &Kind) -> String {
    format!(r#"{{"kind":"{}","apiVersion":"{}","#, kind.kind, kind.api_version())
}

/// An item of a list as JSON. Only those of custom kinds say what they are.
#[must_use]
pub fn item_json(kind: &Kind, record: &Record) -> Bytes {
    if kind.custom.is_some() {
        return object_json(kind, record);
    }
    if !convert::is_converted(kind) {
        return record.json.clone();
    }
    let mut object = tree(kind, record);
    remove_type(&mut object);
    Bytes::from(serde_json::to_vec(&object).unwrap_or_default())
}

fn remove_type(object: &mut Object) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
}

/// One object in the form that a client asked for.
#[must_use]
pub fn encode_one(kind: &Kind, record: &Record, answer: Answer) -> Bytes {
    match (answer.form, answer.encoding, kind.message()) {
        (Form::Object, Encoding::Json, _) => return object_json(kind, record),
        (Form::Object, Encoding::Protobuf, Some(message)) => {
            let sealed = protobuf::seal(&kind.api_version(), &kind.kind, |out| put_record(kind, message, record, out));
            return sealed.into();
        }
        _ => {}
    }
    in_encoding(&formed(kind, &tree(kind, record), answer.form, true), answer.encoding)
}

/// Writes a record as a message.
pub fn put_record(kind: &Kind, message: &Message, record: &Record, out: &mut Vec<u8>) {
    let written = if convert::is_converted(kind) {
        protobuf::put_tree(message, &tree(kind, record), out)
    } else {
        protobuf::put_json(message, &record.json, out)
    };
    if let Err(why) = written {
        tracing::error!(%why, key = ?record.key, "a stored object does not fit its type");
    }
}

/// A tree in the form that a client asked for; `columns` is whether a table has its headings.
#[must_use]
pub fn formed(kind: &Kind, object: &Object, form: Form, columns: bool) -> Value {
    match form {
        Form::Object => object.clone(),
        Form::Metadata { beta, .. } => {
            let mut metadata = table::partial_metadata(kind, object);
            if beta {
                metadata["apiVersion"] = "meta.k8s.io/v1beta1".into();
            }
            metadata
        }
        Form::Table { include, beta } => {
            let mut table = table::table_of_one(kind, object, include, columns, Timestamp::now());
            if beta {
                table::as_v1beta1(&mut table);
            }
            table
        }
    }
}

/// A document as bytes.
#[must_use]
pub fn in_encoding(document: &Value, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Json => {
            let mut text = serde_json::to_vec(document).unwrap_or_default();
            text.push(b'\n');
            text.into()
        }
        Encoding::Yaml => encode::to_yaml(document).into(),
        Encoding::Protobuf => in_protobuf(document).into(),
    }
}

/// A document of a published kind as protobuf.
fn in_protobuf(document: &Value) -> Vec<u8> {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    protobuf::seal(api_version, kind, |out| {
        let written = message_of(document).map(|message| protobuf::put_tree(message, document, out));
        if !matches!(written, Some(Ok(()))) {
            tracing::error!(api_version, kind, "a document has no form in protobuf");
        }
    })
}

/// How a document of a published kind is written in protobuf.
fn message_of(document: &Value) -> Option<&'static Message> {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    // Discovery leaves the version out at places; the older version of the metadata kinds has the same fields.
    let version = if matches!(group, "" | "meta.k8s.io") { "v1" } else { version };
    builtin_types::of_kind(group, version, text("kind")).map(builtin_types::NamedType::message)
}

/// The answer with a document in the encoding that the client likes best; JSON where it likes none.
#[must_use]
pub fn respond(accept: &str, code: u16, document: &Value) -> Response {
    let encoding = negotiate::encoding(accept).filter(|e| *e != Encoding::Protobuf || message_of(document).is_some());
    let encoding = encoding.unwrap_or_default();
    body::bytes(code, encoding.media_type(), in_encoding(document, encoding))
}

/// An object as the store takes it. `kind` is that of its stored version, whose rules give the fields
/// that selectors may name.
#[must_use]
pub fn draft(kind: &Kind, object: &Object) -> Draft {
    let Some(custom) = kind.custom.as_ref().filter(|_| object["apiVersion"] != *kind.storage_version) else {
        return draft_as_is(kind, object);
    };
    let mut object = object.clone();
    custom.relabel(&kind.storage_version, &mut object);
    draft_as_is(kind, &object)
}

/// A draft that no update makes, so that the first one is a change: marked by a field without a name, which no selector
/// can ask for.
#[must_use]
pub fn unread(draft: Draft) -> Draft {
    let mark = ("".into(), "unread".into());
    Draft { fields: std::iter::once(mark).chain(draft.fields).collect(), ..draft }
}

/// An object as the store takes it, in the version that it is in.
#[must_use]
pub fn draft_as_is(kind: &Kind, object: &Object) -> Draft {
    let pairs = |map: &Value| -> Vec<(std::sync::Arc<str>, std::sync::Arc<str>)> {
        let text = |v: &Value| v.as_str().unwrap_or_default().into();
        map.as_object().into_iter().flatten().map(|(k, v)| (k.as_str().into(), text(v))).collect()
    };
    let mut fields: Vec<_> = kind.fields(object).into_iter().map(|(k, v)| (k, v.into())).collect();
    fields.sort();
    let Encoded { json, revision_at } = encode(object);
    Draft { json: json.into(), revision_at, labels: pairs(&object["metadata"]["labels"]).into(), fields: fields.into() }
}
