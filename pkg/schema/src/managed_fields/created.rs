// SPDX-License-Identifier: Apache-2.0
//! What the maker of an object owns of it: nearly everything, written as it is published in one walk. A comparison with
//! nothing would find the same, but as a set of fields that is written right away and looked at no more.

use knarr_types::Object;
use knarr_types::tree::{Map, Text, Value};

use super::{Manager, UNOWNED_METADATA, UNOWNED_ROOT};
use crate::encode::json;
use crate::field_set::Element;
use crate::field_table::TypeRef;
use crate::typed::{Shape, tells_apart_as, told_apart};

/// The fields (`FieldsV1` as canonical JSON, `{}` where there are none) that the manager owns who makes `new` where
/// nothing was but `empty`, an object of the type in which nothing was set; `None` where nothing tells the elements of a
/// list in it apart.
pub(super) fn owned(empty: &Object, new: &Object, shape: Shape<'_>, manager: &Manager<'_>) -> Option<String> {
    let mut walk = Walk { text: Vec::with_capacity(2048), all_told: true };
    let is_reset = |name: &str| manager.reset.contains(&[name].as_slice());
    walk.object(empty.as_object(), new.as_object()?, shape, false, |walk, name, old, value, shape| {
        if UNOWNED_ROOT.contains(&name) {
            return false;
        }
        if is_reset(name) {
            walk.all_told &= tells_apart_as(value, shape);
            return false;
        }
        if name != "metadata" {
            return walk.part(old, value, shape);
        }
        let (old, Some(metadata)) = (old.and_then(Value::as_object), value.as_object()) else { return false };
        walk.object(old, metadata, shape, false, |walk, name, old, value, shape| {
            !UNOWNED_METADATA.contains(&name) && walk.value(old, value, shape)
        })
    });
    walk.all_told.then(|| String::from_utf8(walk.text).expect("what is written of texts is text"))
}

struct Walk {
    text: Vec<u8>,
    /// There is something in each element of the lists that tells it apart.
    all_told: bool,
}

impl Walk {
    /// Writes what is owned at and below a field of the root. Objects that are made of one template share what is in it,
    /// and so what is owned of that.
    fn part(&mut self, old: Option<&Value>, new: &Value, shape: Shape<'_>) -> bool {
        let find = || {
            let mut walk = Walk { text: Vec::with_capacity(1024), all_told: true };
            let is_owned = walk.value(old, new, shape);
            (is_owned && walk.all_told).then(|| walk.text.into())
        };
        match new.as_object().and_then(|shared| shared.derived(find)) {
            Some(owned) => {
                self.text.extend_from_slice(owned);
                true
            }
            None => self.value(old, new, shape),
        }
    }

    /// Writes what is owned at and below a value; `false`, with anything written, where that is nothing.
    fn value(&mut self, old: Option<&Value>, new: &Value, shape: Shape<'_>) -> bool {
        let itself = old.is_none();
        match (shape, new) {
            (Shape::List { item, keys }, Value::Array(items)) if !items.is_empty() => {
                debug_assert!(old.is_none_or(Value::is_null), "an object in which nothing was set has no list");
                self.list(items, item, keys, itself);
                true
            }
            (Shape::Struct(_) | Shape::Map(_) | Shape::Deduced, Value::Object(_) | Value::Null)
                if old.is_none_or(|old| old.is_null() || old.is_object()) =>
            {
                let is_empty = |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(Map::is_empty);
                if is_empty(old) && is_empty(Some(new)) {
                    return self.field(old, new);
                }
                let members = new.as_object().into_iter().flatten();
                self.object(old.and_then(Value::as_object), members, shape, itself, Self::member) || itself
            }
            _ => self.field(old, new),
        }
    }

    /// Writes a value that is owned as a whole.
    fn field(&mut self, old: Option<&Value>, new: &Value) -> bool {
        self.text.extend_from_slice(b"{}");
        old != Some(new)
    }

    fn member(&mut self, _name: &str, old: Option<&Value>, value: &Value, shape: Shape<'_>) -> bool {
        self.value(old, value, shape)
    }

    /// Writes an object, its members by `write`, that says whether any of one is owned; `false` where none is.
    fn object<'v>(
        &mut self,
        old: Option<&Map>,
        new: impl IntoIterator<Item = (&'v Text, &'v Value)>,
        shape: Shape<'_>,
        itself: bool,
        mut write: impl FnMut(&mut Self, &str, Option<&Value>, &Value, Shape<'_>) -> bool,
    ) -> bool {
        let start = self.open(itself);
        let mut shape_of = shape.fields();
        for (name, value) in new {
            let before = self.text.len();
            self.key(start, |text| json::prefixed(text, "f:", name));
            if !write(self, name, old.and_then(|old| old.get(name)), value, shape_of(name)) {
                self.text.truncate(before);
            }
        }
        self.text.push(b'}');
        self.text.len() > start + 1
    }

