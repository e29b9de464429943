// SPDX-License-Identifier: Apache-2.0
//! OpenAPI documents in protobuf: the messages of github.com/google/gnostic-models, by the names that their fields have
//! in JSON.

pub(super) mod v2;
pub(super) mod v3;

use std::collections::BTreeMap;

use knarr_types::tree::Value;

use crate::encode::to_yaml;
use crate::protobuf::wire::{WireType, put_bytes, put_integer, put_nested, put_tag};

/// How a value is written as a message.
enum Message {
    /// By the fields of an object.
    Fields(&'static [Field]),
    /// As this field of the message, whatever it is.
    Whole(u32, Shape),
    /// It depends on the value.
    Chosen(fn(&Value) -> &'static Message),
}

/// A field of a message: its name in JSON, its number, and what it is. Two names are none of JSON's: `x-` stands for
/// all that begins so, `*` for all else that is not named.
type Field = (&'static str, u32, Shape);

/// What a field is. All but [`Shape::Any`] stand for several where the value is a list.
enum Shape {
    Text,
    Flag,
    Count,
    Number,
    /// A value of any form, as YAML.
    Any,
    /// Several of these.
    Anys,
    Message(&'static Message),
    /// A message with the name and what it names.
    Named(&'static Shape),
    /// One that is written also where it is zero or empty: it was chosen.
    Set(&'static Shape),
}

use Message::{Chosen, Fields, Whole};
use Shape::{Any, Anys, Count, Flag, Named, Number, Set, Text};

/// What a document has that OpenAPI does not know.
const EXTENSION: Shape = Named(&Any);

fn bytes_of(message: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_message(&mut out, message, value);
    out
}

fn put_message(out: &mut Vec<u8>, message: &Message, value: &Value) {
    match message {
        Chosen(choose) => put_message(out, choose(value), value),
        Whole(number, shape) => put(out, *number, shape, value),
        Fields(fields) => {
            // In the order of the numbers, as upstream.
            for (known, number, shape) in *fields {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let named = match *known {
                        "x-" => name.as_str().starts_with("x-"),
                        "*" => true,
                        known => name.as_str() == known,
                    };
                    match shape {
                        Named(shape) if named => put_nested(out, *number, |out| {
                            put_bytes(out, 1, name.as_str().as_bytes());
                            put(out, 2, shape, value);
                        }),
                        shape if named => put(out, *number, shape, value),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Writes a field; nothing where it holds nothing.
fn put(out: &mut Vec<u8>, number: u32, shape: &Shape, value: &Value) {
    if let (Some(items), false) = (value.as_array(), matches!(shape, Any)) {
        let one = if matches!(shape, Anys) { &Any } else { shape };
        items.iter().for_each(|item| put(out, number, one, item));
        return;
    }
    match shape {
        Text => {
            let text = value.as_str().unwrap_or_default();
            if !text.is_empty() {
                put_bytes(out, number, text.as_bytes());
            }
        }
        Flag if *value == true => put_integer(out, number, 1),
        Count => {
            let count = value.as_i64().unwrap_or_default();
            if count != 0 {
                put_integer(out, number, count);
            }
        }
        Number => {
            let amount = value.as_f64().unwrap_or_default();
            if amount != 0.0 {
                put_number(out, number, amount);
            }
        }
        Any | Anys => put_nested(out, number, |out| put_bytes(out, 2, to_yaml(value).as_bytes())),
        Shape::Message(message) => put_nested(out, number, |out| put_message(out, message, value)),
        Set(Text) => put_bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Set(Flag) => put_integer(out, number, i64::from(*value == true)),
        Set(Number) => put_number(out, number, value.as_f64().unwrap_or_default()),
        Set(shape) => put(out, number, shape, value),
        Flag | Named(_) => {}
    }
}

fn put_number(out: &mut Vec<u8>, number: u32, amount: f64) {
    put_tag(out, number, WireType::Fixed64);
    out.extend(amount.to_le_bytes());
}

/// What is written already, as members of a message: each is a name and what it names.
fn put_members(out: &mut Vec<u8>, number: u32, members: &BTreeMap<String, Vec<u8>>) {
    for (name, value) in members {
        put_nested(out, number, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_bytes(out, 2, value);
        });
    }
}
