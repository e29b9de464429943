// SPDX-License-Identifier: Apache-2.0
//! The pass itself: a visitor that builds the tree of a value of a given type.

use std::fmt;

use knarr_types::Quantity;
use knarr_types::tree::{Map, Number, Text, Value};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::fault::{Context, Step, ValueFault};
use super::{again, base64_text, go_time};
use crate::field_table::{ListMerge, SchemaOr, Struct, Type, TypeRef};
use crate::patch::json_kind;

/// Reads one value of a type. Gives `None` for `null` and for what the type does not take (then the
/// context has an error).
pub(super) struct Typed<'t, 'c> {
    pub ty: &'t Type,
    pub context: &'c mut Context,
}

impl<'de> DeserializeSeed<'de> for Typed<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if !self.context.is_text || !matches!(self.ty, Type::Quantity) {
            return deserializer.deserialize_any(self);
        }
        // A quantity is read from the text of its number, which says also how it is written.
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return self.quantity(text);
        }
        serde_json::Deserializer::from_str(text).deserialize_any(self).map_err(Error::custom)
    }
}

impl<'de> Visitor<'de> for Typed<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&go_type(self.ty))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(matches!(self.ty, Type::Any).then_some(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.ty {
            Type::Any | Type::Boolean | Type::SchemaOr { or: SchemaOr::Boolean, .. } => Ok(Some(Value::Bool(value))),
            _ => self.mismatch("bool"),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.number(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Number::from_f64(value).map_or(Ok(None), |number| self.number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        let read = match self.ty {
            Type::Any | Type::String | Type::IntOrString | Type::Duration => return Ok(Some(value.into())),
            Type::Quantity => canonical_quantity(value),
            Type::Time => go_time::canonical_time(value),
            Type::MicroTime => go_time::canonical_micro_time(value),
            Type::Bytes => {
                let read = base64_text::canonical(value.to_owned()).map_err(|why| self.context.wrong_text(why));
                return Ok(read.ok().map(Value::from));
            }
            _ => return self.mismatch("string"),
        };
        match read {
            Ok(text) => Ok(Some(text.into())),
            Err(why) => self.refuse(why),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let any = TypeRef::of(Type::Any);
        let item = match self.ty {
            Type::List { item, .. } => item,
            Type::Any => &any,
            Type::Bytes => return self.bytes(seq),
            Type::SchemaOr { schema, or: SchemaOr::List } => return self.schemas(seq, schema),
            Type::SchemaOr { or: SchemaOr::Names, .. } => return self.names(seq),
            _ => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return self.mismatch("array");
            }
        };
        let (ty, context) = (item.get(), self.context);
        let mut items = Vec::new();
        loop {
            let mark = context.mark();
            let read = seq.next_element_seed(Typed { ty, context });
            context.prefix(mark, Step::Index(items.len()));
            let Some(value) = read? else { return Ok(Some(Value::Array(items))) };
            items.push(value.unwrap_or_else(|| zero(ty)));
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let tree = match self.ty {
            Type::Struct(fields) => read_struct(fields, map, self.context)?,
            Type::Map { value, .. } => read_map(value.get(), map, self.context)?,
            Type::Any => read_map(&Type::Any, map, &mut Context::default())?,
            Type::SchemaOr { schema, .. } => {
                let Type::Struct(fields) = schema.get() else { return Ok(None) };
                let mut inner = Context::default();
                let read = read_struct(fields, map, &mut inner);
                return self.read_apart(inner, read.map(Value::Object));
            }
            _ => {
                let mut map = map;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return self.mismatch("object");
            }
        };
        Ok(Some(Value::Object(tree)))
    }
}

impl Typed<'_, '_> {
    /// Bytes may be sent as a list of numbers, too.
    fn bytes<'de, A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Value>, A::Error> {
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(element) = seq.next_element::<Value>()? {
            let number = element.as_u64().and_then(|number| u8::try_from(number).ok());
            if number.is_none() && !element.is_null() {
                let mark = self.context.mark();
                let kind = json_kind(&element);
                let shown = if kind == "number" { format!("number {element}") } else { kind.to_owned() };
                self.context.wrong_type(shown, "uint8");
                self.context.prefix(mark, Step::Index(bytes.len()));
            }
            bytes.push(number.unwrap_or_default());
        }
        Ok(Some(base64_text::encoded(&bytes).into()))
    }

    /// A list of schemas; one without any is none.
    fn schemas<'de, A: SeqAccess<'de>>(self, seq: A, schema: &TypeRef) -> Result<Option<Value>, A::Error> {
        let list = Type::List { item: schema.clone(), merge: ListMerge::Atomic };
        let read = self.apart(seq, &list)?;
        Ok(read.filter(|schemas| schemas.as_array().is_some_and(|list| !list.is_empty())))
    }

    fn names<'de, A: SeqAccess<'de>>(self, seq: A) -> Result<Option<Value>, A::Error> {
        self.apart(seq, &Type::List { item: TypeRef::of(Type::String), merge: ListMerge::Atomic })
    }

    fn apart<'de, A: SeqAccess<'de>>(self, seq: A, list: &Type) -> Result<Option<Value>, A::Error> {
        let mut inner = Context::default();
        let read = Typed { ty: list, context: &mut inner }.visit_seq(seq);
        self.read_apart(inner, read.map(Option::unwrap_or_default))
    }

    /// What a reader of its own has read: it tells nothing of unknown fields, and an error of it ends the pass.
    fn read_apart<E: Error>(self, inner: Context, read: Result<Value, E>) -> Result<Option<Value>, E> {
        match inner.error {
            Some(fault) => {
                self.context.fail(fault);
                Err(E::custom("refused"))
            }
            None => read.map(Some),
        }
    }

    fn number<E: Error>(self, number: Number) -> Result<Option<Value>, E> {
        let fits = match self.ty {
            Type::Any => true,
            Type::Number => return Ok(Some(shortest(number))),
            Type::Integer { bits: 32 } | Type::IntOrString => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Type::Integer { .. } => number.as_i64().is_some(),
            Type::Quantity => return self.quantity(&number.to_string()),
            _ => return self.mismatch("number"),
        };
        if fits { Ok(Some(Value::Number(number))) } else { self.mismatch(format!("number {number}")) }
    }

    fn quantity<E: Error>(self, text: &str) -> Result<Option<Value>, E> {
        match canonical_quantity(text) {
            Ok(text) => Ok(Some(text.into())),
            Err(why) => self.refuse(why),
        }
    }

    /// A value of another type. Types with a reader of their own end the pass.
    fn mismatch<E: Error>(self, value: impl Into<String>) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Quantity => {
                let why = canonical_quantity("").err().unwrap_or_default();
                self.refuse(why)
            }
            Type::Time | Type::MicroTime | Type::Duration | Type::IntOrString => {
                self.context.fail(ValueFault::of_type(value, go_type(self.ty)));
                Err(E::custom("refused"))
            }
            Type::SchemaOr { or: SchemaOr::Boolean, .. } => self.refuse("boolean or JSON schema expected".to_owned()),
            // These are not read at all.
            Type::SchemaOr { .. } => Ok(None),
            _ => {
                self.context.wrong_type(value, go_type(self.ty));
                Ok(None)
            }
        }
    }

    fn refuse<E: Error>(self, why: String) -> Result<Option<Value>, E> {
        self.context.fail(ValueFault::Refused(why));
        Err(E::custom("refused"))
    }
}

/// For how many fields room is made at once: most structs have more, most objects not many more of them.
const USUAL_FIELDS: usize = 8;

/// The key of a struct's entry: the position of its field, or the name that no field has.
enum FieldKey {
    Known(usize),
    Unknown(String),
}

struct FieldSeed<'t>(&'t Struct);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = FieldKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<FieldKey, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed<'_> {
    type Value = FieldKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<FieldKey, E> {
        Ok(match self.0.position(name) {
            Some(i) => FieldKey::Known(i),
            None => FieldKey::Unknown(name.to_owned()),
        })
    }
}

