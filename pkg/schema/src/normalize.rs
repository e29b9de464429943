// SPDX-License-Identifier: Apache-2.0
//! The one form in which an object is stored and sent: what Go would print after decoding it.
//!
//! Amounts and times are written one way, fields that the type does not know are dropped, empty
//! fields are left out or filled in as their emission rule says. Running it twice changes nothing.

use knarr_types::tree::{Map, Value};
use knarr_types::{Object, Quantity};

use crate::decode::{go_time, zero};
use crate::field_table::{Emission, Field, SchemaOr, Struct, Type};

/// Brings an object of that type into its one form.
pub fn normalize(object: &mut Object, ty: &Type) {
    Pass { keeps_empty: false, kept: false }.value(object, ty);
}

/// Brings an object into its one form but for empty lists and maps, which stand for none only once they
/// are stored: owners of fields and messages tell them apart. True where there is one.
pub fn normalize_sent(object: &mut Object, ty: &Type) -> bool {
    let mut pass = Pass { keeps_empty: true, kept: false };
    pass.value(object, ty);
    pass.kept
}

/// Fills in what is always there at the root of an object of that type: what rules took out is there again, empty.
pub(crate) fn fill_in(object: &mut Object, ty: &Type) {
    if let (Type::Struct(fields), Some(tree)) = (ty, object.as_object_mut()) {
        Pass { keeps_empty: true, kept: false }.fill_in(tree, fields);
    }
}

/// One walk through an object.
struct Pass {
    /// Empty lists and maps stay where absent ones are written as null.
    keeps_empty: bool,
    /// One stayed.
    kept: bool,
}

impl Pass {
    fn value(&mut self, object: &mut Value, ty: &Type) {
        match (ty, object) {
            (_, value) if value.is_as_stored() => {}
            (Type::Struct(fields), Value::Object(tree)) => self.fields(tree, fields),
            (Type::Map { value, .. }, Value::Object(tree)) => {
                let ty = value.get();
                tree.values_mut().for_each(|value| self.inner(value, ty));
            }
            (Type::List { item, .. }, Value::Array(items)) => {
                let ty = item.get();
                items.iter_mut().for_each(|item| self.inner(item, ty));
            }
            (Type::SchemaOr { schema, .. }, value @ Value::Object(_)) => self.value(value, schema.get()),
            (Type::SchemaOr { schema, or: SchemaOr::List }, Value::Array(items)) => {
                items.iter_mut().for_each(|item| self.inner(item, schema.get()));
            }
            (Type::Quantity, value) => rewrite_amount(value, |amount| amount),
            (Type::Time, value) => rewrite(value, |text| go_time::canonical_time(text).ok()),
            (Type::MicroTime, value) => rewrite(value, |text| go_time::canonical_micro_time(text).ok()),
            _ => {}
        }
    }

    /// What a list or a map holds is always there.
    fn inner(&mut self, value: &mut Value, ty: &Type) {
        if value.is_null() {
            *value = zero(ty);
        }
        self.value(value, ty);
    }

    fn fields(&mut self, tree: &mut Map, fields: &Struct) {
        if fields.name.starts_with("io.k8s.api.core.") {
            round_resources(tree, fields);
        }
        // Kinds that upstream stores as protobuf lose the difference between an empty list and none.
        let empty_is_none = fields.name.starts_with("io.k8s.api.");
        let mut position = fields.fields.positions();
        tree.retain(|name, value| match position(name) {
            Some(at) => self.keep_set(value, &fields.fields[at], empty_is_none),
            None => fields.preserve_unknown,
        });
        self.fill_in(tree, fields);
    }

    fn fill_in(&mut self, tree: &mut Map, fields: &Struct) {
        for field in fields.fields.always() {
            if !tree.contains_key(&field.name)
                && let Some(value) = self.unset(field)
            {
                tree.insert(&*field.name, value);
            }
        }
    }

    /// Brings a field that is there into its form; false where it is to be left out, or filled in again.
    fn keep_set(&mut self, value: &mut Value, field: &Field, empty_is_none: bool) -> bool {
        self.value(value, field.ty.get());
        if value.is_null() {
            return false;
        }
        // A struct that is there is there, whatever is in it, and so is what may be anything.
        let collection = !matches!(field.ty.get(), Type::Struct(_) | Type::Any | Type::SchemaOr { .. });
        if empty_is_none && collection && field.emission == Emission::Null && is_empty_collection(value) {
            self.kept |= self.keeps_empty;
            return self.keeps_empty;
        }
        field.emission != Emission::OmitEmpty || !is_zero(value)
    }

