// SPDX-License-Identifier: Apache-2.0
//! What upstream says when the result of a strategic merge patch does not fit the type: it is turned into
//! the type's struct without a detour through JSON, by a converter with words of its own.

use knarr_types::tree::Value;

use crate::builtin_types::{go_type, written_order};
use crate::decode;
use crate::field_table::{Struct, Type};

/// The first value that does not fit, in the order of the structs; `None` where all do.
#[must_use]
pub fn restore_fault(object: &Value, ty: &Type) -> Option<String> {
    let found = Walk { in_order: false }.fault(object, ty, &|| None)?;
    // Structs know no order of their own, and it takes time to find: only where there is something to tell.
    Some(Walk { in_order: true }.fault(object, ty, &|| None).unwrap_or(found))
}

/// Makes of the numbers that `patch` brought into an object what the converter makes of them: whole floats become
/// integers, and integers lose the bits that their fields do not have.
pub fn restore_numbers(object: &mut Value, patch: &Value, ty: &Type) {
    if has_odd_numbers(patch) {
        convert(object, ty);
    }
}

/// Whether there are numbers that do not fit into 32 bits.
fn has_odd_numbers(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_none_or(|whole| i32::try_from(whole).is_err()),
        Value::Array(items) => items.iter().any(has_odd_numbers),
        Value::Object(members) => members.values().any(has_odd_numbers),
        _ => false,
    }
}

fn convert(value: &mut Value, ty: &Type) {
    match (ty, value) {
        (Type::Struct(shape), Value::Object(members)) => {
            for (name, member) in members.iter_mut() {
                if let Some(field) = shape.field(name) {
                    convert(member, field.ty.get());
                }
            }
        }
        (Type::Map { value: ty, .. }, Value::Object(members)) => {
            members.values_mut().for_each(|member| convert(member, ty.get()));
        }
        (Type::List { item, .. }, Value::Array(items)) => items.iter_mut().for_each(|one| convert(one, item.get())),
        (Type::Integer { bits }, value @ Value::Number(_)) => *value = integer(value, *bits).into(),
        // Go writes these as JSON again, which has no fraction for a whole number.
        (Type::IntOrString | Type::Quantity, value @ Value::Number(_))
            if value.as_f64().is_some_and(|float| float.fract() == 0.0 && float.abs() < 1e18) =>
        {
            *value = integer(value, 64).into();
        }
        _ => {}
    }
}

/// As Go turns a number into an integer: of one that does not fit, the low bits.
#[allow(clippy::cast_possible_truncation, reason = "the low bits are what Go's conversion leaves")]
fn integer(value: &Value, bits: u8) -> i64 {
    const FIRST_OUTSIDE: f64 = 9_223_372_036_854_775_808.0;
    let whole = value.as_i64().unwrap_or_else(|| match value.as_f64() {
        Some(float) if float.abs() < FIRST_OUTSIDE => float as i64,
        _ => i64::MIN,
    });
    if bits == 32 { i64::from(whole as i32) } else { whole }
}

struct Walk {
    in_order: bool,
}

impl Walk {
    /// `named` gives the name that Go's type of the place has, where it has one of its own.
    fn fault(&self, value: &Value, ty: &Type, named: &dyn Fn() -> Option<&'static str>) -> Option<String> {
        match (ty, value) {
            (_, Value::Null) | (Type::Any | Type::SchemaOr { .. }, _) => None,
            (Type::Struct(shape), Value::Object(_)) => self.in_struct(value, shape),
            (Type::Struct(_), other) => Some(format!("cannot restore struct from: {}", go_kind(other))),
            (Type::Map { value: ty, .. }, Value::Object(members)) => {
                members.values().find_map(|value| self.fault(value, ty.get(), &|| None))
            }
            (Type::Map { .. }, other) => Some(format!("cannot restore map from {}", go_kind(other))),
            (Type::List { item, .. }, Value::Array(items)) => {
                items.iter().find_map(|value| self.fault(value, item.get(), &|| None))
            }
            (Type::Bytes, Value::String(_)) => {
                decode::check(value.clone(), ty).err().map(|error| format!("error decoding from json: {error}"))
            }
            (Type::List { .. } | Type::Bytes, other) => Some(format!("cannot restore slice from {}", go_kind(other))),
            (Type::String | Type::Boolean | Type::Integer { .. } | Type::Number, value) => scalar(value, ty, named),
            // These read their own JSON.
            (Type::Quantity | Type::IntOrString | Type::Time | Type::MicroTime | Type::Duration, value) => {
                decode::check(value.clone(), ty).err().map(|error| error.to_string())
            }
        }
    }

