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
    /// No field can have that number.
    #[error("proto: {message}: illegal tag {number} (wire type {tag})")]
    IllegalTag {
        /// The name of the message; none until whoever reads it says it.
        message: String,
        /// The field's number.
        number: i32,
        /// That number with how its value lies.
        tag: u64,
    },
    /// A group ends where fields should go on.
    #[error("proto: {message}: wiretype end group for non-group")]
    EndGroup {
        /// The name of the message; none until whoever reads it says it.
        message: String,
    },
    /// No value can lie so.
    #[error("proto: illegal wireType {0}")]
    IllegalWire(u8),
    /// A field's value lies otherwise than its type says.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongType {
        /// The field's name in Go; none until whoever reads it says it.
        field: String,
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

impl Fault {
    /// Names the message and the field, where nobody has yet.
    fn named(mut self, message_name: impl FnOnce() -> String, field_name: impl FnOnce() -> String) -> Self {
        match &mut self {
            Self::IllegalTag { message, .. } | Self::EndGroup { message } if message.is_empty() => {
                *message = message_name();
            }
            Self::WrongType { field, .. } if field.is_empty() => *field = field_name(),
            _ => {}
        }
        self
    }
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
    let read = read_slots(message, message.slots(), bytes, tree, depth, 0);
    read.map_err(|fault| fault.named(|| message.go_name().to_owned(), String::new))
}

/// Reads what lies in a message, or in one that is `embedded` so deep in it.
fn read_slots(
    message: &Message,
    slots: &[Slot],
    bytes: &[u8],
    tree: &mut Map,
    depth: u32,
    embedded: usize,
) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (number, wire) = reader.tag("")?;
        let Ok(at) = slots.binary_search_by_key(&number, |slot| slot.number) else {
            reader.skip(wire)?;
            continue;
        };
        match &slots[at].what {
            What::Embedded(below) => {
                let read = expect(wire, WireType::Bytes)
                    .and_then(|()| read_slots(message, below, reader.bytes()?, tree, depth, embedded + 1));
                let name = || {
                    let field = inner_field(message, below).map_or("", |field| field.name);
                    message.embedded(field, embedded).to_owned()
                };
                read.map_err(|fault| fault.named(name, name))?;
            }
            What::Field(at) => {
                let field = &message.fields()[*at];
                read_field(field, wire, &mut reader, tree, depth).map_err(|fault| {
                    fault.named(|| leaf_name(message, field).to_owned(), || message.field_go_name(field.name))
                })?;
            }
        }
    }
    Ok(())
}

/// Any field of an embedded message.
fn inner_field<'m>(message: &'m Message, slots: &[Slot]) -> Option<&'m WireField> {
    match &slots.first()?.what {
        What::Field(at) => message.fields().get(*at),
        What::Embedded(below) => inner_field(message, below),
    }
}

/// The message that a field's value is which has none of its own here.
fn leaf_name(message: &Message, field: &WireField) -> &'static str {
    match (field.name, message.go_name()) {
        ("fieldsV1", _) => "FieldsV1",
        (_, "JSONSchemaProps") => "JSON",
        (name, _) if matches!(field.codec, Codec::Map(_) | Codec::Wrapped(_)) => message.list_type(name),
        _ => "RawExtension",
    }
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
            return read_items(item, wire, reader, items, depth);
        }
        Codec::Map(value) => {
            expect(wire, WireType::Bytes)?;
            let (key, value) = read_entry(value, reader.bytes()?, depth)?;
            let map = tree.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
            return Ok(());
        }
        Codec::Message(named) => {
            expect(wire, WireType::Bytes)?;
            let object = tree.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = object else { return Ok(()) };
            return read_message(named.message(), reader.bytes()?, inner, depth + 1);
        }
        codec => read_value(codec, wire, reader, depth)?,
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
            items.extend(read_value(item, scalar, &mut packed, depth)?);
        }
        return Ok(());
    }
    // What a list holds is always there.
    items.push(read_value(item, wire, reader, depth)?.unwrap_or_default());
    Ok(())
}

