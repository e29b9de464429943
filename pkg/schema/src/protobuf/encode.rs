// SPDX-License-Identifier: Apache-2.0
//! From an object's JSON, as bytes or as a tree, to a message's bytes in one pass: byte by byte what Go
//! writes, so fields in the order of their numbers, and zero values where Go has no pointer.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use knarr_types::tree::Value;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::message::{Codec, Message, Or, SCHEMA, Slot, What, WireField};
use super::wire::{WireType, put_bytes, put_integer, put_nested, put_tag};
use crate::builtin_types;

/// Writes the object whose JSON this is. What the message does not know is left out.
///
/// # Errors
/// Where it is no JSON, or holds what a field's type does not take.
pub fn put_json(message: &Message, json: &[u8], out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    Fields { message, out }.deserialize(&mut serde_json::Deserializer::from_slice(json))
}

/// Writes the object of that tree. What the message does not know is left out.
///
/// # Errors
/// Where it holds what a field's type does not take.
pub fn put_tree(message: &Message, object: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    Fields { message, out }.deserialize(object)
}

/// Writes the fields of an object, one behind the other.
struct Fields<'m, 'o> {
    message: &'m Message,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.out.len();
        let mut written: Vec<Range<usize>> = vec![0..0; self.message.fields().len()];
        while let Some(at) = map.next_key_seed(Name(self.message))? {
            let Some(at) = at else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &self.message.fields()[at];
            let begin = self.out.len();
            map.next_value_seed(Put { codec: &field.codec, number: field.number(), out: self.out })?;
            written[at] = begin - start..self.out.len() - start;
        }
        // JSON has the fields by name, a message by number; that is how embedded ones come together too.
        let unordered = self.out.split_off(start);
        let in_order = Ordered { message: self.message, bytes: &unordered, written: &written };
        in_order.put(self.message.slots(), self.out);
        Ok(())
    }
}

/// The fields of an object, to be put in the order of their numbers.
struct Ordered<'a> {
    message: &'a Message,
    bytes: &'a [u8],
    /// Where in `bytes` each field is; nowhere if it is not set.
    written: &'a [Range<usize>],
}

impl Ordered<'_> {
    fn put(&self, slots: &[Slot], out: &mut Vec<u8>) {
        for slot in slots {
            match &slot.what {
                What::Embedded(below) => put_nested(out, slot.number, |out| self.put(below, out)),
                What::Field(at) => match &self.bytes[self.written[*at].clone()] {
                    [] => put_unset(&self.message.fields()[*at], out),
                    bytes => out.extend_from_slice(bytes),
                },
            }
        }
    }
}

/// Writes a field that is not set as Go does: what is no pointer has its zero value.
fn put_unset(field: &WireField, out: &mut Vec<u8>) {
    let number = field.number();
    match &field.codec {
        _ if field.pointer => {}
        Codec::Boolean | Codec::Integer(_) => put_integer(out, number, 0),
        Codec::Double => put_double(out, number, 0.0),
        Codec::Text | Codec::Time | Codec::MicroTime | Codec::Raw | Codec::Wrapped(_) => put_bytes(out, number, b""),
        Codec::Quantity => put_nested(out, number, |out| put_bytes(out, 1, b"0")),
        Codec::IntOrString => put_int_or_string(out, number, 0, ""),
        Codec::Message(named) => put_nested(out, number, |out| {
            let (message, written) = (named.message(), vec![0..0; named.message().fields().len()]);
            Ordered { message, bytes: b"", written: &written }.put(message.slots(), out);
        }),
        Codec::Bytes | Codec::SchemaOr(_) | Codec::List(_) | Codec::Map(_) => {}
    }
}

fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    put_tag(out, number, WireType::Fixed64);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Writes a number, or the text where there is one.
fn put_int_or_string(out: &mut Vec<u8>, number: u32, int: i64, text: &str) {
    put_nested(out, number, |out| {
        put_integer(out, 1, i64::from(!text.is_empty()));
        put_integer(out, 2, int);
        put_bytes(out, 3, text.as_bytes());
    });
}

/// Where in the message the field of a name is.
struct Name<'m>(&'m Message);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.position(name))
    }
}

/// Writes the value of one field, its number in front.
struct Put<'m, 'o> {
    codec: &'m Codec,
    number: u32,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Put<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if matches!(self.codec, Codec::Raw) {
            let value: Value = serde::Deserialize::deserialize(deserializer)?;
            if !value.is_null() {
                let json = serde_json::to_string(&value).map_err(D::Error::custom)?;
                put_nested(self.out, self.number, |out| put_bytes(out, 1, as_go_writes(&json).as_bytes()));
            }
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Put<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {:?}", self.codec)
    }