fn read_struct<'de, A: MapAccess<'de>>(fields: &Struct, mut map: A, context: &mut Context) -> Result<Map, A::Error> {
    let mut tree = Map::with_capacity(fields.fields.len().min(USUAL_FIELDS));
    let mut seen = Seen::default();
    while let Some(key) = map.next_key_seed(FieldSeed(fields))? {
        match key {
            FieldKey::Known(i) => {
                let field = &fields.fields[i];
                let again = seen.insert(i);
                if again {
                    context.duplicate(&field.name);
                }
                let mark = context.mark();
                let read = map.next_value_seed(Typed { ty: field.ty.get(), context });
                context.prefix(mark, Step::Field(&fields.name, &field.name));
                match (read?, again) {
                    (Some(value), false) => drop(tree.insert(&*field.name, value)),
                    (read, true) => again::read_again(fields, field, read, &mut tree),
                    (None, false) => {}
                }
            }
            FieldKey::Unknown(name) if fields.preserve_unknown => {
                let value = map.next_value()?;
                if tree.insert(name.clone(), value).is_some() {
                    context.duplicate(&name);
                }
            }
            FieldKey::Unknown(name) => {
                map.next_value::<IgnoredAny>()?;
                context.unknown(&name);
            }
        }
    }
    Ok(tree)
}

