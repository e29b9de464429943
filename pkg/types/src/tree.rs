// SPDX-License-Identifier: Apache-2.0
//! The tree that an object is read into: JSON's values, made for many small maps with short names.
//!
//! It is used as `serde_json::Value` is, and reads and writes the same JSON. What differs is the cost: a name
//! or a text of up to 24 bytes lies in the tree itself, a small map is one piece of memory. A write builds and
//! searches a tree of a few hundred of them.

mod convert;
mod index;
mod map;
mod reader;
mod serial;
mod stored;
mod words;

use std::fmt;

use bytes::Bytes;
pub use compact_str::CompactString as Text;
pub use index::Index;
pub use map::{Entry, IntoIter, Iter, IterMut, Map};
pub use serde_json::Number;
pub use words::{front, has_byte, is_escaped_in_json, is_same_behind_front};

#[doc(hidden)]
pub use serde_json as __serde_json;

static NULL: Value = Value::Null;

/// One value of JSON.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written: whole ones keep all their digits.
    Number(Number),
    /// A text.
    String(Text),
    /// A list.
    Array(Vec<Value>),
    /// A map; its names have an order.
    Object(Map),
}

/// A value written as JSON, with expressions where values stand: `json!({"metadata": {"name": name}})`.
/// For tests and rare paths: what it makes is made twice.
#[macro_export]
macro_rules! json {
    ($($json:tt)+) => {
        $crate::tree::Value::from($crate::tree::__serde_json::json!($($json)+))
    };
}
pub use crate::json;

/// The members of a map by the text that the store holds of it, each with its own text, of which nothing was looked at.
///
/// # Errors
/// Where the text is that of no map.
pub fn stored_members(json: &Bytes) -> Result<Vec<(Text, Bytes)>, serde_json::Error> {
    stored::members(json)
}

/// Reads a type out of a tree.
///
/// # Errors
/// Where the tree has not the type's shape.
pub fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    T::deserialize(&value)
}

/// The tree of what can be written as JSON.
///
/// # Errors
/// Where it cannot: a map whose names are no texts.
pub fn to_value(value: impl serde::Serialize) -> Result<Value, serde_json::Error> {
    serde_json::to_value(value).map(Value::from)
}

impl Value {
    /// The value that a text of the store says; a map as [`Map::stored`] gives it, where the text is long.
    ///
    /// # Errors
    /// Where it is no JSON.
    pub fn stored(json: Bytes) -> Result<Self, serde_json::Error> {
        stored::value(json)
    }

    /// What is at this name of a map or this position of a list.
    #[inline]
    pub fn get(&self, index: impl Index) -> Option<&Value> {
        index.of(self)
    }

    /// What is at this name of a map or this position of a list, to change it.
    pub fn get_mut(&mut self, index: impl Index) -> Option<&mut Value> {
        index.of_mut(self)
    }

    /// The value at a JSON pointer (RFC 6901).
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, token| {
            let token = token.replace("~1", "/").replace("~0", "~");
            match value {
                Value::Object(map) => map.get(&token),
                Value::Array(list) => list.get(position(&token)?),
                _ => None,
            }
        })
    }

    /// The value at a JSON pointer (RFC 6901), to change it.
    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, token| {
            let token = token.replace("~1", "/").replace("~0", "~");
            match value {
                Value::Object(map) => map.get_mut(&token),
                Value::Array(list) => list.get_mut(position(&token)?),
                _ => None,
            }
        })
    }

    /// Takes the value out and leaves `null`.
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }

    /// `null` is there.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// A text is there.
    pub fn is_string(&self) -> bool {
        matches!(self, Value::String(_))
    }

    /// A number is there.
    pub fn is_number(&self) -> bool {
        matches!(self, Value::Number(_))
    }

    /// `true` or `false` is there.
    pub fn is_boolean(&self) -> bool {
        matches!(self, Value::Bool(_))
    }

    /// A list is there.
    pub fn is_array(&self) -> bool {
        matches!(self, Value::Array(_))
    }

    /// A map is there.
    pub fn is_object(&self) -> bool {
        matches!(self, Value::Object(_))
    }

    /// A whole number that fits is there.
    pub fn is_i64(&self) -> bool {
        matches!(self, Value::Number(number) if number.is_i64())
    }

    /// The text that is there.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value that is there.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(set) => Some(*set),
            _ => None,
        }
    }

    /// The whole number that is there, where it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The whole number from zero that is there, where it fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The number that is there.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// The number that is there, as it was written.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The list that is there.
    pub fn as_array(&self) -> Option<&Vec<Value>> {
        match self {
            Value::Array(list) => Some(list),
            _ => None,
        }
    }

    /// The list that is there, to change it.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Value::Array(list) => Some(list),
            _ => None,
        }
    }

    /// The map that is there.
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Value::Object(map) => Some(map),
            _ => None,
        }
    }

    /// A map is there, as it was [stored](Map::stored).
    #[inline]
    pub fn is_as_stored(&self) -> bool {
        self.as_object().is_some_and(|map| map.as_stored().is_some())
    }

    /// Makes of it, and of all in it, what is read: nothing is as it was [stored](Map::stored) any more. For what comes to
    /// another place, whose form it may not have.
    pub fn open(&mut self) {
        match self {
            Value::Array(items) => items.iter_mut().for_each(Self::open),
            Value::Object(members) => members.values_mut().for_each(Self::open),
            _ => {}
        }
    }

    /// The map that is there, to change it.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Value::Object(map) => Some(map),
            _ => None,
        }
    }
}

/// A position as RFC 6901 writes it.
fn position(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    canonical.then(|| token.parse().ok())?
}

/// As JSON; with `#`, over several lines.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { serde_json::to_string_pretty(self) } else { serde_json::to_string(self) };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Value {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}
