// SPDX-License-Identifier: Apache-2.0
//! What expressions compute with. Objects of the API are not copied: a value is a view of their JSON through a
//! [`Shape`], made as deep as it is looked at.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use knarr_types::tree::{Text, Value as Json};

use super::libraries::Opaque;
use super::shape::{ListKind, Shape, ShapeKind};

/// A value of an expression.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `uint`.
    Uint(u64),
    /// `double`.
    Double(f64),
    /// `string`.
    String(Cow<'a, str>),
    /// `bytes`.
    Bytes(Rc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// Nanoseconds since 1970, and by how many seconds the clock that shows it is ahead of UTC.
    Timestamp(i128, i32),
    /// Elements in order.
    List(List<'a>),
    /// Values by key, or fields by name.
    Map(Map<'a>),
    /// A type, by its name.
    Type(Cow<'a, str>),
    /// A value or none.
    Optional(Option<Rc<Value<'a>>>),
    /// A literal of a type with fields.
    Struct(Rc<StructValue<'a>>),
    /// A value of one of Kubernetes' libraries.
    Opaque(Rc<Opaque<'a>>),
    /// What stands in an object and does not fit its schema, and why: a fault where it is looked at.
    Unfit(Rc<str>),
}

/// Elements: of an object, or computed.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// As they stand in an object.
    Json(&'a [Json], &'a Shape, &'a ListKind),
    /// Computed.
    Owned(Rc<Vec<Value<'a>>>),
    /// Computed from a list of an object that is no plain one, which it goes on being.
    Joined(Rc<(Vec<Value<'a>>, ListKind)>),
}

/// Entries: of an object, or computed.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// An object whose fields or values have these shapes.
    Json(&'a knarr_types::tree::Map, &'a Shape),
    /// Computed.
    Owned(Rc<BTreeMap<Key, Value<'a>>>),
}

/// What a map is looked up by; whole numbers are the same key whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A flag.
    Bool(bool),
    /// A number.
    Int(i128),
    /// A text.
    String(String),
}

/// A literal with a type's name and fields.
#[derive(Debug)]
pub struct StructValue<'a> {
    /// The type's name.
    pub name: String,
    /// The fields that were given.
    pub fields: BTreeMap<String, Value<'a>>,
}

impl<'a> Value<'a> {
    /// A computed text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::String(Cow::Owned(text.into()))
    }

    /// A computed list.
    #[must_use]
    pub fn list(elements: Vec<Value<'a>>) -> Self {
        Self::List(List::Owned(Rc::new(elements)))
    }

    /// A value that is there.
    #[must_use]
    pub fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// A value of a library.
    #[must_use]
    pub fn opaque(value: Opaque<'a>) -> Self {
        Self::Opaque(Rc::new(value))
    }

    /// JSON seen through a shape; what does not fit its shape is seen as it is.
    #[must_use]
    pub fn from_json(json: &'a Json, shape: &'a Shape) -> Self {
        match (json, &shape.kind) {
            (Json::Null, _) => Self::Null,
            (Json::Bool(value), _) => Self::Bool(*value),
            (Json::Number(number), ShapeKind::Double) => Self::Double(number.as_f64().unwrap_or_default()),
            (Json::Number(number), ShapeKind::Int) => {
                number.as_i64().map_or_else(|| Self::Unfit("invalid data, expected int, got float64".into()), Self::Int)
            }
            (Json::Number(number), _) => natural_number(number),
            (Json::String(text), kind) => from_text(text, kind),
            (Json::Array(elements), ShapeKind::List(element, kind)) => Self::List(List::Json(elements, element, kind)),
            (Json::Array(elements), _) => Self::List(List::Json(elements, &Shape::DYN, &ListKind::Atomic)),
            (Json::Object(map), ShapeKind::Map(_) | ShapeKind::Object(_)) => Self::Map(Map::Json(map, shape)),
            (Json::Object(map), _) => Self::Map(Map::Json(map, &Shape::DYN)),
        }
    }

    /// The name of its type, as `type()` gives it.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(..) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(map) => map.type_name(),
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Struct(of) => &of.name,
            Self::Opaque(of) => of.type_name(),
            Self::Unfit(_) => "error",
        }
    }

    /// How large it is, where it has a size.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        match self {
            Self::String(text) => Some(text.chars().count()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::List(list) => Some(list.len()),
            Self::Map(map) => Some(map.len()),
            _ => None,
        }
    }

    /// The characters of the regular expression behind a format.
    pub(super) fn pattern_size(&self) -> Option<u64> {
        match self {
            Self::Opaque(of) => match of.as_ref() {
                Opaque::Format(format) => Some(format.pattern_size()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Numbers are equal across their types; values of different types are not.
    #[must_use]
    pub fn equals(&self, other: &Value<'a>) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) | (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => a.equals(b),
            (Self::Map(a), Self::Map(b)) => a.equals(b),
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (None, None) => true,
                _ => false,
            },
            (Self::Struct(a), Self::Struct(b)) => {
                a.name == b.name
                    && a.fields.len() == b.fields.len()
                    && a.fields.iter().all(|(k, v)| b.fields.get(k).is_some_and(|o| v.equals(o)))
            }
            (Self::Opaque(a), Self::Opaque(b)) => a.equals(b),
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values that have one.
    #[must_use]
    pub fn compare(&self, other: &Value<'a>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a, _), Self::Timestamp(b, _)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), b) => compare_double(*a, b.whole()?),
            (a, Self::Double(b)) => compare_double(*b, a.whole()?).map(Ordering::reverse),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(i128::from(*n)),
            Self::Uint(n) => Some(i128::from(*n)),
            _ => None,
        }
    }

    /// As a key of a map.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match self {
            Self::Bool(value) => Some(Key::Bool(*value)),
            Self::String(text) => Some(Key::String(text.to_string())),
            Self::Double(n) if n.fract() == 0.0 && n.abs() < 1e18 => Some(Key::Int(*n as i128)),
            other => other.whole().map(Key::Int),
        }
    }

    /// It is what its type starts with: false, nothing, empty.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(n) => *n == 0,
            Self::Uint(n) => *n == 0,
            Self::Double(n) => *n == 0.0,
            Self::Duration(n) => *n == 0,
            Self::Optional(inner) => inner.is_none(),
            Self::Struct(of) => of.fields.is_empty(),
            Self::Timestamp(..) | Self::Type(_) | Self::Opaque(_) => false,
            other => other.size() == Some(0),
        }
    }

    /// As JSON, for what is put into objects; `None` where it has no such form.
    #[must_use]
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::from(*value),
            Self::Int(n) => Json::from(*n),
            Self::Uint(n) => Json::from(*n),
            Self::Double(n) => serde_json::Number::from_f64(*n).map(Json::Number)?,
            Self::String(text) => Json::from(text.as_ref()),
            Self::Bytes(bytes) => {
                use base64::Engine as _;
                Json::from(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Self::Duration(_) | Self::Timestamp(..) => Json::from(super::functions::to_text(self)?),
            Self::List(list) => Json::Array(list.iter().map(|v| v.to_json()).collect::<Option<_>>()?),
            Self::Map(map) => Json::Object(map.entries().iter().map(json_entry).collect::<Option<_>>()?),
            Self::Struct(of) => {
                let fields = of.fields.iter().map(|(k, v)| Some((k.clone(), v.to_json()?)));
                Json::Object(fields.collect::<Option<_>>()?)
            }
            Self::Optional(Some(inner)) => inner.to_json()?,
            Self::Optional(None) => Json::Null,
            Self::Type(_) | Self::Opaque(_) | Self::Unfit(_) => return None,
        })
    }
}

fn json_entry((key, value): &(Value<'_>, Value<'_>)) -> Option<(String, Json)> {
    match key {
        Value::String(text) => Some((text.to_string(), value.to_json()?)),
        _ => None,
    }
}

fn natural_number<'a>(number: &serde_json::Number) -> Value<'a> {
    match (number.as_i64(), number.as_f64()) {
        (Some(n), _) => Value::Int(n),
        (None, Some(n)) => Value::Double(n),
        (None, None) => Value::Null,
    }
}

/// A text that a format makes something else; where it does not fit, it stays a text.
fn from_text<'a>(text: &'a str, kind: &ShapeKind) -> Value<'a> {
    let made = match kind {
        ShapeKind::Duration => super::functions::parse_duration(text).map(Value::Duration),
        ShapeKind::Timestamp => {
            super::functions::parse_timestamp(text).map(|(nanos, offset)| Value::Timestamp(nanos, offset))
        }
        ShapeKind::Bytes => {
            return match crate::decode::decode_url_base64(text) {
                Ok(bytes) => Value::Bytes(bytes.into()),
                Err(why) => Value::Unfit(format!("Invalid byte formatted string {text}: {why}").into()),
            };
        }
        _ => None,
    };
    made.unwrap_or(Value::String(Cow::Borrowed(text)))
}

