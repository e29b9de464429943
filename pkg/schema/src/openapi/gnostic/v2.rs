// SPDX-License-Identifier: Apache-2.0
//! The messages of `openapi.v2`: a Swagger document.

use std::collections::BTreeMap;

use knarr_types::tree::Value;

use super::{
    Any, Anys, Chosen, Count, EXTENSION, Fields, Flag, Message, Named, Number, Shape, Text, Whole, bytes_of, put,
    put_members, put_message,
};
use crate::protobuf::wire::{put_bytes, put_nested};

static INFO: Message = Fields(&[("title", 1, Text), ("version", 2, Text)]);
static PATH_ITEM: Message = Fields(&[
    ("get", 2, Shape::Message(&OPERATION)),
    ("put", 3, Shape::Message(&OPERATION)),
    ("post", 4, Shape::Message(&OPERATION)),
    ("delete", 5, Shape::Message(&OPERATION)),
    ("options", 6, Shape::Message(&OPERATION)),
    ("head", 7, Shape::Message(&OPERATION)),
    ("patch", 8, Shape::Message(&OPERATION)),
    ("parameters", 9, Shape::Message(&PARAMETER_OR_REFERENCE)),
]);
static OPERATION: Message = Fields(&[
    ("tags", 1, Text),
    ("description", 3, Text),
    ("operationId", 5, Text),
    ("produces", 6, Text),
    ("consumes", 7, Text),
    ("parameters", 8, Shape::Message(&PARAMETER_OR_REFERENCE)),
    ("responses", 9, Shape::Message(&RESPONSES)),
    ("schemes", 10, Text),
    ("x-", 13, EXTENSION),
]);
static PARAMETER_OR_REFERENCE: Message = Chosen(|value| {
    static REFERENCE: Message = Whole(2, Shape::Message(&Fields(&[("$ref", 1, Text)])));
    static OWN: Message = Whole(1, Shape::Message(&PARAMETER));
    if value.get("$ref").is_some() { &REFERENCE } else { &OWN }
});
static PARAMETER: Message = Chosen(|value| {
    static BODY: Message = Whole(
        1,
        Shape::Message(&Fields(&[
            ("name", 2, Text),
            ("in", 3, Text),
            ("required", 4, Flag),
            ("schema", 5, Shape::Message(&SCHEMA)),
        ])),
    );
    static QUERY: Message = Whole(2, Shape::Message(&Whole(3, Shape::Message(&QUERY_PARAMETER))));
    static PATH: Message = Whole(2, Shape::Message(&Whole(4, Shape::Message(&PATH_PARAMETER))));
    match value["in"].as_str() {
        Some("body") => &BODY,
        Some("path") => &PATH,
        _ => &QUERY,
    }
});
static QUERY_PARAMETER: Message = Fields(&[
    ("in", 2, Text),
    ("description", 3, Text),
    ("name", 4, Text),
    ("type", 6, Text),
    ("uniqueItems", 20, Flag),
]);
static PATH_PARAMETER: Message = Fields(&[
    ("required", 1, Flag),
    ("in", 2, Text),
    ("description", 3, Text),
    ("name", 4, Text),
    ("type", 5, Text),
    ("uniqueItems", 19, Flag),
]);
static RESPONSES: Message = Fields(&[("*", 1, Named(&Shape::Message(&Whole(1, Shape::Message(&RESPONSE)))))]);
static RESPONSE: Message =
    Fields(&[("description", 1, Text), ("schema", 2, Shape::Message(&Whole(1, Shape::Message(&SCHEMA))))]);
