// SPDX-License-Identifier: Apache-2.0

//! Upstream's own structs as its messages print them: Go's field names, in Go's order, with what was not
//! set as its zero value. What comes from apimachinery is the same inside and prints as it is published.

use knarr_types::tree::{Map, Text, Value};
use knarr_types::{Shown, go_json};

use super::go_names;
use crate::builtin_types::{self, written_order};
use crate::field_table::{Emission, Field, Struct, Type};

/// A value of a published type as messages show upstream's own struct, on one line.
pub fn of_type(value: &Value, name: &str) -> Shown {
    Shown::Printed(builtin_types::find(name).map_or_else(|| value.to_string(), |ty| line(value, ty.get())))
}

/// A list of such values.
pub fn list_of(value: &Value, name: &str) -> Shown {
    let (Some(items), Some(ty)) = (value.as_array(), builtin_types::find(name)) else {
        return Shown::Printed(value.to_string());
    };
    Shown::Printed(format!("[{}]", items.iter().map(|item| line(item, ty.get())).collect::<Vec<_>>().join(",")))
}

/// A value of this type on one line.
pub fn line(value: &Value, ty: &Type) -> String {
    on_one_line(&indented(value, ty))
}

/// The same over many lines, a space deeper at each level.
pub fn indented(value: &Value, ty: &Type) -> String {
    let mut text = String::new();
    let none = Value::Object(Map::new());
    let value = if value.is_null() && matches!(ty, Type::Struct(_)) { &none } else { value };
    print(&mut text, value, ty, 0);
    text
}

/// JSON without the breaks and spaces between its parts.
fn on_one_line(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let kept = |c: &char| {
        let is_part = quoted || !matches!(c, ' ' | '\n');
        quoted ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_part
    };
    text.chars().filter(kept).collect()
}

fn print(text: &mut String, value: &Value, ty: &Type, depth: usize) {
    match (ty, value) {
        (Type::Struct(shape), Value::Object(_)) if shape.name.starts_with("io.k8s.api.") => {
            let entries = fields(value, shape, depth);
            bracketed(text, '{', '}', depth, entries);
        }
        (Type::Struct(shape), Value::Object(members)) => {
            bracketed(text, '{', '}', depth, published(members, shape, depth));
        }
        (Type::Map { value: ty, .. }, Value::Object(members)) => {
            let entries = members.iter().map(|(name, value)| keyed(name, value, ty.get(), depth + 1)).collect();
            bracketed(text, '{', '}', depth, entries);
        }
        (Type::List { item, .. }, Value::Array(items)) => {
            let entry = |value: &Value| {
                let mut text = String::new();
                print(&mut text, value, item.get(), depth + 1);
                text
            };
            bracketed(text, '[', ']', depth, items.iter().map(entry).collect());
        }
        (_, value) => text.push_str(&json(value)),
    }
}

/// Structs that everybody shares are printed as they are published.
fn published(members: &Map, shape: &Struct, depth: usize) -> Vec<String> {
    let order: Vec<&str> = written_order(&shape.name).collect();
    let mut members: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
    members.sort_by_key(|(name, _)| order.iter().position(|known| known == name));
    let entry =
        |(name, value): &(&Text, &Value)| shape.field(name).map(|field| keyed(name, value, field.ty.get(), depth + 1));
    members.iter().filter_map(entry).collect()
}

fn keyed(name: &str, value: &Value, ty: &Type, depth: usize) -> String {
    let mut text = format!("{}: ", json(&Value::from(name)));
    print(&mut text, value, ty, depth);
    text
}

/// The entries of one of upstream's own structs: all of its fields.
fn fields(value: &Value, shape: &Struct, depth: usize) -> Vec<String> {
    let names: Vec<&str> = match go_names::own_order(&shape.name) {
        Some(names) => names.to_vec(),
        None => written_order(&shape.name).collect(),
    };
    let known = names.into_iter().filter_map(|name| shape.field(name));
    known.flat_map(|field| entries(value, shape, field, depth)).collect()
}

/// These fields of a struct of upstream's, over many lines.
pub fn some_fields(value: &Value, shape: &Struct, names: &[&str]) -> String {
    let known = names.iter().filter_map(|name| shape.field(name));
    let mut text = String::new();
    bracketed(&mut text, '{', '}', 0, known.flat_map(|field| entries(value, shape, field, 0)).collect());
    text
}

