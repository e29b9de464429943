// SPDX-License-Identifier: Apache-2.0
//! The messages of `openapi.v3`.

use std::collections::BTreeMap;

use knarr_types::tree::Value;

use super::{
    Any, Anys, Chosen, Count, EXTENSION, Fields, Flag, Message, Named, Number, Set, Shape, Text, Whole, bytes_of,
    put_members, put_message,
};
use crate::protobuf::wire::{put_bytes, put_nested};

static INFO: Message = Fields(&[("title", 1, Text), ("description", 2, Text), ("version", 6, Text)]);
static PATH_ITEM: Message = Fields(&[
    ("get", 4, Shape::Message(&OPERATION)),
    ("put", 5, Shape::Message(&OPERATION)),
    ("post", 6, Shape::Message(&OPERATION)),
    ("delete", 7, Shape::Message(&OPERATION)),
    ("options", 8, Shape::Message(&OPERATION)),
    ("head", 9, Shape::Message(&OPERATION)),
    ("patch", 10, Shape::Message(&OPERATION)),
    ("parameters", 13, Shape::Message(&PARAMETER_OR_REFERENCE)),
]);
static OPERATION: Message = Fields(&[
    ("tags", 1, Text),
    ("description", 3, Text),
    ("operationId", 5, Text),
    ("parameters", 6, Shape::Message(&PARAMETER_OR_REFERENCE)),
    ("requestBody", 7, Shape::Message(&Whole(1, Shape::Message(&REQUEST_BODY)))),
    ("responses", 8, Shape::Message(&RESPONSES)),
    ("deprecated", 10, Flag),
    ("x-", 13, EXTENSION),
]);
/// What stands where something may be named in its place.
static REFERENCE: Message = Whole(2, Shape::Message(&Fields(&[("$ref", 1, Text)])));
static PARAMETER_OR_REFERENCE: Message = Chosen(|value| {
    static OWN: Message = Whole(1, Shape::Message(&PARAMETER));
    if value.get("$ref").is_some() { &REFERENCE } else { &OWN }
});
static PARAMETER: Message = Fields(&[
    ("name", 1, Text),
    ("in", 2, Text),
    ("description", 3, Text),
    ("required", 4, Flag),
    ("schema", 10, Shape::Message(&SCHEMA_OR_REFERENCE)),
]);
static REQUEST_BODY: Message =
    Fields(&[("description", 1, Text), ("content", 2, Shape::Message(&MEDIA_TYPES)), ("required", 3, Flag)]);
