// SPDX-License-Identifier: Apache-2.0
//! Bodies of objects that are made from templates: the text of nearly each spec is that of one before it, and what was
//! read of that one is what it says.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use knarr_types::tree::{Map, Text, Value};
use knarr_types::{Object, Status};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::kind::decode_flawless;
use super::{FieldValidation, MediaType, decode_as};
use crate::kinds::{Kind, Registry};
use crate::recent::Recent;

/// Specs with a longer text are read each time, in bytes: so what is kept is bounded.
const BYTES_MAX: usize = 16 << 10;

static SPECS: Mutex<Recent<Spec>> = Mutex::new(Recent::new());

/// A spec that came twice.
#[derive(Clone)]
struct Spec {
    /// As it was sent.
    sent: Box<[u8]>,
    /// In its one form, with its defaults; not where it has an empty list or map, which is told from none until it is
    /// stored.
    read: Option<Map>,
}

/// As [`decode_as`]. A spec that came before may be in its one form already, and have its defaults: it is
/// [as it was stored](Map::stored) then.
///
/// # Errors
/// As [`decode_as`].
pub fn decode_templated(
    kind: &Kind,
    registry: &Registry,
    body: &[u8],
    media: MediaType,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    let is_templated = kind.rules.is_templated && kind.custom.is_none() && media == MediaType::Json;
    let spec = if is_templated { spec_of(body) } else { None };
    let object = spec.and_then(|spec| read_known(kind, body, &spec).or_else(|| read_new(kind, body, spec)));
    object.map_or_else(|| decode_as(kind, registry, body, media, validation), |object| Ok((object, Vec::new())))
}

/// Reads a body around a spec that came before.
fn read_known(kind: &Kind, body: &[u8], spec: &Range<usize>) -> Option<Object> {
    let sent = &body[spec.clone()];
    let known = specs().get(hash(kind, sent)).filter(|known| *known.sent == *sent)?.read.clone()?;
    let mut object = decode_flawless(kind, &[&body[..spec.start], b"{}", &body[spec.end..]].concat())?;
    object["spec"] = Value::Object(known);
    Some(object)
}

/// Reads a body in which nothing is wrong, and keeps its spec where that came before.
fn read_new(kind: &Kind, body: &[u8], spec: Range<usize>) -> Option<Object> {
    let object = decode_flawless(kind, body)?;
    let sent = &body[spec];
    let hash = hash(kind, sent);
    let is_known = specs().get(hash).is_some();
    if !is_known && specs().came_before(hash) {
        let read = settled(kind, &object["spec"]);
        specs().keep(hash, Spec { sent: sent.into(), read });
    }
    Some(object)
}

/// A spec in its one form, with its defaults, where nothing in it is told from none.
fn settled(kind: &Kind, spec: &Value) -> Option<Map> {
    let mut object = Value::Object(Map::from([("spec", spec.clone())]));
    kind.default(&mut object);
    if kind.normalize_sent(&mut object) {
        return None;
    }
    kind.seal(&mut object);
    object["spec"].as_object()?.as_stored().cloned().map(Map::stored)
}

fn hash(kind: &Kind, sent: &[u8]) -> u64 {
    FixedState::with_seed(0).hash_one((&*kind.group, &*kind.version, &*kind.kind, sent))
}

fn specs() -> MutexGuard<'static, Recent<Spec>> {
    SPECS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the one `spec` of a body is that is an object, and not too long to be kept.
fn spec_of(body: &[u8]) -> Option<Range<usize>> {
    let spec = serde_json::Deserializer::from_slice(body).deserialize_map(OneSpec).ok()??;
    let start = spec.as_ptr().addr() - body.as_ptr().addr();
    (spec.starts_with('{') && spec.len() <= BYTES_MAX).then(|| start..start + spec.len())
}

struct OneSpec;

impl<'de> Visitor<'de> for OneSpec {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut spec = None;
        while let Some(name) = members.next_key::<Text>()? {
            let text = members.next_value::<&RawValue>()?.get();
            if name == "spec" && spec.replace(text).is_some() {
                return Err(A::Error::duplicate_field("spec"));
            }
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn read(body: &str, validation: FieldValidation) -> Result<(Object, Vec<String>), Status> {
        let registry = Registry::builtin();
        let kind = registry.by_plural("", "pods").unwrap();
        decode_templated(kind, &registry, body.as_bytes(), MediaType::Json, validation)
    }

    /// A pod of a template.
    fn pod(name: &str, spec: &str) -> String {
        format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":{name:?}}},"spec":{spec}}}"#)
    }

    #[test]
    fn a_spec_that_came_twice_is_what_it_was() {
        let spec = format!(
            r#"{{"containers":[{{"name":"c","image":"i:1","resources":{{"limits":{{"cpu":"0.5"}}}},"args":["{}"]}}]}}"#,
            "x".repeat(300)
        );
        let registry = Registry::builtin();
        let kind = registry.by_plural("", "pods").unwrap();
        let done = |mut object: Object| {
            kind.default(&mut object);
            kind.normalize_sent(&mut object);
            object
        };
        let all: Vec<_> =
            ["a", "b", "c", "d"].map(|name| read(&pod(name, &spec), FieldValidation::Strict).unwrap().0).into();
        assert!(!all[1]["spec"].is_as_stored() && all[2]["spec"].is_as_stored() && all[3]["spec"].is_as_stored());
        let want = done(all[0].clone());
        assert_eq!(want["spec"]["containers"][0]["resources"]["requests"]["cpu"], "500m");
        for (object, name) in all.into_iter().zip(["a", "b", "c", "d"]) {
            let object = done(object);
            assert_eq!((&object["metadata"]["name"], &object["spec"]), (&json!(name), &want["spec"]));
        }
    }

    #[test]
    fn what_is_wrong_is_told_each_time() {
        let unknown = r#"{"containers":[{"name":"c","imagee":"a spec with a field that nobody knows"}]}"#;
        for _ in 0..4 {
            assert!(read(&pod("a", unknown), FieldValidation::Ignore).unwrap().1.is_empty());
            assert_eq!(read(&pod("a", unknown), FieldValidation::Warn).unwrap().1.len(), 1);
            assert_eq!(read(&pod("a", unknown), FieldValidation::Strict).unwrap_err().code, 400);
        }
        let right = r#"{"containers":[{"name":"c","image":"a spec in which nothing is wrong"}]}"#;
        for _ in 0..4 {
            assert!(read(&pod("a", right), FieldValidation::Strict).unwrap().1.is_empty());
        }
        let twice = pod("a", right).replace("\"metadata\"", &format!("\"spec\":{right},\"metadata\""));
        assert_eq!(read(&twice, FieldValidation::Warn).unwrap().1.len(), 1);
        assert_eq!(read(&pod("a", right).replace("Pod", "Node"), FieldValidation::Warn).unwrap_err().code, 400);
        assert_eq!(
            read(&pod("a", right).replace("\"name\":\"a\"", "\"name\":1"), FieldValidation::Warn).unwrap_err().code,
            400
        );
    }

    #[test]
    fn what_is_told_from_none_stays_as_it_was_sent() {
        let empty = r#"{"containers":[],"hostname":"a-spec-with-a-list-that-is-empty"}"#;
        for _ in 0..4 {
            let object = read(&pod("a", empty), FieldValidation::Warn).unwrap().0;
            assert_eq!(object["spec"]["containers"], json!([]));
        }
    }
}
