// SPDX-License-Identifier: Apache-2.0
//! JSON of no known type to a tree.

use std::fmt;

use knarr_types::tree::{Map, Number, Value};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Reads a document: its tree, and the names that come twice in it, in the order of the text, as
/// `duplicate field "spec.a"` (the last one counts). `float` says what becomes of a number with a fraction or an exponent.
///
/// # Errors
/// Where it is not JSON.
pub(super) fn read(text: &str, float: fn(Number) -> Value) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Tree { path: "", float, duplicates: &mut duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, duplicates))
}

/// Builds the tree of what is at a path.
struct Tree<'a> {
    path: &'a str,
    float: fn(Number) -> Value,
    duplicates: &'a mut Vec<String>,
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
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom(format!("unsupported value: {value}")))?;
        Ok((self.float)(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            match seq.next_element_seed(Tree { path: &path, float: self.float, duplicates: self.duplicates })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut tree = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if tree.contains_key(&name) {
                self.duplicates.push(format!("duplicate field {path:?}"));
            }
            let value = map.next_value_seed(Tree { path: &path, float: self.float, duplicates: self.duplicates })?;
            tree.insert(name, value);
        }
        Ok(Value::Object(tree))
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::{Value, json};

    use super::super::shortest;
    use super::read;

    #[test]
    fn numbers_and_names_that_come_twice() {
        let (tree, duplicates) =
            read(r#"{"a": {"b": [1, {"c": 1.0, "c": 2e1}]}, "a": {"b": 0.5, "b": null}}"#, shortest).unwrap();
        assert_eq!(tree, json!({"a": {"b": null}}));
        let want = ["duplicate field \"a.b[1].c\"", "duplicate field \"a\"", "duplicate field \"a.b\""];
        assert_eq!(duplicates, want);
        let numbers = "[80.0, 1e1, 0.5, -0.0, 1e30]";
        assert_eq!(read(numbers, shortest).unwrap().0, json!([80, 10, 0.5, 0, 1e30]));
        assert_eq!(read(numbers, Value::Number).unwrap().0, json!([80.0, 10.0, 0.5, -0.0, 1e30]));
        for text in ["", "{", "[1,]", "1 2", "{\"a\" 1}", "1e999"] {
            assert!(read(text, shortest).is_err(), "{text}");
        }
    }
}
