// SPDX-License-Identifier: Apache-2.0
//! Empty lists and maps, which the one form of objects leaves out and messages show: `[]` is not `null`.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, Object};

use crate::field_table::{Struct, Type};

/// The faults that `check` found in an object, with offending values as they were sent: those of the same
/// object with the empty lists and maps of `sent`, where it has the same faults.
pub fn shown_as_sent(
    faults: ErrorList,
    object: &Object,
    sent: &Object,
    ty: &Type,
    check: impl Fn(&Object) -> ErrorList,
) -> ErrorList {
    let mut full = object.clone();
    if !restore(&mut full, sent, ty) {
        return faults;
    }
    let again = check(&full);
    let same =
        again.len() == faults.len() && again.iter().zip(&faults).all(|(a, b)| a.kind == b.kind && a.path == b.path);
    if same { again } else { faults }
}

/// Whether empty lists or maps were sent that the object has no longer, its metadata and status aside.
pub(crate) fn sent_empties(object: &Object, sent: &Object, ty: &Type) -> bool {
    let (mut object, mut sent) = (object.clone(), sent.clone());
    for value in [&mut object, &mut sent] {
        if let Some(members) = value.as_object_mut() {
            members.retain(|name, _| !matches!(&**name, "metadata" | "status"));
        }
    }
    restore(&mut object, &sent, ty)
}

/// Puts the empty lists and maps of `sent` back; true where there was one.
fn restore(object: &mut Value, sent: &Value, ty: &Type) -> bool {
    match (ty, object, sent) {
        (Type::Struct(shape), object @ Value::Object(_), Value::Object(_)) => restore_fields(object, sent, shape),
        (Type::Map { value: ty, .. }, Value::Object(members), Value::Object(_)) => {
            let mut found = false;
            for (key, member) in members.iter_mut() {
                found |= sent.get(&**key).is_some_and(|sent| restore(member, sent, ty.get()));
            }
            found
        }
        (Type::List { item, .. }, Value::Array(items), Value::Array(sent)) if items.len() == sent.len() => items
            .iter_mut()
            .zip(sent)
            .fold(false, |found, (item_here, sent)| restore(item_here, sent, item.get()) || found),
        _ => false,
    }
}

fn restore_fields(object: &mut Value, sent: &Value, shape: &Struct) -> bool {
    let mut found = false;
    for (name, sent) in sent.as_object().into_iter().flatten() {
        let Some(ty) = shape.field(name).map(|field| field.ty.get()) else { continue };
        let is_empty = match (ty, sent) {
            (Type::List { .. }, Value::Array(items)) => items.is_empty(),
            (Type::Map { .. }, Value::Object(members)) => members.is_empty(),
            _ => false,
        };
        if !is_empty {
            found |= object.get_mut(&**name).is_some_and(|inner| restore(inner, sent, ty));
        } else if object.get(&**name).is_none_or(Value::is_null) {
            object[&**name] = sent.clone();
            found = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;
    use crate::field_table::TypeRef;

    #[test]
    fn only_lists_and_maps_that_were_sent_empty_come_back() {
        let ty = TypeRef::named("io.k8s.api.core.v1.Pod").unwrap();
        let sent = json!({"metadata": {"labels": {}}, "status": {}, "foo": [], "spec": {
            "containers": [{"name": "c", "args": [], "env": [{"name": "A"}]}], "nodeSelector": {"a": "b"}}});
        let mut object = json!({"metadata": {}, "spec": {
            "containers": [{"name": "c", "env": [{"name": "A"}]}], "nodeSelector": {"a": "b"}}});
        assert!(restore(&mut object, &sent, ty.get()));
        assert_eq!(object["metadata"], json!({"labels": {}}));
        assert_eq!(object["spec"]["containers"][0]["args"], json!([]));
        assert!(object.get("status").is_none() && object.get("foo").is_none());
        assert!(!restore(&mut object.clone(), &object, ty.get()));
    }
}