/// How a fraction stands to a whole number; nothing is comparable to what is no number.
fn compare_double(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    if a >= 2e19 {
        return Some(Ordering::Greater);
    }
    if a <= -2e19 {
        return Some(Ordering::Less);
    }
    let whole = a.floor();
    Some((whole as i128).cmp(&b).then(if a > whole { Ordering::Greater } else { Ordering::Equal }))
}

// === impl List ===

impl<'a> List<'a> {
    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(elements, ..) => elements.len(),
            Self::Owned(elements) => elements.len(),
            Self::Joined(joined) => joined.0.len(),
        }
    }

    /// No elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at this place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(elements, shape, _) => elements.get(index).map(|json| Value::from_json(json, shape)),
            Self::Owned(elements) => elements.get(index).cloned(),
            Self::Joined(joined) => joined.0.get(index).cloned(),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    fn kind(&self) -> &ListKind {
        match self {
            Self::Json(_, _, kind) => kind,
            Self::Owned(_) => &ListKind::Atomic,
            Self::Joined(joined) => &joined.1,
        }
    }

    /// Sets and lists with keys are equal whatever their order.
    fn equals(&self, other: &List<'a>) -> bool {
        if self.len() != other.len() {
            return false;
        }
        match (self.kind(), other.kind()) {
            (ListKind::Atomic, ListKind::Atomic) => self.iter().zip(other.iter()).all(|(a, b)| a.equals(&b)),
            (ListKind::Keyed(keys), _) | (_, ListKind::Keyed(keys)) => {
                self.iter().all(|a| other.iter().any(|b| same_keys(&a, &b, keys) && a.equals(&b)))
            }
            _ => self.iter().all(|a| other.iter().any(|b| a.equals(&b))),
        }
    }

    /// The two together: a set gains what it lacks, a list with keys has elements replaced where their keys are the
    /// same, other lists are appended to.
    #[must_use]
    pub fn plus(&self, other: &List<'a>) -> Value<'a> {
        let mut elements: Vec<Value<'a>> = self.iter().collect();
        for element in other.iter() {
            match self.kind() {
                ListKind::Atomic => elements.push(element),
                ListKind::Set if elements.iter().any(|e| e.equals(&element)) => {}
                ListKind::Set => elements.push(element),
                ListKind::Keyed(keys) => match elements.iter_mut().find(|e| same_keys(e, &element, keys)) {
                    Some(present) => *present = element,
                    None => elements.push(element),
                },
            }
        }
        match self.kind() {
            ListKind::Atomic => Value::list(elements),
            kind => Value::List(List::Joined(Rc::new((elements, kind.clone())))),
        }
    }
}

