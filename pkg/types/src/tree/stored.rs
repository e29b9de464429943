// SPDX-License-Identifier: Apache-2.0
//! Texts of the store, and what was read of them so far: a level of a map at a time.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::{Deserializer as _, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Map, Text, Value};

/// What is shorter is read at once, in bytes.
const LONG: usize = 256;

/// A map of the store. Clones share what was read.
#[derive(Clone)]
pub(super) struct Stored(Arc<Inner>);

struct Inner {
    json: Bytes,
    map: OnceLock<Map>,
    derived: OnceLock<Option<Box<[u8]>>>,
}

impl Stored {
    /// The map that this text says.
    pub(super) fn new(json: Bytes) -> Self {
        Self(Arc::new(Inner { json, map: OnceLock::new(), derived: OnceLock::new() }))
    }

    /// A map with the text that says it.
    pub(super) fn read(json: Bytes, map: Map) -> Self {
        Self(Arc::new(Inner { json, map: map.into(), derived: OnceLock::new() }))
    }

    /// Its text.
    pub(super) fn json(&self) -> &Bytes {
        &self.0.json
    }

    /// The map; an empty one where the text is none, which the store does not take.
    pub(super) fn map(&self) -> &Map {
        self.0.map.get_or_init(|| {
            let read = members(&self.0.json);
            debug_assert!(read.is_ok(), "a text of the store is JSON: {read:?}");
            read.unwrap_or_default()
        })
    }

    /// What follows from the map for the one who asks, found out once.
    pub(super) fn derived(&self, find: impl FnOnce() -> Option<Box<[u8]>>) -> Option<&[u8]> {
        self.0.derived.get_or_init(find).as_deref()
    }

    /// The map, for somebody who changes it.
    pub(super) fn take(&mut self) -> Map {
        self.map();
        let own = Arc::get_mut(&mut self.0).and_then(|inner| inner.map.take());
        own.unwrap_or_else(|| self.map().clone())
    }
}

/// The value of a text: what is long stays text.
pub(super) fn value(json: Bytes) -> Result<Value, serde_json::Error> {
    match json.first() {
        Some(b'{') if json.len() >= LONG => Ok(Value::Object(Map::stored(json))),
        Some(b'[') if json.len() >= LONG => {
            let items: Vec<&RawValue> = serde_json::from_str(text(&json)?)?;
            items.into_iter().map(|item| value(json.slice_ref(item.get().as_bytes()))).collect()
        }
        _ => serde_json::from_str(text(&json)?),
    }
}

fn members(json: &Bytes) -> Result<Map, serde_json::Error> {
    serde_json::Deserializer::from_str(text(json)?).deserialize_map(Members(json))
}

/// Bytes as text: looked at as a whole, once, which costs less than a look at each text in them.
fn text(json: &[u8]) -> Result<&str, serde_json::Error> {
    std::str::from_utf8(json).map_err(serde_json::Error::custom)
}

/// The members of a map with this text.
struct Members<'a>(&'a Bytes);

impl<'de> Visitor<'de> for Members<'de> {
    type Value = Map;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Map, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<Text>()? {
            let text = members.next_value::<&RawValue>()?.get().as_bytes();
            map.insert(name, value(self.0.slice_ref(text)).map_err(A::Error::custom)?);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    /// A map, and the same as it is stored.
    fn pair() -> (Value, Value) {
        let container = |n: usize| json!({"name": format!("c{n}"), "args": ["x".repeat(LONG)], "env": [{"name": "A"}]});
        let read = json!({"containers": [container(0), container(1)], "hostNetwork": true, "volumes": []});
        let stored = value(read.to_string().into()).unwrap();
        assert!(stored.is_as_stored());
        (read, stored)
    }

    #[test]
    fn a_stored_map_is_the_map_that_it_says() {
        let (read, stored) = pair();
        assert_eq!(stored["containers"][1]["env"][0]["name"], "A");
        assert!(stored["containers"][1].is_as_stored() && stored.is_as_stored(), "a look changes nothing");
        assert!(!stored["containers"][1]["env"][0].is_as_stored(), "what is short is read");
        assert_eq!((&stored, stored.as_object().unwrap().len()), (&read, 3));
        assert_eq!(stored.to_string(), read.to_string());
        assert_eq!(pair().1, pair().1);
    }

    #[test]
    fn whoever_changes_a_stored_map_has_one_of_their_own() {
        let (read, stored) = pair();
        let mut changed = stored.clone();
        changed["containers"][0]["name"] = "other".into();
        assert!(!changed.is_as_stored() && !changed["containers"][0].is_as_stored());
        assert!(changed["containers"][1].is_as_stored());
        assert_eq!((stored["containers"][0]["name"].as_str(), &stored), (Some("c0"), &read));
        assert_ne!(changed, stored);
        let mut sealed = changed.clone();
        sealed.as_object_mut().unwrap().seal(|map| Value::Object(map.clone()).to_string().into());
        assert_eq!(
            (sealed.as_object().unwrap().as_stored().unwrap(), &sealed),
            (&changed.to_string().into(), &changed)
        );
        sealed["hostNetwork"] = false.into();
        assert!(!sealed.is_as_stored() && sealed["hostNetwork"] == false);
        let (_, mut alone) = pair();
        alone["hostNetwork"] = false.into();
        assert_eq!(alone["containers"], read["containers"]);
    }
}
