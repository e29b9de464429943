// SPDX-License-Identifier: Apache-2.0
//! Trees as canonical JSON text: sorted keys, no spaces. Every write ends here, and most of what it writes
//! are short texts that need no escape: those are copied without a look at each character.

use knarr_types::tree::{Map, Value, is_escaped_in_json};

/// Writes a value.
pub(crate) fn value(json: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => json.extend_from_slice(b"null"),
        Value::Bool(true) => json.extend_from_slice(b"true"),
        Value::Bool(false) => json.extend_from_slice(b"false"),
        Value::String(said) => text(json, said),
        Value::Number(_) => library(json, value),
        Value::Array(items) => {
            let mut before = b'[';
            for item in items {
                json.push(before);
                before = b',';
                self::value(json, item);
            }
            json.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
        }
        Value::Object(members) => map(json, members),
    }
}

/// Writes a map.
pub(crate) fn map(json: &mut Vec<u8>, members: &Map) {
    if let Some(text) = members.as_stored() {
        return json.extend_from_slice(text);
    }
    let mut before = b'{';
    for (name, member) in members {
        json.push(before);
        before = b',';
        entry(json, name, member);
    }
    json.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
}

/// Writes a member of an object.
pub(crate) fn entry(json: &mut Vec<u8>, name: &str, member: &Value) {
    text(json, name);
    json.push(b':');
    value(json, member);
}

/// Writes a text in quotes.
pub(crate) fn text(json: &mut Vec<u8>, text: &str) {
    prefixed(json, "", text);
}

/// Writes a text in quotes, with a front that needs no escape.
pub(crate) fn prefixed(json: &mut Vec<u8>, front: &str, text: &str) {
    json.reserve(front.len() + text.len() + 2);
    json.push(b'"');
    json.extend_from_slice(front.as_bytes());
    if is_escaped_in_json(text) {
        // Runs of plain bytes, each but the last before one that is escaped.
        for run in text.as_bytes().split_inclusive(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
            let (last, plain) = run.split_last().expect("no run is empty");
            json.extend_from_slice(plain);
            escaped(json, *last);
        }
    } else {
        json.extend_from_slice(text.as_bytes());
    }
    json.push(b'"');
}

/// Writes a byte of a text, in the shortest form that JSON has for it (RFC 8259, section 7).
fn escaped(json: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        0..0x20 => return json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        _ => return json.push(byte),
    };
    json.extend_from_slice(&[b'\\', short]);
}

fn library(json: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("a tree of JSON is JSON, and memory takes all");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-z\"\\\\\n\u{7f}é]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~\n]{0,6}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_the_library(tree in tree()) {
            let mut json = Vec::new();
            value(&mut json, &tree);
            prop_assert_eq!(String::from_utf8(json).unwrap(), tree.to_string());
        }
    }
}