    /// Writes the elements of a list in the order of what tells them apart; those that are told alike are one.
    fn list(&mut self, items: &[Value], item: &TypeRef, keys: &[String], itself: bool) {
        let start = self.open(itself);
        let told = told_apart(items, item, keys);
        self.all_told &= told.len() == items.len();
        for same in told.chunk_by(|(a, _), (b, _)| a == b) {
            self.key(start, |text| Element::write(&same[0].0, text));
            if let [(_, one)] = same {
                self.value(None, one, Shape::of(item));
            } else {
                self.text.extend_from_slice(b"{}");
                self.all_told &= same.iter().all(|(_, value)| tells_apart_as(value, Shape::of(item)));
            }
        }
        self.text.push(b'}');
    }

    /// Begins what is below a field that may be owned itself; gives where its keys begin.
    fn open(&mut self, itself: bool) -> usize {
        self.text.push(b'{');
        let start = self.text.len();
        if itself {
            self.text.extend_from_slice(b"\".\":{}");
        }
        start
    }

    fn key(&mut self, start: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if self.text.len() > start {
            self.text.push(b',');
        }
        write(&mut self.text);
        self.text.push(b':');
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;
    use proptest::prelude::*;

    use super::super::{OneVersion, reset_fields, strip_server_fields};
    use super::*;
    use crate::field_table::{ListMerge, Type};
    use crate::typed;

    /// A value of a type, some of it missing, empty, told alike or of another type, by numbers drawn below a bound.
    fn drawn(ty: &Type, depth: u32, draw: &mut impl FnMut(u64) -> u64) -> Value {
        let name = |draw: &mut dyn FnMut(u64) -> u64| ["a", "b", "\"c\"<", "status"][draw(4) as usize].to_owned();
        match ty {
            _ if draw(40) == 0 => [json!(null), json!({}), json!([]), json!(0), json!("")][draw(5) as usize].clone(),
            Type::Struct(known) => {
                let mut members = Map::new();
                for field in &known.fields {
                    if depth == 6 || draw(u64::from(9 - depth)) < 2 || field.name == "name" && draw(9) > 0 {
                        members.insert(field.name.to_string(), drawn(field.ty.get(), depth.saturating_sub(1), draw));
                    }
                }
                Value::Object(members)
            }
            Type::Map { value, .. } => {
                Value::Object((0..draw(3)).map(|_| (name(draw), drawn(value.get(), 0, draw))).collect())
            }
            Type::List { item, merge } if depth > 0 || *merge == ListMerge::Set => {
                Value::Array((0..draw(4)).map(|_| drawn(item.get(), depth.saturating_sub(1), draw)).collect())
            }
            Type::List { .. } => json!([]),
            Type::Boolean => Value::Bool(draw(2) == 0),
            Type::Integer { .. } | Type::Number | Type::IntOrString => json!(draw(3)),
            Type::Any => json!({"x": [{"y": draw(2)}]}),
            _ => name(draw).into(),
        }
    }

    fn draws(mut seed: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        }
    }

    #[test]
    fn a_maker_owns_what_is_said() {
        let ty = TypeRef::named("io.k8s.api.core.v1.Pod").unwrap();
        let manager =
            Manager { name: "m", api_version: "v1", subresource: "", reset: &[&["status"]], others: &OneVersion };
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"l": "1"}},
            "spec": {"containers": [{"name": "b", "ports": [{"containerPort": 1}]}, {"name": "a"}], "nodeSelector": {}},
            "status": {"phase": "Pending"}});
        let owned = |pod: &Value| owned(&typed::empty(ty.get()), pod, Shape::of(&ty), &manager);
        assert_eq!(
            owned(&pod).unwrap(),
            r#"{"f:metadata":{"f:labels":{".":{},"f:l":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}},"k:{\"name\":\"b\"}":{".":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":1,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}},"f:nodeSelector":{}}}"#
        );
        assert_eq!(owned(&json!({"metadata": {"name": "a"}})).unwrap(), "{}");
        assert_eq!(owned(&json!({"spec": {"containers": [null]}})), None);
    }

    proptest! {
        #[test]
        fn it_is_what_a_comparison_with_nothing_finds(seed in any::<u64>()) {
            let mut draw = draws(seed);
            let names = ["core.v1.Pod", "core.v1.Service", "core.v1.Node", "core.v1.ConfigMap", "apps.v1.Deployment",
                "certificates.v1.CertificateSigningRequest", "networking.v1.Ingress"];
            let ty = TypeRef::named(&format!("io.k8s.api.{}", names[draw(7) as usize])).unwrap();
            let resets: [&[&[&str]]; 3] = [&[&["status"]], &[&["spec"], &["status"]], &[]];
            let reset = resets[draw(3) as usize];
            let manager = Manager { name: "m", api_version: "v1", subresource: "", reset, others: &OneVersion };
            let new = drawn(ty.get(), 6, &mut draw);
            prop_assume!(new.is_object());
            let mut empty = typed::empty(ty.get());
            empty["apiVersion"] = "v1".into();
            let mut found = typed::compare(&empty, &new, ty.get());
            strip_server_fields(&mut found);
            let is_told = found.is_empty() || typed::tells_apart(&new, ty.get());
            reset_fields(&mut found, &manager);
            let mut text = Vec::new();
            found.modified.union(found.added).write(&mut text);
            let want = is_told.then(|| String::from_utf8(text).unwrap());
            prop_assert_eq!(owned(&empty, &new, Shape::of(&ty), &manager), want, "{}", new);
        }
    }
}
