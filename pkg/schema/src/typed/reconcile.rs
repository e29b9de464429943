// SPDX-License-Identifier: Apache-2.0
//! Owners after the schema of their object has changed: what was owned field by field and is one value now is owned
//! as a whole (`sigs.k8s.io/structured-merge-diff/typed/reconcile_schema.go`). The other way round nothing is done:
//! an owner of the whole owns no field of it.

use super::Shape;
use crate::field_set::{Element, FieldSet};
use crate::field_table::{ListMerge, Type, TypeRef};

/// The set as it is owned by the type of today; `None` where nothing about it changes.
#[must_use]
pub fn reconcile<'a>(set: &FieldSet<'a>, ty: &Type) -> Option<FieldSet<'a>> {
    let mut changed = false;
    let reconciled = inside(set, ty, &mut changed);
    changed.then_some(reconciled)
}

/// The sets below the elements of a value of that type.
fn inside<'a>(set: &FieldSet<'a>, ty: &Type, changed: &mut bool) -> FieldSet<'a> {
    set.map(&mut |element, member, below| {
        let Some(inner) = type_below(ty, element) else { return (member, below.clone()) };
        if !below.is_empty() && is_whole(inner.get()) {
            *changed = true;
            return (true, FieldSet::default());
        }
        (member, inside(below, inner.get(), changed))
    })
}

fn type_below<'t>(ty: &'t Type, element: &Element<'_>) -> Option<&'t TypeRef> {
    match (ty, element) {
        (Type::Struct(known), Element::Field(name)) => known.field(name).map(|field| &field.ty),
        (Type::Map { value, .. }, Element::Field(_)) => Some(value),
        (Type::List { item, .. }, Element::Item(_)) => Some(item),
        _ => None,
    }
}

/// It is owned as a whole. Maps of free values never count as such here.
fn is_whole(ty: &Type) -> bool {
    match ty {
        Type::List { merge, .. } => *merge == ListMerge::Atomic,
        Type::Struct(known) => known.atomic,
        Type::Map { value, atomic } => {
            *atomic && !matches!(Shape::of(value), Shape::Deduced) && !matches!(value.get(), Type::IntOrString)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::{Value, json};

    use super::*;
    use crate::crd::StructuralSchema;
    use crate::crd::field_type::object_type;

    fn reconciled(schema: &Value, owned: &Value) -> Option<Value> {
        let ty = object_type(&StructuralSchema::parse(schema));
        reconcile(&FieldSet::parse(owned).unwrap(), &ty).map(|set| set.to_value())
    }

    #[test]
    fn what_became_one_value_is_owned_as_one() {
        let list = |ty: &str| {
            json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": ty,
                "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties":
                {"k": {"type": "string"}, "o": {"type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"x": {"type": "string"}}}}}}}})
        };
        let by_item = json!({"f:l": {".": {}, "k:{\"k\":\"a\"}": {".": {}, "f:k": {}}}});
        assert_eq!(reconciled(&list("atomic"), &by_item), Some(json!({"f:l": {}})));
        assert_eq!(reconciled(&list("map"), &by_item), None);
        assert_eq!(reconciled(&list("map"), &json!({"f:l": {}})), None);
        let inner = json!({"f:l": {"k:{\"k\":\"a\"}": {"f:o": {"f:x": {}}}}});
        assert_eq!(reconciled(&list("map"), &inner), Some(json!({"f:l": {"k:{\"k\":\"a\"}": {"f:o": {}}}})));
    }

    #[test]
    fn maps_of_free_values_stay_as_they_are() {
        let map = |values: Value| {
            json!({"type": "object", "properties": {"m": {"type": "object", "x-kubernetes-map-type": "atomic",
                "additionalProperties": values}}})
        };
        let by_key = json!({"f:m": {"f:a": {}}});
        assert_eq!(reconciled(&map(json!({"type": "string"})), &by_key), Some(json!({"f:m": {}})));
        assert_eq!(reconciled(&map(json!({"x-kubernetes-int-or-string": true})), &by_key), None);
        assert_eq!(reconciled(&map(json!({"type": "string", "format": "date"})), &by_key), None);
        assert_eq!(reconciled(&map(json!({"type": "string"})), &json!({"f:unknown": {"f:a": {}}})), None);
    }
}
