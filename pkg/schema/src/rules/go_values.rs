// SPDX-License-Identifier: Apache-2.0

//! Offending values as upstream prints them, found by the paths of the faults: rules give them as they are
//! published, messages show upstream's own structs. Texts are quoted as Go quotes them, but for those of a type of
//! their own, which are JSON.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, Shown, go_json};

use super::{go_names, go_print};
use crate::field_table::{Emission, Field, Type};

/// Brings the values in these faults of an object of that type into the form that messages have. What stands
/// at a path that the type does not have stays as it is.
pub fn print(mut errors: ErrorList, ty: &Type) -> ErrorList {
    for error in &mut errors {
        let Some(Shown::Value(value)) = &error.value else { continue };
        if !matches!(value, Value::Object(_) | Value::Array(_) | Value::Null | Value::String(_)) {
            continue;
        }
        if let Some(printed) = at(ty, error.path.as_str()).and_then(|place| place.print(value)) {
            error.value = Some(Shown::Printed(printed));
        }
    }
    errors
}

/// What a path leads to.
struct Place<'t> {
    ty: &'t Type,
    /// The field and the name of its struct, where the path ends in one.
    field: Option<(&'t str, &'t Field)>,
    /// What stands here, or is the key to it, has a type of its own in Go.
    named: bool,
}

impl Place<'_> {
    fn print(&self, value: &Value) -> Option<String> {
        match (self.ty, value) {
            (Type::Struct(_), Value::Object(_))
            | (Type::List { .. } | Type::Map { .. }, Value::Array(_) | Value::Object(_)) => {
                Some(go_print::line(value, self.ty))
            }
            (_, Value::String(_)) if self.named => Some(go_json(value.to_string())),
            (_, Value::Null) => self.zero(),
            _ => None,
        }
    }

    /// What was not set: only pointers, lists and maps are null in Go.
    fn zero(&self) -> Option<String> {
        let (of, field) = self.field?;
        let is_pointer = field.emission == Emission::OmitUnset && !go_names::is_always_set(of, &field.name);
        let text = match self.ty {
            _ if is_pointer => return None,
            Type::String => "\"\"".to_owned(),
            Type::Boolean => "false".to_owned(),
            Type::Integer { .. } | Type::Number => "0".to_owned(),
            Type::Struct(_) if field.emission == Emission::Always => go_print::line(&Value::Null, self.ty),
            _ => return None,
        };
        Some(text)
    }
}

/// Follows a path as faults have it: `spec.containers[0].name`, `metadata.labels[a.b]`.
fn at<'t>(ty: &'t Type, path: &'t str) -> Option<Place<'t>> {
    let mut place = Place { ty, field: None, named: false };
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            // The key of a map may have brackets and dots of its own: the next step starts behind the last.
            let end = inner.find("].").or_else(|| inner.find("][")).unwrap_or(inner.len().checked_sub(1)?);
            rest = &inner[end + 1..];
            place = match place.ty {
                Type::List { item, .. } => Place { ty: item.get(), field: None, named: place.named },
                Type::Map { value, .. } => {
                    let ty = value.get();
                    // Amounts are kept by the names of resources.
                    Place { ty, field: None, named: matches!(ty, Type::Quantity) }
                }
                _ => return None,
            };
            continue;
        }
        let name = rest.strip_prefix('.').unwrap_or(rest);
        let end = name.find(['.', '[']).unwrap_or(name.len());
        rest = &name[end..];
        let ty = match place.ty {
            // Some paths leave out which element it is,
            Type::List { item, .. } => item.get(),
            // and some say what amounts are for though these are for nothing else.
            Type::Map { .. } => continue,
            ty => ty,
        };
        let Type::Struct(shape) = ty else { return None };
        let field = shape.field(&name[..end])?;
        let named = go_names::is_named_text(&shape.name, &field.name);
        place = Place { ty: field.ty.get(), field: Some((&shape.name, field)), named };
    }
    (!path.is_empty()).then_some(place)
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;
    use knarr_types::{FieldError, FieldPath};

    use super::*;

    #[test]
    fn values_print_as_what_stands_at_their_path() {
        let selector = json!({"matchExpressions": [], "matchLabels": {"b": "1"}});
        for (ty, path, value, want) in [
            ("apps.v1.Deployment", "spec.selector", &selector, r#"{"matchLabels":{"b":"1"},"matchExpressions":[]}"#),
            ("batch.v1.Job", "metadata.name", &Value::Null, "\"\""),
            ("batch.v1.Job", "spec.completions", &Value::Null, "null"),
            (
                "batch.v1.Job",
                "spec.successPolicy",
                &json!({"rules": [{}]}),
                r#"{"Rules":[{"SucceededIndexes":null,"SucceededCount":null}]}"#,
            ),
            ("certificates.v1.CertificateSigningRequest", "spec.request", &Value::Null, "null"),
            (
                "core.v1.Pod",
                "spec.containers[0].ports",
                &json!([{"containerPort": 1}]),
                r#"[{"Name":"","HostPort":0,"ContainerPort":1,"Protocol":"","HostIP":""}]"#,
            ),
            ("core.v1.Pod", "spec.nowhere", &json!({"a": 1}), r#"{"a":1}"#),
            ("core.v1.Pod", "metadata.name", &json!("<\u{a0}"), r#""<\u00a0""#),
            ("core.v1.Pod", "spec.dnsPolicy", &json!("<\u{a0}"), "\"\\u003c\u{a0}\""),
            ("core.v1.Pod", "spec.containers[0].resources.limits[<]", &json!("<"), r#""\u003c""#),
            ("core.v1.Pod", "spec.containers[0].volumeMounts.mountPropagation", &json!("<"), r#""\u003c""#),
            ("core.v1.Pod", "spec.overhead.limits[<]", &json!("<"), r#""\u003c""#),
            ("core.v1.Pod", "spec.readinessGates[0].conditionType", &json!("<"), r#""<""#),
            ("core.v1.PersistentVolume", "spec.accessModes[1]", &json!("<"), r#""\u003c""#),
            ("core.v1.Namespace", "metadata.finalizers[0]", &json!("<"), r#""<""#),
            ("events.v1.Event", "action", &json!("<"), r#""<""#),
            ("core.v1.Pod", "spec.containers[0].resources.limits[a.b/c]", &Value::Null, "null"),
        ] {
            let ty = crate::builtin_types::find(&format!("io.k8s.api.{ty}")).unwrap();
            let error = FieldError::invalid(&FieldPath::new(path), value.clone(), "");
            let printed = print(vec![error], ty.get()).remove(0);
            assert_eq!(printed.value.unwrap().to_string(), want, "{path}");
        }
    }
}
