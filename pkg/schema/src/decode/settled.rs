// SPDX-License-Identifier: Apache-2.0
//! Whether decoding a tree would give the same tree: a quick look that spares building it again.

use knarr_types::Quantity;
use knarr_types::tree::{Number, Value};

use super::go_time;
use crate::field_table::{SchemaOr, Struct, Type};

/// The tree is an object of that type in every part, in the form that decoding gives it. `false` says
/// nothing: what is wrong, or written another way, is for the decoder to tell.
pub(super) fn is_settled(value: &Value, ty: &Type) -> bool {
    match (ty, value) {
        (_, Value::Object(tree)) if tree.as_stored().is_some() => true,
        (Type::Any, _) | (Type::SchemaOr { or: SchemaOr::Boolean, .. }, Value::Bool(_)) => true,
        (Type::SchemaOr { schema, .. }, Value::Object(_)) => is_settled(value, schema.get()),
        (Type::Struct(fields), Value::Object(tree)) => {
            tree.iter().all(|(name, value)| is_settled_field(name, value, fields))
        }
        (Type::Map { value: ty, .. }, Value::Object(tree)) => tree.values().all(|value| is_settled(value, ty.get())),
        (Type::List { item, .. }, Value::Array(items)) => items.iter().all(|value| is_settled(value, item.get())),
        (Type::Boolean, Value::Bool(_)) | (Type::String | Type::Duration | Type::IntOrString, Value::String(_)) => true,
        (Type::Integer { bits: 32 } | Type::IntOrString, Value::Number(number)) => is_i32(number),
        (Type::Integer { .. } | Type::Number, Value::Number(number)) => number.is_i64(),
        (Type::Quantity, Value::String(text)) => text.parse::<Quantity>().is_ok_and(|q| q.to_string() == *text),
        (Type::Time, Value::String(text)) => go_time::canonical_time(text).is_ok_and(|time| time == *text),
        (Type::MicroTime, Value::String(text)) => go_time::canonical_micro_time(text).is_ok_and(|time| time == *text),
        _ => false,
    }
}

fn is_settled_field(name: &str, value: &Value, fields: &Struct) -> bool {
    match fields.position(name) {
        Some(at) => is_settled(value, fields.fields[at].ty.get()),
        None => fields.preserve_unknown,
    }
}

fn is_i32(number: &Number) -> bool {
    number.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;
    use crate::decode::decode_tree;
    use crate::field_table::TypeRef;

    #[test]
    fn what_is_settled_is_what_decoding_leaves_as_it_is() {
        let pod =
            |spec: Value| json!({"metadata": {"name": "p", "creationTimestamp": "2024-01-01T00:00:00Z"}, "spec": spec});
        let container = |extra: (&str, Value)| json!({"containers": [{"name": "c", extra.0: extra.1}]});
        let cases = [
            (pod(container(("image", json!("i")))), true),
            (pod(container(("resources", json!({"limits": {"cpu": "500m"}})))), true),
            (pod(container(("resources", json!({"limits": {"cpu": "0.5"}})))), false),
            (pod(container(("resources", json!({"limits": {"cpu": 1}})))), false),
            (pod(container(("image", Value::Null))), false),
            (pod(container(("imagee", json!("i")))), false),
            (pod(container(("image", json!(1)))), false),
            (pod(container(("ports", json!([{"containerPort": 80}])))), true),
            (pod(container(("ports", json!([{"containerPort": 80.5}])))), false),
            (pod(json!({"containers": [null]})), false),
            (pod(json!({"nodeSelector": {"a": "b"}, "activeDeadlineSeconds": 7})), true),
            (pod(json!({"nodeSelector": {"a": null}})), false),
            (json!({"metadata": {"creationTimestamp": "2024-01-01T02:00:00+02:00"}}), false),
            (json!({"metadata": {"managedFields": [{"fieldsV1": {"f:a": {}, "x": null}}]}}), true),
        ];
        let ty = TypeRef::named("io.k8s.api.core.v1.Pod").unwrap();
        for (object, settled) in cases {
            assert_eq!(is_settled(&object, ty.get()), settled, "{object}");
            let decoded = decode_tree(object.clone(), ty.get());
            let same = decoded.is_ok_and(|decoded| decoded.faults.is_empty() && decoded.object == object);
            assert_eq!(same, settled, "{object}");
        }
    }
}
