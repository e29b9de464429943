// SPDX-License-Identifier: Apache-2.0
//! Texts of the store, and what was read of them so far: a level of a map at a time.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::Error as _;
use serde_json::Error;

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
            let read = || members(&self.0.json)?.into_iter().map(|(name, text)| Ok((name, value(text)?))).collect();
            let read: Result<Map, Error> = read();
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
pub(super) fn value(json: Bytes) -> Result<Value, Error> {
    if json.len() < LONG {
        return serde_json::from_slice(&json);
    }
    match json[0] {
        b'{' => Ok(Value::Object(Map::stored(json))),
        b'[' => parts(&json)?.into_iter().map(|(_, item)| value(json.slice_ref(item.as_bytes()))).collect(),
        _ => serde_json::from_slice(&json),
    }
}

/// The members of a map by its text, each with its own.
pub(super) fn members(json: &Bytes) -> Result<Vec<(Text, Bytes)>, Error> {
    let member = |(name, text): (&str, &str)| {
        let plain = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let name = match plain {
            Some(plain) if !plain.contains('\\') => plain.into(),
            _ => serde_json::from_str(name)?,
        };
        Ok((name, json.slice_ref(text.as_bytes())))
    };
    if json.first() != Some(&b'{') {
        return Err(Error::custom("this is the text of no map"));
    }
    parts(json)?.into_iter().map(member).collect()
}

/// What stands between the brackets of a map or list: names as they are written (none in a list), and values. The store's
/// texts have no spaces, and are known to be right: nothing is looked at but where a value ends.
fn parts(json: &[u8]) -> Result<Vec<(&str, &str)>, Error> {
    let text = std::str::from_utf8(json).map_err(Error::custom)?;
    split(text).ok_or_else(|| Error::custom("the text of a map or list is damaged"))
}

fn split(text: &str) -> Option<Vec<(&str, &str)>> {
    let bytes = text.as_bytes();
    let is_map = bytes.first() == Some(&b'{');
    let close = if is_map { b'}' } else { b']' };
    let mut parts = Vec::with_capacity(16);
    let mut at = 1;
    while bytes.get(at) != Some(&close) {
        let name = at;
        if is_map {
            at = end_of_text(bytes, at + 1)?;
        }
        let (name, value) = (text.get(name..at)?, at + usize::from(is_map));
        at = end_of_value(bytes, value).filter(|end| *end > value)?;
        parts.push((name, text.get(value..at)?));
        at += usize::from(bytes.get(at) == Some(&b','));
    }
    (at + 1 == bytes.len()).then_some(parts)
}

/// Where a value ends that begins there.
fn end_of_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => at = end_of_text(bytes, at + 1)?,
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' | b',' if depth == 0 => return Some(at),
            b'}' | b']' => (depth, at) = (depth - 1, at + 1),
            _ => at += 1,
        }
        if depth == 0 && matches!(bytes.get(at)?, b',' | b'}' | b']') {
            return Some(at);
        }
    }
}

/// Where a text ends, behind its quote, whose first letter is there.
fn end_of_text(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let (_, mut opened) = pair();
        opened.open();
        assert!(!opened.is_as_stored() && !opened["containers"][1].is_as_stored() && opened == stored);
        let (_, mut alone) = pair();
        alone["hostNetwork"] = false.into();
        assert_eq!(alone["containers"], read["containers"]);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\\n{}\\[\\],:é]{0,90}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\,:{}é]{0,9}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_a_text_says_is_what_it_was_written_of(tree in tree()) {
            let text = Bytes::from(tree.to_string());
            let mut stored = value(text.clone()).unwrap();
            prop_assert_eq!(&stored, &tree);
            prop_assert_eq!(stored.to_string(), tree.to_string());
            if let Value::Object(map) = &tree {
                let read = members(&text).unwrap();
                prop_assert!(read.iter().map(|(name, _)| name).eq(map.keys()));
                prop_assert!(read.iter().zip(map.values()).all(|((_, text), value)| *text == value.to_string()));
                stored["and"] = json!(["more"]);
                prop_assert_eq!(stored["and"].clone(), json!(["more"]));
            }
        }

        #[test]
        fn damage_never_panics(bytes in "[{}\\[\\]\",:\\\\a1é]{0,40}", cut in 0..40_usize) {
            let _ = split(&bytes);
            let whole = json!({"a": [bytes.as_str(), {"b": bytes.as_str()}]}).to_string();
            let _ = members(&Bytes::from(whole.into_bytes()).slice(..cut.min(9)));
        }
    }
}