fn read_map<'de, A: MapAccess<'de>>(ty: &Type, mut map: A, context: &mut Context) -> Result<Map, A::Error> {
    let mut tree = Map::new();
    while let Some(key) = map.next_key::<String>()? {
        let mark = context.mark();
        let read = map.next_value_seed(Typed { ty, context });
        context.prefix(mark, Step::Key(&key));
        let value = read?.unwrap_or_else(|| zero(ty));
        if tree.contains_key(&key) {
            context.duplicate(&key);
        }
        tree.insert(key, value);
    }
    Ok(tree)
}

/// Which fields of a struct were there.
#[derive(Default)]
struct Seen([u64; 2], Vec<usize>);

impl Seen {
    /// Whether it was there before.
    fn insert(&mut self, i: usize) -> bool {
        if let Some(word) = self.0.get_mut(i / 64) {
            let bit = 1 << (i % 64);
            let before = *word & bit != 0;
            *word |= bit;
            return before;
        }
        let before = self.1.contains(&i);
        if !before {
            self.1.push(i);
        }
        before
    }
}

fn canonical_quantity(text: &str) -> Result<String, String> {
    text.trim().parse::<Quantity>().map(|quantity| quantity.to_string()).map_err(|error| error.to_string())
}

/// What Go holds where a list or a map has `null` for a value of that type.
pub(crate) fn zero(ty: &Type) -> Value {
    match ty {
        Type::Boolean => Value::Bool(false),
        Type::Integer { .. } | Type::Number | Type::IntOrString => Value::Number(0.into()),
        Type::String | Type::Duration | Type::Bytes => Value::String(Text::default()),
        Type::Quantity => Value::String("0".into()),
        Type::Struct(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

/// A float without a needless fraction, as Go prints it.
pub(crate) fn shortest(number: Number) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and within range")]
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => Value::from(float as i64),
        _ => Value::Number(number),
    }
}

/// The type as Go's decoder names it.
fn go_type(ty: &Type) -> String {
    match ty {
        Type::Any | Type::SchemaOr { .. } => "runtime.RawExtension".into(),
        Type::Boolean => "bool".into(),
        Type::Integer { bits } => format!("int{bits}"),
        Type::Number => "float64".into(),
        Type::String | Type::Time | Type::MicroTime | Type::Duration => "string".into(),
        Type::IntOrString => "int32".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::Bytes => "[]uint8".into(),
        Type::List { item, .. } => format!("[]{}", go_type_of(item)),
        Type::Map { value, .. } => format!("map[string]{}", go_type_of(value)),
        Type::Struct(s) => in_package(&s.name).unwrap_or_else(|| "map[string]interface {}".into()),
    }
}

/// As [`go_type`], by the name of the type where it has one.
fn go_type_of(ty: &TypeRef) -> String {
    let named = match ty {
        TypeRef::Named(named) => in_package(named.name()),
        TypeRef::Inline(_) => None,
    };
    named.unwrap_or_else(|| go_type(ty.get()))
}

/// `v1.Pod` of `io.k8s.api.core.v1.Pod`.
fn in_package(name: &str) -> Option<String> {
    let mut parts = name.rsplit('.');
    let (name, package) = (parts.next()?, parts.next()?);
    Some(format!("{package}.{name}"))
}