static MEDIA_TYPES: Message = Fields(&[("*", 1, Named(&Shape::Message(&MEDIA_TYPE)))]);
static MEDIA_TYPE: Message = Fields(&[("schema", 1, Shape::Message(&SCHEMA_OR_REFERENCE))]);
static RESPONSES: Message = Fields(&[("*", 2, Named(&Shape::Message(&Whole(1, Shape::Message(&RESPONSE)))))]);
static RESPONSE: Message = Fields(&[("description", 1, Text), ("content", 3, Shape::Message(&MEDIA_TYPES))]);
static SCHEMA_OR_REFERENCE: Message = Chosen(|value| {
    static OWN: Message = Whole(1, Shape::Message(&SCHEMA));
    if value.get("$ref").is_some() { &REFERENCE } else { &OWN }
});
static SCHEMA: Message = Fields(&[
    ("nullable", 1, Flag),
    ("externalDocs", 6, Shape::Message(&Fields(&[("description", 1, Text), ("url", 2, Text)]))),
    ("example", 7, Any),
    ("title", 9, Text),
    ("multipleOf", 10, Number),
    ("maximum", 11, Number),
    ("exclusiveMaximum", 12, Flag),
    ("minimum", 13, Number),
    ("exclusiveMinimum", 14, Flag),
    ("maxLength", 15, Count),
    ("minLength", 16, Count),
    ("pattern", 17, Text),
    ("maxItems", 18, Count),
    ("minItems", 19, Count),
    ("uniqueItems", 20, Flag),
    ("maxProperties", 21, Count),
    ("minProperties", 22, Count),
    ("required", 23, Text),
    ("enum", 24, Anys),
    ("type", 25, Text),
    ("allOf", 26, Shape::Message(&SCHEMA_OR_REFERENCE)),
    ("oneOf", 27, Shape::Message(&SCHEMA_OR_REFERENCE)),
    ("anyOf", 28, Shape::Message(&SCHEMA_OR_REFERENCE)),
    ("not", 29, Shape::Message(&SCHEMA)),
    ("items", 30, Shape::Message(&Whole(1, Shape::Message(&SCHEMA_OR_REFERENCE)))),
    ("properties", 31, Shape::Message(&Fields(&[("*", 1, Named(&Shape::Message(&SCHEMA_OR_REFERENCE)))]))),
    ("additionalProperties", 32, Shape::Message(&ADDITIONAL_PROPERTIES)),
    ("default", 33, Shape::Message(&DEFAULT)),
    ("description", 34, Text),
    ("format", 35, Text),
    ("x-", 36, EXTENSION),
]);
static ADDITIONAL_PROPERTIES: Message = Chosen(|value| {
    static ALLOWED: Message = Whole(2, Set(&Flag));
    static OF: Message = Whole(1, Shape::Message(&SCHEMA_OR_REFERENCE));
    if value.is_boolean() { &ALLOWED } else { &OF }
});
/// There are defaults of these forms only; of others it says that there is one.
static DEFAULT: Message = Chosen(|value| {
    static NUMBER: Message = Whole(1, Set(&Number));
    static FLAG: Message = Whole(2, Set(&Flag));
    static TEXT: Message = Whole(3, Set(&Text));
    static OTHER: Message = Fields(&[]);
    match value {
        Value::Number(_) => &NUMBER,
        Value::Bool(_) => &FLAG,
        Value::String(_) => &TEXT,
        _ => &OTHER,
    }
});
static SECURITY_SCHEMES: Message = Fields(&[("*", 1, Named(&Shape::Message(&Whole(1, Shape::Message(&API_KEY)))))]);
static API_KEY: Message = Fields(&[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text)]);

/// The message of a schema.
pub(in crate::openapi) fn schema(value: &Value) -> Vec<u8> {
    bytes_of(&SCHEMA_OR_REFERENCE, value)
}

/// The message of a path.
pub(in crate::openapi) fn path_item(value: &Value) -> Vec<u8> {
    bytes_of(&PATH_ITEM, value)
}

/// A document of what is written already: its paths and schemas; and how clients say who they are, where it tells.
pub(in crate::openapi) fn document(
    info: &Value,
    paths: &BTreeMap<String, Vec<u8>>,
    schemas: &BTreeMap<String, Vec<u8>>,
    security: Option<&Value>,
) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, b"3.0.0");
    put_nested(&mut out, 2, |out| put_message(out, &INFO, info));
    put_nested(&mut out, 4, |out| put_members(out, 1, paths));
    put_nested(&mut out, 5, |out| {
        if !schemas.is_empty() {
            put_nested(out, 1, |out| put_members(out, 1, schemas));
        }
        if let Some(security) = security {
            put_nested(out, 7, |out| put_message(out, &SECURITY_SCHEMES, security));
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn schemas_have_their_numbers() {
        for (value, want) in [
            (json!({ "$ref": "#/d" }), &b"\x12\x05\x0a\x03#/d"[..]),
            (json!({ "type": "string" }), b"\x0a\x09\xca\x01\x06string"),
            (json!({ "default": "" }), b"\x0a\x05\x8a\x02\x02\x1a\0"),
            (json!({ "default": false }), b"\x0a\x05\x8a\x02\x02\x10\0"),
            (json!({ "default": {} }), b"\x0a\x03\x8a\x02\0"),
            (json!({ "additionalProperties": true }), b"\x0a\x05\x82\x02\x02\x10\x01"),
            (json!({ "items": {} }), b"\x0a\x07\xf2\x01\x04\x0a\x02\x0a\0"),
        ] {
            assert_eq!(schema(&value), want, "{value}");
        }
    }
}
