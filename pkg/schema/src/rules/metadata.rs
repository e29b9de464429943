//! What every object's metadata must be (`k8s.io/apimachinery/pkg/api/validation/objectmeta.go`).

use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::names::NameCheck;

/// What is wrong with the metadata of a new object.
#[must_use]
pub fn validate_create(object: &Object, _namespaced: bool, name_check: NameCheck) -> ErrorList {
    let path = FieldPath::new("metadata");
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        return vec![FieldError::required(&path.child("name"), "name or generateName is required")];
    }
    name_check(name, false).into_iter().map(|fault| FieldError::invalid(&path.child("name"), name, fault)).collect()
}

/// What is wrong with a change of metadata.
#[must_use]
pub fn validate_update(new: &Object, old: &Object) -> ErrorList {
    let path = FieldPath::new("metadata");
    let mut errors = ErrorList::new();
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if new["metadata"][field] != old["metadata"][field] {
            let value = new["metadata"][field].clone();
            errors.push(FieldError::invalid(&path.child(field), value, "field is immutable"));
        }
    }
    errors
}
