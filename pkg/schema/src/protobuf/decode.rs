// SPDX-License-Identifier: Apache-2.0
//! From a message's bytes to an object's tree: the same tree that the object's JSON gives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use knarr_types::Quantity;
use knarr_types::tree::{Map, Number, Value};

use super::message::{Codec, Message, Or, SCHEMA, Slot, What, WireField};
use super::wire::{Reader, WireType};
use crate::builtin_types;
use crate::decode::zero;
use crate::field_table::Type;

/// How deep messages may lie in each other.
const DEPTH_MAX: u32 = 128;

/// Why bytes are no such message. `Display` gives upstream's words where clients see it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// They break off.
    #[error("unexpected EOF")]
    Eof,
    /// A number is too large.
    #[error("proto: integer overflow")]
    Overflow,
    /// A length is too large.
    #[error("proto: negative length found during unmarshaling")]
    Length,
    /// A group ends that was not begun.
    #[error("proto: unexpected end of group")]
    Group,
    /// No field can have that number, or no value can lie so.
    #[error("proto: illegal tag {number} (wire type {wire})")]
    IllegalTag {
        /// The field's number.
        number: u32,
        /// How its value is said to lie.
        wire: u64,
    },
    /// A field's value lies otherwise than its type says.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongType {
        /// The field's name.
        field: &'static str,
        /// How its value lies.
        wire: u8,
    },
    /// Messages lie too deep in each other.
    #[error("proto: exceeded maximum recursion depth")]
    TooDeep,
    /// A value that its type refuses.
    #[error("{0}")]
    Refused(String),
}

/// Reads a message as the tree of an object, without `apiVersion` and `kind` of its own. Fields that
/// the type does not know are left out, and so are zero values that mean nothing was set.
///
/// # Errors
/// Where the bytes are no such message.
pub fn read(message: &Message, bytes: &[u8]) -> Result<Value, Fault> {
    let mut tree = Map::new();
    read_message(message, bytes, &mut tree, 0)?;
    Ok(Value::Object(tree))
}

fn read_message(message: &Message, bytes: &[u8], tree: &mut Map, depth: u32) -> Result<(), Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault::TooDeep);
    }
    read_slots(message, message.slots(), bytes, tree, depth)
}

fn read_slots(message: &Message, slots: &[Slot], bytes: &[u8], tree: &mut Map, depth: u32) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (number, wire) = reader.tag()?;
        let Ok(at) = slots.binary_search_by_key(&number, |slot| slot.number) else {
            reader.skip(wire)?;
            continue;
        };
        match &slots[at].what {
            What::Embedded(below) => {
                expect(wire, WireType::Bytes, "embedded")?;
                read_slots(message, below, reader.bytes()?, tree, depth)?;
            }
            What::Field(at) => read_field(&message.fields()[*at], wire, &mut reader, tree, depth)?,
        }
    }
    Ok(())
}

/// Reads one occurrence of a field: the next element of a list, an entry of a map, more of a message,
/// or else a value in place of the one before.
fn read_field(
    field: &WireField,
    wire: WireType,
    reader: &mut Reader<'_>,
    tree: &mut Map,
    depth: u32,
) -> Result<(), Fault> {
    let value = match &field.codec {
        Codec::List(item) => {
            let list = tree.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else { return Ok(()) };
            return read_items(item, wire, reader, field.name, items, depth);
        }
        Codec::Map(value) => {
            expect(wire, WireType::Bytes, field.name)?;
            let (key, value) = read_entry(value, reader.bytes()?, field.name, depth)?;
            let map = tree.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
            return Ok(());
        }
        Codec::Message(named) => {
            expect(wire, WireType::Bytes, field.name)?;
            let object = tree.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = object else { return Ok(()) };
            return read_message(named.message(), reader.bytes()?, inner, depth + 1);
        }
        codec => read_value(codec, wire, reader, field.name, depth)?,
    };
    match value {
        Some(value) if field.pointer || !is_zero(&value) => drop(tree.insert(field.name, value)),
        _ => drop(tree.remove(field.name)),
    }
    Ok(())
}