    /// What a field that was not set is written as; `None` where it is left out.
    fn unset(&mut self, field: &Field) -> Option<Value> {
        match field.emission {
            Emission::OmitEmpty | Emission::OmitUnset => None,
            Emission::Null => Some(Value::Null),
            Emission::Always => {
                let ty = field.ty.get();
                let mut value = zero(ty);
                self.value(&mut value, ty);
                Some(value)
            }
        }
    }
}

/// Lists of resources count in thousandths: less is rounded up.
fn round_resources(tree: &mut Map, fields: &Struct) {
    for (name, value) in tree.iter_mut() {
        let Some(amounts) = value.as_object_mut() else { continue };
        let Some(Type::Map { value: ty, .. }) = fields.field(name).map(|field| field.ty.get()) else { continue };
        if matches!(ty.get(), Type::Quantity) {
            amounts.values_mut().for_each(|amount| rewrite_amount(amount, Quantity::in_thousandths));
        }
    }
}

/// An amount in its one form, after this was done with it, which leaves plain ones as they are.
fn rewrite_amount(value: &mut Value, change: impl Fn(Quantity) -> Quantity) {
    if !value.as_str().is_some_and(Quantity::is_plain) {
        rewrite(value, |text| text.parse().ok().map(|amount| change(amount).to_string()));
    }
}

/// Text (or a number) in its one form; what cannot be read stays for validation to tell.
fn rewrite(value: &mut Value, canonical: impl Fn(&str) -> Option<String>) {
    let rewritten = match &*value {
        Value::String(text) => canonical(text).filter(|new| new != text),
        Value::Number(number) => canonical(&number.to_string()),
        _ => None,
    };
    if let Some(text) = rewritten {
        *value = text.into();
    }
}

fn is_empty_collection(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(tree) => tree.is_empty(),
        _ => false,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => is_empty_collection(value),
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;
    use crate::field_table::TypeRef;

    fn normal(name: &str, mut object: Value) -> Value {
        let ty = TypeRef::named(name).unwrap();
        normalize(&mut object, ty.get());
        let once = object.clone();
        normalize(&mut object, ty.get());
        assert_eq!(object, once, "twice is once");
        object
    }

    #[test]
    fn empty_fields_are_left_out_or_filled_in_as_go_does() {
        let pod = json!({"metadata": {"name": "p", "labels": {}}, "spec": {"containers": [{"name": "c", "stdin": false,
            "securityContext": {}, "command": []}], "hostNetwork": false, "terminationGracePeriodSeconds": 0, "foo": 1}});
        assert_eq!(
            normal("io.k8s.api.core.v1.Pod", pod),
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {}, "securityContext": {}}],
                "terminationGracePeriodSeconds": 0}, "status": {}})
        );
        let role = json!({"metadata": {"name": "r"}, "rules": []});
        assert_eq!(normal("io.k8s.api.rbac.v1.ClusterRole", role), json!({"metadata": {"name": "r"}, "rules": null}));
        let selecting_all = normal("io.k8s.api.apps.v1.DeploymentSpec", json!({"selector": {}}));
        assert_eq!(selecting_all["selector"], json!({}));
    }

    #[test]
    fn an_empty_list_is_told_from_none_until_it_is_stored() {
        let ty = TypeRef::named("io.k8s.api.rbac.v1.Role").unwrap();
        let mut role = json!({"metadata": {"labels": {}}, "rules": []});
        assert!(normalize_sent(&mut role, ty.get()));
        assert_eq!(role, json!({"metadata": {}, "rules": []}));
        normalize(&mut role, ty.get());
        assert_eq!(role["rules"], Value::Null);
        assert!(!normalize_sent(&mut role, ty.get()));
    }

    #[test]
    fn amounts_and_times_have_one_form() {
        let quota = json!({"metadata": {"creationTimestamp": "2024-01-01T02:00:00.5+02:00"},
            "spec": {"hard": {"cpu": "0.5", "memory": 1024, "pods": "1n"}}});
        let quota = normal("io.k8s.api.core.v1.ResourceQuota", quota);
        assert_eq!(quota["spec"]["hard"], json!({"cpu": "500m", "memory": "1024", "pods": "1m"}));
        let class = json!({"handler": "h", "overhead": {"podFixed": {"cpu": "1n"}}});
        let class = normal("io.k8s.api.node.v1.RuntimeClass", class);
        assert_eq!(class["overhead"]["podFixed"], json!({"cpu": "1n"}));
        assert_eq!(quota["metadata"]["creationTimestamp"], "2024-01-01T00:00:00Z");
    }
}