fn same_keys<'a>(a: &Value<'a>, b: &Value<'a>, keys: &[String]) -> bool {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (a.field(key), b.field(key)) {
        (Some(a), Some(b)) => a.equals(&b),
        (None, None) => true,
        _ => false,
    })
}

// === impl Map ===

impl<'a> Map<'a> {
    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Owned(map) => map.len(),
        }
    }

    /// No entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn type_name(&self) -> &str {
        match self {
            Self::Json(_, Shape { kind: ShapeKind::Object(object), .. }) => &object.name,
            _ => "map",
        }
    }

    /// The field or entry of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(map, Shape { kind: ShapeKind::Object(object), .. }) => {
                let field = object.field(name)?;
                map.get(&field.name).map(|json| Value::from_json(json, &field.shape))
            }
            Self::Json(map, shape) => map.get(name).map(|json| Value::from_json(json, shape.element())),
            Self::Owned(map) => map.get(&Key::String(name.to_owned())).cloned(),
        }
    }

    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (_, Value::String(name)) => self.field(name),
            (Self::Owned(map), key) => map.get(&key.key()?).cloned(),
            _ => None,
        }
    }

    /// All entries, by key.
    #[must_use]
    pub fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        match self {
            Self::Json(map, Shape { kind: ShapeKind::Object(object), .. }) => {
                let fields = object.fields.iter();
                let given = fields.filter_map(|(name, field)| Some((name, map.get(&field.name)?, &field.shape)));
                given.map(|(name, json, shape)| (Value::text(name.as_str()), Value::from_json(json, shape))).collect()
            }
            Self::Json(map, shape) => {
                let entry = |(key, json): (&'a Text, &'a Json)| {
                    (Value::String(Cow::Borrowed(key.as_str())), Value::from_json(json, shape.element()))
                };
                map.iter().map(entry).collect()
            }
            Self::Owned(map) => map.iter().map(|(key, value)| (key.value(), value.clone())).collect(),
        }
    }

    fn equals(&self, other: &Map<'a>) -> bool {
        let (a, b) = (self.entries(), other.entries());
        a.len() == b.len() && a.iter().all(|(key, value)| other.get(key).is_some_and(|found| value.equals(&found)))
    }
}

impl Key {
    /// As a value.
    #[must_use]
    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(n) => {
                i64::try_from(*n).map_or_else(|_| Value::Uint(u64::try_from(*n).unwrap_or_default()), Value::Int)
            }
            Self::String(text) => Value::text(text.as_str()),
        }
    }
}
