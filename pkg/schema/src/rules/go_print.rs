// SPDX-License-Identifier: Apache-2.0

//! Upstream's own structs as its messages print them: Go's field names, in Go's order.

use std::collections::BTreeMap;

use knarr_types::Shown;
use knarr_types::tree::Value;

use crate::builtin_types::{self, NamedType};
use crate::field_table::{Emission, Field, Type, TypeRef};

/// A value of this published type as upstream prints its internal twin, where both have the same fields:
/// in the order of their numbers, absent ones as their zero value. What comes from apimachinery is the
/// same inside and prints as it is published.
pub fn of_type(value: &Value, name: &str) -> Shown {
    Shown::Printed(builtin_types::find(name).map_or_else(|| value.to_string(), |ty| internal(value, ty)))
}

/// A list of such values.
pub fn list_of(value: &Value, name: &str) -> Shown {
    let (Some(items), Some(ty)) = (value.as_array(), builtin_types::find(name)) else {
        return Shown::Printed(value.to_string());
    };
    Shown::Printed(format!("[{}]", items.iter().map(|item| internal(item, ty)).collect::<Vec<_>>().join(",")))
}

fn internal(value: &Value, named: &NamedType) -> String {
    format!("{{{}}}", members(value, named).join(","))
}

fn members(value: &Value, named: &NamedType) -> Vec<String> {
    let Type::Struct(fields) = named.get() else { return vec![value.to_string()] };
    let published = named.name().starts_with("io.k8s.apimachinery.");
    let mut printed = Vec::new();
    for field in in_order(&fields.fields, named) {
        let there = value.get(&*field.name).filter(|there| !there.is_null());
        if let (TypeRef::Named(meta), "metadata") = (&field.ty, &*field.name) {
            // Go embeds it: its fields stand among those of the struct around it.
            printed.extend(members(there.unwrap_or(&Value::Null), meta));
        } else if !published {
            let shown = there.map_or_else(|| zero(field), |there| of(there, &field.ty));
            printed.push(format!("\"{}\":{shown}", go_name(&field.name)));
        } else if let Some(there) = there {
            printed.push(format!("\"{}\":{}", field.name, of(there, &field.ty)));
        }
    }
    printed
}

fn in_order<'a>(fields: &'a [Field], named: &NamedType) -> Vec<&'a Field> {
    let numbers: BTreeMap<&str, u32> =
        named.numbers().filter_map(|(name, number)| Some((name, number.parse().ok()?))).collect();
    let mut fields: Vec<&Field> = fields.iter().collect();
    fields.sort_by_key(|field| numbers.get(&*field.name).copied());
    fields
}

fn of(value: &Value, ty: &TypeRef) -> String {
    match (ty.get(), value) {
        (Type::List { item, .. }, Value::Array(items)) => {
            format!("[{}]", items.iter().map(|value| of(value, item)).collect::<Vec<_>>().join(","))
        }
        (Type::Map { value: ty, .. }, Value::Object(map)) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key:?}:{}", of(value, ty))).collect();
            format!("{{{}}}", entries.join(","))
        }
        (Type::Struct(_), _) => match ty {
            TypeRef::Named(named) => internal(value, named),
            TypeRef::Inline(_) => value.to_string(),
        },
        _ => value.to_string(),
    }
}

/// A field that was not set, as Go prints it.
fn zero(field: &Field) -> String {
    if matches!(field.emission, Emission::OmitUnset | Emission::Null) {
        return "null".to_owned();
    }
    match field.ty.get() {
        Type::Boolean => "false".to_owned(),
        Type::Integer { .. } | Type::Number => "0".to_owned(),
        Type::String => "\"\"".to_owned(),
        Type::Struct(_) => of(&Value::Null, &field.ty),
        _ => "null".to_owned(),
    }
}

/// A struct: pairs of Go's and the published field name. An absent field prints as its zero value:
/// `null`, or empty text where the published name ends in `$`, 0 where it ends in `#`.
pub fn structure(value: &Value, fields: &[(&str, &str)]) -> Shown {
    let shown: Vec<_> = fields
        .iter()
        .map(|(go, published)| {
            let (name, zero) = match published.strip_suffix('$') {
                Some(name) => (name, "\"\""),
                None => published.strip_suffix('#').map_or((*published, "null"), |name| (name, "0")),
            };
            let field = value.get(name).filter(|field| !field.is_null());
            format!("\"{go}\":{}", field.map_or_else(|| zero.to_owned(), capitalised))
        })
        .collect();
    Shown::Printed(format!("{{{}}}", shown.join(",")))
}

/// Nested structs print with capitals too.
fn capitalised(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<_> =
                map.iter().map(|(key, value)| format!("\"{}\":{}", go_name(key), capitalised(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(capitalised).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn go_name(published: &str) -> String {
    const SHORT: [&str; 10] = ["api", "cel", "cidr", "dns", "fs", "id", "ip", "tls", "uid", "url"];
    let end = published.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(published.len());
    let (first, rest) = published.split_at(end);
    if SHORT.contains(&first) {
        return format!("{}{rest}", first.to_uppercase());
    }
    let mut letters = published.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A struct whose fields print as they are published, such as selectors.
pub fn structure_of_values(value: &Value, fields: &[(&str, &str)]) -> Shown {
    let shown: Vec<_> = fields
        .iter()
        .map(|(go, published)| format!("\"{go}\":{}", value.get(*published).unwrap_or(&Value::Null)))
        .collect();
    Shown::Printed(format!("{{{}}}", shown.join(",")))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_published_type_prints_as_its_internal_twin() {
        let spec = json!({"metadata": {"labels": {"l": "2"}}, "spec": {"devices": {"requests": [
            {"name": "r", "exactly": {"deviceClassName": "k", "allocationMode": "ExactCount", "count": 1}}]}}});
        let want = concat!(
            r#"{"labels":{"l":"2"},"Spec":{"Devices":{"Requests":[{"Name":"r","Exactly":{"DeviceClassName":"k","#,
            r#""Selectors":null,"AllocationMode":"ExactCount","Count":1,"AdminAccess":null,"Tolerations":null,"#,
            r#""Capacity":null},"FirstAvailable":null}],"Constraints":null,"Config":null}}}"#
        );
        assert_eq!(of_type(&spec, "io.k8s.api.resource.v1.ResourceClaimTemplateSpec").to_string(), want);
    }
}
