// SPDX-License-Identifier: Apache-2.0
//! From the bytes of a request to a custom object. Types are not looked at here: validation tells what
//! does not fit, with the rest of what is wrong.

use std::fmt;

use knarr_types::tree::{Map, Number, Value};
use knarr_types::{FieldError, FieldPath, Object, Status};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::custom::Custom;
use crate::decode::{MediaType, shortest, yaml};
use crate::kinds::Kind;

/// A body as a tree, and what comes twice in it, in the order of the body.
pub(crate) struct Parsed {
    /// The tree.
    pub object: Value,
    /// `duplicate field "spec.a"`
    pub duplicates: Vec<String>,
}

/// Reads a body without a type.
///
/// # Errors
/// Where it is not of that media type, in upstream's words.
pub(crate) fn parse(body: &[u8], media: MediaType) -> Result<Parsed, String> {
    if media == MediaType::Yaml {
        let document = yaml::first_document(body)?;
        return Ok(Parsed { object: document.value, duplicates: document.duplicates.into_iter().collect() });
    }
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let seed = Tree { path: String::new(), duplicates: &mut duplicates };
    let read = seed.deserialize(&mut deserializer).and_then(|object| deserializer.end().map(|()| object));
    match read {
        Ok(object) => Ok(Parsed { object, duplicates }),
        Err(error) => Err(crate::decode::decode_any(body).err().map_or_else(|| error.to_string(), |e| e.to_string())),
    }
}

/// What is wrong with a tree before it is looked at as an object of the kind.
///
/// # Errors
/// It says it is of another version or of no kind.
pub(crate) fn check_head(kind: &Kind, object: &Value, body: &str, summary: &str) -> Result<(), Status> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    if text("kind").is_empty() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{body}' ({summary})",
            kind.kind,
        )));
    }
    let sent = text("apiVersion");
    if sent != kind.api_version() {
        return Err(Status::bad_request(format!(
            "the API version in the data ({sent}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    let sent = text("kind");
    if sent != &*kind.kind {
        let why = format!("must be {}", kind.kind);
        let errors = vec![FieldError::invalid(&FieldPath::new("kind"), sent, why)];
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::invalid(&kind.group, sent, name, &errors));
    }
    Ok(())
}

/// Brings a tree into the form of its schema; gives what a strict decoder minds.
///
/// # Errors
/// Where metadata are of a wrong type.
pub(crate) fn coerce(custom: &Custom, parsed: Parsed) -> Result<(Object, Vec<String>), String> {
    let Parsed { mut object, duplicates } = parsed;
    let unknown = custom.coerce(&mut object)?;
    let unknown = unknown.into_iter().map(|path| format!("unknown field {path:?}"));
    Ok((object, duplicates.into_iter().chain(unknown).collect()))
}

/// Builds the tree of any value.
struct Tree<'c> {
    path: String,
    duplicates: &'c mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, shortest))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            let Some(item) = seq.next_element_seed(Tree { path, duplicates: self.duplicates })? else {
                return Ok(Value::Array(items));
            };
            items.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut tree = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if tree.contains_key(&name) {
                self.duplicates.push(format!("duplicate field {path:?}"));
            }
            let value = map.next_value_seed(Tree { path, duplicates: self.duplicates })?;
            tree.insert(name, value);
        }
        Ok(Value::Object(tree))
    }
}