/// Scalars that are no pointers in Go are always written, set or not.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// An element of a list, or all of them where scalars are packed.
fn read_items(
    item: &Codec,
    wire: WireType,
    reader: &mut Reader<'_>,
    name: &'static str,
    items: &mut Vec<Value>,
    depth: u32,
) -> Result<(), Fault> {
    let scalar = match item {
        Codec::Boolean | Codec::Integer(_) => Some(WireType::Varint),
        Codec::Double => Some(WireType::Fixed64),
        _ => None,
    };
    if let (WireType::Bytes, Some(scalar)) = (wire, scalar) {
        let mut packed = Reader::new(reader.bytes()?);
        while !packed.is_empty() {
            items.extend(read_value(item, scalar, &mut packed, name, depth)?);
        }
        return Ok(());
    }
    // What a list holds is always there.
    items.push(read_value(item, wire, reader, name, depth)?.unwrap_or_default());
    Ok(())
}

fn read_entry(codec: &Codec, bytes: &[u8], name: &'static str, depth: u32) -> Result<(String, Value), Fault> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.tag()? {
            (1, wire) => {
                expect(wire, WireType::Bytes, name)?;
                key = text(reader.bytes()?);
            }
            (2, wire) => value = read_value(codec, wire, &mut reader, name, depth)?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok((key, value.unwrap_or_else(|| zero_of(codec))))
}

/// What a map has for a key without a value.
fn zero_of(codec: &Codec) -> Value {
    zero(&match codec {
        Codec::Boolean => Type::Boolean,
        Codec::Integer(bits) => Type::Integer { bits: *bits },
        Codec::Double => Type::Number,
        Codec::Text | Codec::Bytes => Type::String,
        Codec::Quantity => Type::Quantity,
        Codec::Message(_) => return Value::Object(Map::new()),
        _ => return Value::Null,
    })
}

/// Reads one value; `None` is one that is not set.
fn read_value(
    codec: &Codec,
    wire: WireType,
    reader: &mut Reader<'_>,
    name: &'static str,
    depth: u32,
) -> Result<Option<Value>, Fault> {
    let wanted = match codec {
        Codec::Boolean | Codec::Integer(_) => WireType::Varint,
        Codec::Double => WireType::Fixed64,
        _ => WireType::Bytes,
    };
    expect(wire, wanted, name)?;
    Ok(Some(match codec {
        Codec::Boolean => Value::Bool(reader.varint()? != 0),
        Codec::Integer(bits) => integer(reader.varint()?, *bits),
        Codec::Double => double(f64::from_bits(reader.fixed64()?)),
        Codec::Text => Value::from(text(reader.bytes()?)),
        Codec::Bytes => Value::from(STANDARD.encode(reader.bytes()?)),
        Codec::Time => return time(reader.bytes()?, false),
        Codec::MicroTime => return time(reader.bytes()?, true),
        Codec::Quantity => quantity(reader.bytes()?)?,
        Codec::IntOrString => int_or_string(reader.bytes()?)?,
        Codec::Raw => return raw(reader.bytes()?),
        Codec::SchemaOr(or) => return schema_or(*or, reader.bytes()?, depth),
        Codec::Message(named) => {
            let mut tree = Map::new();
            read_message(named.message(), reader.bytes()?, &mut tree, depth + 1)?;
            Value::Object(tree)
        }
        Codec::Wrapped(list) => {
            let Codec::List(item) = &**list else { return Ok(None) };
            let mut items = Vec::new();
            let mut inner = Reader::new(reader.bytes()?);
            while !inner.is_empty() {
                match inner.tag()? {
                    (1, wire) => read_items(item, wire, &mut inner, name, &mut items, depth)?,
                    (_, wire) => inner.skip(wire)?,
                }
            }
            Value::Array(items)
        }
        // Neither a list nor a map lies directly in another.
        Codec::List(_) | Codec::Map(_) => {
            reader.bytes()?;
            return Ok(None);
        }
    }))
}