/// What one field prints: one entry, but for those that Go embeds.
fn entries(value: &Value, shape: &Struct, field: &Field, depth: usize) -> Vec<String> {
    let given = value.get(&*field.name).filter(|value| !value.is_null());
    match (&*field.name, field.ty.get(), given) {
        // Go embeds it: its fields stand among those of the struct around it.
        ("metadata", Type::Struct(meta), _) => {
            given.and_then(Value::as_object).map(|members| published(members, meta, depth)).unwrap_or_default()
        }
        ("securityContext", _, Some(context)) if shape.name.ends_with(".PodSpec") => {
            vec![security_context(value, context, field, depth + 1)]
        }
        _ => {
            let mut text = format!("\"{}\": ", go_names::of_field(&shape.name, &field.name));
            match given {
                Some(value) => print(&mut text, value, field.ty.get(), depth + 1),
                None => unset(&mut text, &shape.name, field, depth + 1),
            }
            vec![text]
        }
    }
}

fn security_context(spec: &Value, context: &Value, field: &Field, depth: usize) -> String {
    let mut text = "\"SecurityContext\": ".to_owned();
    let Type::Struct(shape) = field.ty.get() else { return text };
    let of_the_host = go_names::OF_THE_HOST.map(|(name, unset)| {
        let shown = spec.get(name).filter(|value| !value.is_null()).map_or_else(|| unset.to_owned(), Value::to_string);
        format!("\"{}\": {shown}", go_names::go_name(name))
    });
    bracketed(&mut text, '{', '}', depth, of_the_host.into_iter().chain(fields(context, shape, depth)).collect());
    text
}

/// What a field has that was never set.
fn unset(text: &mut String, of: &str, field: &Field, depth: usize) {
    match (field.emission, field.ty.get()) {
        (Emission::OmitUnset, _) if !go_names::is_always_set(of, &field.name) => text.push_str("null"),
        (_, Type::String) => text.push_str("\"\""),
        (_, Type::Boolean) => text.push_str("false"),
        (_, Type::Integer { .. } | Type::Number | Type::IntOrString) => text.push('0'),
        (Emission::Always, ty @ Type::Struct(_)) => print(text, &Value::Object(Map::new()), ty, depth),
        _ => text.push_str("null"),
    }
}

fn bracketed(text: &mut String, open: char, close: char, depth: usize, entries: Vec<String>) {
    text.push(open);
    for (at, entry) in entries.iter().enumerate() {
        text.push_str(if at == 0 { "\n" } else { ",\n" });
        text.push_str(&" ".repeat(depth + 1));
        text.push_str(entry);
    }
    if !entries.is_empty() {
        text.push('\n');
        text.push_str(&" ".repeat(depth));
    }
    text.push(close);
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
            format!("\"{go}\":{}", field.map_or_else(|| zero.to_owned(), |field| named(name, field)))
        })
        .collect();
    Shown::Printed(format!("{{{}}}", shown.join(",")))
}

/// A nested struct, with all that it has where its name says what that is.
fn named(name: &str, value: &Value) -> String {
    const PROFILE: &[(&str, &str)] = &[("Type", "type$"), ("LocalhostProfile", "localhostProfile")];
    const LABELS: &[(&str, &str)] = &[("User", "user$"), ("Role", "role$"), ("Type", "type$"), ("Level", "level$")];
    let fields = match name {
        "seccompProfile" | "appArmorProfile" => PROFILE,
        "seLinuxOptions" => LABELS,
        _ => return capitalised(value),
    };
    match structure(value, fields) {
        Shown::Printed(text) => text,
        _ => capitalised(value),
    }
}

/// Nested structs print with capitals too.
fn capitalised(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("\"{}\":{}", go_names::go_name(key), named(key, value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(capitalised).collect::<Vec<_>>().join(",")),
        other => json(other),
    }
}

fn json(value: &Value) -> String {
    go_json(value.to_string())
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

    #[test]
    fn a_whole_struct_stands_on_one_line() {
        let text = of_type(&json!({"name": "A", "value": "b \" : c"}), "io.k8s.api.core.v1.EnvVar").to_string();
        assert_eq!(text, r#"{"Name":"A","Value":"b \" : c","ValueFrom":null}"#);
    }

    #[test]
    fn what_is_never_unset_inside_prints_as_zero() {
        let strategy = json!({"type": "X", "rollingUpdate": {"maxSurge": "10%"}});
        let want = r#"{"Type":"X","RollingUpdate":{"MaxUnavailable":0,"MaxSurge":"10%"}}"#;
        assert_eq!(of_type(&strategy, "io.k8s.api.apps.v1.DaemonSetUpdateStrategy").to_string(), want);
    }
}