    /// What is not set is not written.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.codec {
            Codec::Boolean => put_integer(self.out, self.number, value.into()),
            Codec::SchemaOr(Or::Boolean) => {
                put_nested(self.out, self.number, |out| put_integer(out, 1, value.into()));
            }
            _ => return Err(E::custom("a boolean where none belongs")),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.codec {
            Codec::Integer(_) => put_integer(self.out, self.number, value),
            #[allow(clippy::cast_precision_loss, reason = "as Go reads a whole number for a float")]
            Codec::Double => return self.visit_f64(value as f64),
            Codec::IntOrString => put_int_or_string(self.out, self.number, value, ""),
            Codec::Quantity => return self.visit_str(&value.to_string()),
            _ => return Err(E::custom("a number where none belongs")),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            #[allow(clippy::cast_precision_loss, reason = "as Go reads a whole number for a float")]
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.codec {
            Codec::Double => {
                put_double(self.out, self.number, value);
                Ok(())
            }
            _ => Err(E::custom("a fraction where none belongs")),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let (out, number) = (self.out, self.number);
        match self.codec {
            Codec::Text => put_bytes(out, number, value.as_bytes()),
            Codec::Bytes => put_bytes(out, number, &STANDARD.decode(value).map_err(E::custom)?),
            Codec::Quantity => put_nested(out, number, |out| put_bytes(out, 1, value.as_bytes())),
            Codec::IntOrString => put_nested(out, number, |out| {
                put_integer(out, 1, 1);
                put_integer(out, 2, 0);
                put_bytes(out, 3, value.as_bytes());
            }),
            Codec::Time | Codec::MicroTime => {
                let time: Timestamp = value.parse().map_err(E::custom)?;
                // The second is rounded down, as the rest counts forward.
                let nanos = time.as_nanosecond().rem_euclid(1_000_000_000);
                let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
                let nanos = if matches!(self.codec, Codec::MicroTime) { nanos / 1000 * 1000 } else { 0 };
                put_nested(out, number, |out| {
                    put_integer(out, 1, i64::try_from(seconds).unwrap_or_default());
                    put_integer(out, 2, i64::try_from(nanos).unwrap_or_default());
                });
            }
            _ => return Err(E::custom("a text where none belongs")),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (out, number) = (self.out, self.number);
        match self.codec {
            Codec::List(item) => put_items(item, number, seq, out),
            Codec::Wrapped(list) => {
                let Codec::List(item) = &**list else { return Ok(()) };
                put_nested(out, number, |out| put_items(item, 1, seq, out))
            }
            Codec::SchemaOr(Or::Names) => put_nested(out, number, |out| put_items(&Codec::Text, 2, seq, out)),
            Codec::SchemaOr(Or::Schemas) => {
                let Some(schema) = builtin_types::find(SCHEMA) else { return Ok(()) };
                put_nested(out, number, |out| put_items(&Codec::Message(schema), 2, seq, out))
            }
            _ => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Err(A::Error::custom("a list where none belongs"))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (out, number) = (self.out, self.number);
        match self.codec {
            Codec::Message(named) => {
                put_nested(out, number, |out| Fields { message: named.message(), out }.visit_map(map))
            }
            Codec::Map(codec) => {
                while let Some(key) = map.next_key::<String>()? {
                    put_nested(out, number, |out| {
                        put_bytes(out, 1, key.as_bytes());
                        map.next_value_seed(Put { codec, number: 2, out })
                    })?;
                }
                Ok(())
            }
            Codec::SchemaOr(or) => {
                let Some(schema) = builtin_types::find(SCHEMA) else { return Ok(()) };
                put_nested(out, number, |out| {
                    if *or == Or::Boolean {
                        put_integer(out, 1, 1);
                    }
                    let number = if *or == Or::Boolean { 2 } else { 1 };
                    put_nested(out, number, |out| Fields { message: schema.message(), out }.visit_map(map))
                })
            }
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Err(A::Error::custom("an object where none belongs"))
            }
        }
    }
}

/// JSON as Go writes it: what HTML or JavaScript would read otherwise is escaped. Those who compare bytes that they
/// once sent, as controllers do with revisions, find them again.
fn as_go_writes(json: &str) -> Cow<'_, str> {
    const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    if !json.contains(ESCAPED) {
        return Cow::Borrowed(json);
    }
    // They stand nowhere but in texts.
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if ESCAPED.contains(&c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn put_items<'de, A: SeqAccess<'de>>(item: &Codec, number: u32, mut seq: A, out: &mut Vec<u8>) -> Result<(), A::Error> {
    loop {
        let start = out.len();
        if seq.next_element_seed(Put { codec: item, number, out })?.is_none() {
            return Ok(());
        }
        // What a list holds is there even where it is `null`.
        if out.len() == start && matches!(item, Codec::Raw) {
            put_nested(out, number, |out| put_bytes(out, 1, b"null"));
        }
    }
}