fn expect(wire: WireType, wanted: WireType, field: &'static str) -> Result<(), Fault> {
    if wire == wanted { Ok(()) } else { Err(Fault::WrongType { field, wire: wire as u8 }) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "as Go reads a varint of that size")]
fn integer(varint: u64, bits: u8) -> Value {
    Value::from(if bits == 32 { i64::from(varint as i32) } else { varint as i64 })
}

/// A float; JSON has no word for infinities, and whole ones are written without a fraction.
fn double(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and within range")]
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Seconds and nanoseconds; nothing at all is no time.
fn time(bytes: &[u8], micro: bool) -> Result<Option<Value>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0_u64, 0_u64);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.tag()? {
            (1, WireType::Varint) => seconds = reader.varint()?,
            (2, WireType::Varint) => nanos = reader.varint()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    #[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "as Go reads both")]
    let (seconds, nanos) = (seconds as i64, if micro { nanos as i32 } else { 0 });
    let time = Timestamp::new(seconds, nanos).map_err(|why| Fault::Refused(why.to_string()))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(Some(Value::from(time.strftime(format).to_string())))
}

fn quantity(bytes: &[u8]) -> Result<Value, Fault> {
    let mut amount = String::new();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.tag()? {
            (1, WireType::Bytes) => amount = text(reader.bytes()?),
            (_, wire) => reader.skip(wire)?,
        }
    }
    if amount.is_empty() {
        return Ok(zero(&Type::Quantity));
    }
    let parsed = amount.parse::<Quantity>().map_err(|why| Fault::Refused(why.to_string()))?;
    Ok(Value::from(parsed.to_string()))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Fault> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.tag()? {
            (1, WireType::Varint) => is_text = reader.varint()? != 0,
            (2, WireType::Varint) => number = reader.varint()?,
            (3, WireType::Bytes) => string = text(reader.bytes()?),
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(if is_text { Value::from(string) } else { integer(number, 32) })
}

/// The JSON in a message of its own.
fn raw(bytes: &[u8]) -> Result<Option<Value>, Fault> {
    let mut json: &[u8] = b"";
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.tag()? {
            (1, WireType::Bytes) => json = reader.bytes()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    if json.is_empty() {
        return Ok(None);
    }
    crate::decode::decode_any(json).map(Some).map_err(|why| Fault::Refused(why.to_string()))
}

/// A schema, or what else may be in its place.
fn schema_or(or: Or, bytes: &[u8], depth: u32) -> Result<Option<Value>, Fault> {
    let Some(schema) = builtin_types::find(SCHEMA) else { return Ok(None) };
    let read_schema = |bytes: &[u8]| -> Result<Value, Fault> {
        let mut tree = Map::new();
        read_message(schema.message(), bytes, &mut tree, depth + 1)?;
        Ok(Value::Object(tree))
    };
    let (mut one, mut others, mut allows) = (None, Vec::new(), false);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match (reader.tag()?, or) {
            ((1, WireType::Varint), Or::Boolean) => allows = reader.varint()? != 0,
            ((2, WireType::Bytes), Or::Boolean) | ((1, WireType::Bytes), Or::Schemas | Or::Names) => {
                one = Some(read_schema(reader.bytes()?)?);
            }
            ((2, WireType::Bytes), Or::Schemas) => others.push(read_schema(reader.bytes()?)?),
            ((2, WireType::Bytes), Or::Names) => others.push(Value::from(text(reader.bytes()?))),
            ((_, wire), _) => reader.skip(wire)?,
        }
    }
    Ok(Some(match (one, or) {
        (Some(schema), _) => schema,
        (None, Or::Boolean) => Value::Bool(allows),
        (None, _) => Value::Array(others),
    }))
}