    fn in_struct(&self, value: &Value, shape: &Struct) -> Option<String> {
        let mut fields: Vec<_> = shape.fields.iter().collect();
        if self.in_order {
            let known: Vec<&str> = written_order(&shape.name).collect();
            fields.sort_by_key(|field| known.iter().position(|name| *name == field.name));
        }
        fields.into_iter().find_map(|field| {
            let found = value.get(&*field.name)?;
            self.fault(found, field.ty.get(), &|| go_type(&shape.name, &field.name))
        })
    }
}

fn scalar(value: &Value, ty: &Type, named: &dyn Fn() -> Option<&'static str>) -> Option<String> {
    let kind = match ty {
        Type::Boolean => "bool",
        Type::Integer { bits: 32 } => "int32",
        Type::Integer { .. } => "int64",
        Type::Number => "float64",
        _ => "string",
    };
    let from = go_kind(value);
    match (from, kind) {
        ("bool", "bool") | ("string", "string") | ("int64", "int32" | "int64" | "float64") | ("float64", "float64") => {
            None
        }
        ("float64", "int32" | "int64") if value.as_f64().is_some_and(|float| float.fract() == 0.0) => None,
        // Go would make a letter of a number, and cut a fraction off: JSON knows neither.
        ("int64", "string") | ("float64", "int32" | "int64") => {
            Some(format!("cannot convert {from} to {}", named().unwrap_or(kind)))
        }
        _ => Some(format!("unrecognized type: {kind}")),
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.as_i64().is_none() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn values_of_a_wrong_type_are_told_in_the_converters_words() {
        let ty = crate::builtin_types::find("io.k8s.api.apps.v1.Deployment").unwrap().get();
        for (spec, want) in [
            (json!({"replicas": "x"}), Some("unrecognized type: int32")),
            (json!({"replicas": 1.5}), Some("cannot convert float64 to int32")),
            (json!({"replicas": 2, "paused": true}), None),
            (json!({"paused": "yes"}), Some("unrecognized type: bool")),
            (json!({"template": "x"}), Some("cannot restore struct from: string")),
            (json!({"strategy": {"type": 1}}), Some("cannot convert int64 to v1.DeploymentStrategyType")),
            (json!({"selector": {"matchLabels": []}}), Some("cannot restore map from slice")),
            (json!({"template": {"spec": {"containers": {}}}}), Some("cannot restore slice from map")),
            (json!({"unknown": 1, "replicas": null}), None),
        ] {
            let found = restore_fault(&json!({"spec": spec}), ty);
            assert_eq!(found.as_deref(), want, "{spec}");
        }
    }

    #[test]
    fn numbers_become_what_the_converter_makes_of_them() {
        let ty = crate::builtin_types::find("io.k8s.api.apps.v1.Deployment").unwrap().get();
        for (spec, want) in [
            (json!({"replicas": 3.0}), json!({"replicas": 3})),
            (json!({"replicas": 1e1}), json!({"replicas": 10})),
            (json!({"replicas": 99_999_999_999_999_i64}), json!({"replicas": 276_447_231})),
            (json!({"replicas": 1e23}), json!({"replicas": 0})),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": 2.0}}}),
                json!({"strategy": {"rollingUpdate": {"maxSurge": 2}}}),
            ),
        ] {
            let mut object = json!({"spec": spec});
            let patch = object.clone();
            restore_numbers(&mut object, &patch, ty);
            assert_eq!(object["spec"], want);
        }
    }
}