/// Reads a key and its value. How they are said to lie is not asked: upstream does not look either.
fn read_entry(codec: &Codec, bytes: &[u8], depth: u32) -> Result<(String, Value), Fault> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.any_tag()? {
            (1, ..) => key = text(reader.bytes()?),
            (2, ..) => value = read_value(codec, lies(codec), &mut reader, depth)?,
            (_, wire, _) => reader.skip(wire)?,
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

/// How the values of a type lie.
const fn lies(codec: &Codec) -> WireType {
    match codec {
        Codec::Boolean | Codec::Integer(_) => WireType::Varint,
        Codec::Double => WireType::Fixed64,
        _ => WireType::Bytes,
    }
}

/// Reads one value; `None` is one that is not set.
fn read_value(codec: &Codec, wire: WireType, reader: &mut Reader<'_>, depth: u32) -> Result<Option<Value>, Fault> {
    expect(wire, lies(codec))?;
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
            walk("", &[("Items", WireType::Bytes)], reader.bytes()?, |_, inner| {
                read_items(item, WireType::Bytes, inner, &mut items, depth)
            })?;
            Value::Array(items)
        }
        // Neither a list nor a map lies directly in another.
        Codec::List(_) | Codec::Map(_) => {
            reader.bytes()?;
            return Ok(None);
        }
    }))
}

fn expect(wire: WireType, wanted: WireType) -> Result<(), Fault> {
    if wire == wanted { Ok(()) } else { Err(Fault::WrongType { field: String::new(), wire: wire.number() }) }
}

/// Reads a message of few fields, numbered from one, with their names in Go and how they lie; `take` reads the value.
pub(super) fn walk<'a>(
    message: &str,
    fields: &[(&str, WireType)],
    bytes: &'a [u8],
    mut take: impl FnMut(usize, &mut Reader<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (number, wire) = reader.tag(message)?;
        let number = usize::try_from(number).unwrap_or_default();
        match fields.get(number.wrapping_sub(1)) {
            None => reader.skip(wire)?,
            Some((_, wanted)) if wire == *wanted => take(number, &mut reader)?,
            Some((field, _)) => return Err(Fault::WrongType { field: (*field).to_owned(), wire: wire.number() }),
        }
    }
    Ok(())
}

/// A text; what is no UTF-8 in it is replaced byte by byte, as Go does where it writes JSON.
pub(super) fn text(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
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
    walk("Timestamp", &[("Seconds", WireType::Varint), ("Nanos", WireType::Varint)], bytes, |number, reader| {
        *if number == 1 { &mut seconds } else { &mut nanos } = reader.varint()?;
        Ok(())
    })?;
    #[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "as Go reads both")]
    let (seconds, nanos) = (seconds as i64, if micro { nanos as i32 } else { 0 });
    let time = Timestamp::new(seconds, nanos).map_err(|why| Fault::Refused(why.to_string()))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(Some(Value::from(time.strftime(format).to_string())))
}

fn quantity(bytes: &[u8]) -> Result<Value, Fault> {
    let mut amount = zero(&Type::Quantity);
    walk("Quantity", &[("String_", WireType::Bytes)], bytes, |_, reader| {
        let parsed = text(reader.bytes()?).parse::<Quantity>().map_err(|why| Fault::Refused(why.to_string()))?;
        amount = Value::from(parsed.to_string());
        Ok(())
    })?;
    Ok(amount)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Fault> {
    const FIELDS: [(&str, WireType); 3] =
        [("Type", WireType::Varint), ("IntVal", WireType::Varint), ("StrVal", WireType::Bytes)];
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    walk("IntOrString", &FIELDS, bytes, |field, reader| {
        match field {
            1 => is_text = reader.varint()? != 0,
            2 => number = reader.varint()?,
            _ => string = text(reader.bytes()?),
        }
        Ok(())
    })?;
    Ok(if is_text { Value::from(string) } else { integer(number, 32) })
}

/// The JSON in a message of its own.
fn raw(bytes: &[u8]) -> Result<Option<Value>, Fault> {
    let mut json: &[u8] = b"";
    walk("", &[("Raw", WireType::Bytes)], bytes, |_, reader| {
        json = reader.bytes()?;
        Ok(())
    })?;
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
    let bytes_of = WireType::Bytes;
    let (name, fields) = match or {
        Or::Boolean => ("JSONSchemaPropsOrBool", [("Allows", WireType::Varint), ("Schema", bytes_of)]),
        Or::Schemas => ("JSONSchemaPropsOrArray", [("Schema", bytes_of), ("JSONSchemas", bytes_of)]),
        Or::Names => ("JSONSchemaPropsOrStringArray", [("Schema", bytes_of), ("Property", bytes_of)]),
    };
    walk(name, &fields, bytes, |number, reader| {
        match (number, or) {
            (1, Or::Boolean) => allows = reader.varint()? != 0,
            (2, Or::Boolean) | (1, _) => one = Some(read_schema(reader.bytes()?)?),
            (_, Or::Schemas) => others.push(read_schema(reader.bytes()?)?),
            _ => others.push(Value::from(text(reader.bytes()?))),
        }
        Ok(())
    })?;
    Ok(Some(match (one, or) {
        (Some(schema), _) => schema,
        (None, Or::Boolean) => Value::Bool(allows),
        (None, _) => Value::Array(others),
    }))
}