static SCHEMA: Message = Fields(&[
    ("$ref", 1, Text),
    ("format", 2, Text),
    ("title", 3, Text),
    ("description", 4, Text),
    ("default", 5, Any),
    ("multipleOf", 6, Number),
    ("maximum", 7, Number),
    ("exclusiveMaximum", 8, Flag),
    ("minimum", 9, Number),
    ("exclusiveMinimum", 10, Flag),
    ("maxLength", 11, Count),
    ("minLength", 12, Count),
    ("pattern", 13, Text),
    ("maxItems", 14, Count),
    ("minItems", 15, Count),
    ("uniqueItems", 16, Flag),
    ("maxProperties", 17, Count),
    ("minProperties", 18, Count),
    ("required", 19, Text),
    ("enum", 20, Anys),
    ("additionalProperties", 21, Shape::Message(&ADDITIONAL_PROPERTIES)),
    ("type", 22, Shape::Message(&Whole(1, Text))),
    ("items", 23, Shape::Message(&Whole(1, Shape::Message(&SCHEMA)))),
    ("allOf", 24, Shape::Message(&SCHEMA)),
    ("properties", 25, Shape::Message(&SCHEMAS)),
    ("externalDocs", 29, Shape::Message(&Fields(&[("description", 1, Text), ("url", 2, Text)]))),
    ("example", 30, Any),
    ("x-", 31, EXTENSION),
]);
static ADDITIONAL_PROPERTIES: Message = Chosen(|value| {
    static ALLOWED: Message = Whole(2, Flag);
    static OF: Message = Whole(1, Shape::Message(&SCHEMA));
    if value.is_boolean() { &ALLOWED } else { &OF }
});
static SCHEMAS: Message = Fields(&[("*", 1, Named(&Shape::Message(&SCHEMA)))]);
static SECURITY: Message = Fields(&[("*", 1, Named(&Shape::Message(&Whole(1, Text))))]);
static SECURITY_DEFINITIONS: Message = Fields(&[("*", 1, Named(&Shape::Message(&Whole(2, Shape::Message(&API_KEY)))))]);
static API_KEY: Message = Fields(&[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)]);

/// The message of a schema.
pub(in crate::openapi) fn schema(value: &Value) -> Vec<u8> {
    bytes_of(&SCHEMA, value)
}

/// The message of a path.
pub(in crate::openapi) fn path_item(value: &Value) -> Vec<u8> {
    bytes_of(&PATH_ITEM, value)
}

/// The message of a parameter.
pub(in crate::openapi) fn parameter(value: &Value) -> Vec<u8> {
    bytes_of(&PARAMETER, value)
}

/// A document of what is written already: its paths, schemas and shared parameters.
pub(in crate::openapi) fn document(
    info: &Value,
    [paths, definitions, parameters]: [&BTreeMap<String, Vec<u8>>; 3],
    security: [&Value; 2],
) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, b"2.0");
    put_nested(&mut out, 2, |out| put_message(out, &INFO, info));
    put_nested(&mut out, 8, |out| put_members(out, 2, paths));
    put_nested(&mut out, 9, |out| put_members(out, 1, definitions));
    put_nested(&mut out, 10, |out| put_members(out, 1, parameters));
    let [asked, definitions] = security;
    put(&mut out, 12, &Shape::Message(&SECURITY), asked);
    put(&mut out, 13, &Shape::Message(&SECURITY_DEFINITIONS), definitions);
    out
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn schemas_have_their_numbers() {
        for (value, want) in [
            (json!({ "type": "string" }), &b"\xb2\x01\x08\x0a\x06string"[..]),
            (json!({ "$ref": "#/d" }), b"\x0a\x03#/d"),
            (json!({ "items": { "format": "b" } }), b"\xba\x01\x05\x0a\x03\x12\x01b"),
            (json!({ "properties": { "a": {} } }), b"\xca\x01\x07\x0a\x05\x0a\x01a\x12\x00"),
            (json!({ "x-k": true }), b"\xfa\x01\x0e\x0a\x03x-k\x12\x07\x12\x05true\n"),
            (json!({ "additionalProperties": true }), b"\xaa\x01\x02\x10\x01"),
            (json!({ "enum": ["a"] }), b"\xa2\x01\x04\x12\x02a\n"),
            (json!({ "maximum": 1.0, "minimum": 0 }), b"\x39\0\0\0\0\0\0\xf0\x3f"),
        ] {
            assert_eq!(schema(&value), want, "{value}");
        }
    }

    #[test]
    fn a_parameter_is_written_by_where_it_is() {
        for (value, want) in [
            (json!({ "in": "path", "name": "n" }), &b"\x12\x0b\x22\x09\x12\x04path\x22\x01n"[..]),
            (json!({ "in": "query", "name": "n" }), b"\x12\x0c\x1a\x0a\x12\x05query\x22\x01n"),
            (json!({ "in": "body", "name": "n" }), b"\x0a\x09\x12\x01n\x1a\x04body"),
        ] {
            assert_eq!(parameter(&value), want, "{value}");
        }
    }
}
